//! Where nodes say that they are, in their hellos. A node that lacks the entries that made another one a member has no address
//! for it, and yet has to answer it: it may lead.
//!
//! An address that is applied goes before one from here. Who only said hello is not dialled: a node that waits to be taken in
//! does that. Once its messages for raft come, answers need a way.

use crate::fsm::state::MemberAddress;
use crate::ids::NodeId;
use crate::limits::MEMBERS_MAX;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct ShownAddresses {
    /// Newest last, at most [`MEMBERS_MAX`].
    shown: Vec<ShownAddress>,
}

#[derive(Debug)]
struct ShownAddress {
    member: MemberAddress,
    is_heard: bool,
}

impl ShownAddresses {
    /// A node showed where it is. True if another address is to be dialled now.
    pub(super) fn show(&mut self, node: NodeId, address: &str) -> bool {
        if let Some(known) = self.of(node) {
            let is_other = known.member.address != address;
            address.clone_into(&mut known.member.address);
            return is_other && known.is_heard;
        }
        // The oldest makes place: a cluster has no more members than that.
        if self.shown.len() == MEMBERS_MAX {
            self.shown.remove(0);
        }
        let member = MemberAddress { node, address: address.to_owned() };
        self.shown.push(ShownAddress { member, is_heard: false });
        false
    }

    /// A message of the node came. True if it is to be dialled from now on.
    pub(super) fn hear(&mut self, node: NodeId) -> bool {
        self.of(node).is_some_and(|known| !std::mem::replace(&mut known.is_heard, true))
    }

    /// Of no use any more.
    pub(super) fn forget(&mut self, is_needless: impl Fn(NodeId) -> bool) {
        self.shown.retain(|shown| !is_needless(shown.member.node));
    }

    /// Those that are to be dialled.
    pub(super) fn heard(&self) -> Vec<MemberAddress> {
        self.shown.iter().filter(|shown| shown.is_heard).map(|shown| shown.member.clone()).collect()
    }

    fn of(&mut self, node: NodeId) -> Option<&mut ShownAddress> {
        self.shown.iter_mut().find(|shown| shown.member.node == node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn addresses(shown: &ShownAddresses) -> Vec<String> {
        shown.heard().into_iter().map(|member| format!("{} {}", member.node, member.address)).collect()
    }

    #[test]
    fn who_says_hello_is_dialled_once_it_speaks_and_where_it_said_last() {
        let mut shown = ShownAddresses::default();
        assert!(!shown.hear(node(4)), "it said nothing of itself");
        assert!(!shown.show(node(4), "a:1") && addresses(&shown).is_empty());
        assert!(shown.hear(node(4)) && !shown.hear(node(4)), "once");
        assert!(!shown.show(node(4), "a:1") && shown.show(node(4), "b:2"));
        assert_eq!(addresses(&shown), ["4 b:2"]);
        shown.forget(|other| other == node(4));
        assert!(addresses(&shown).is_empty() && !shown.hear(node(4)));
    }

    #[test]
    fn bounded_the_oldest_makes_place_for_the_newest() {
        let mut shown = ShownAddresses::default();
        for id in 1..=MEMBERS_MAX as u64 + 1 {
            shown.show(node(id), "a:1");
            shown.hear(node(id));
        }
        assert_eq!(shown.heard().len(), MEMBERS_MAX);
        assert!(shown.heard().iter().all(|member| member.node != node(1)));
    }
}
