//! Who the members are, as of what is applied here: for the connections to them, the log's retention and the metrics.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::ids::NodeId;
use crate::limits::TAKEN_OUT_MAX;
use crate::members::Members;

/// Called with the members when they change.
pub(crate) type MembersChanged = Box<dyn Fn(&KnownMembers) + Send + Sync>;

/// See the head of this file.
pub(crate) struct MembersWatch {
    node: NodeId,
    known: Mutex<KnownMembers>,
    changed: OnceLock<MembersChanged>,
    /// Where members are by the settings, if not where the state says.
    moved: OnceLock<Vec<MemberAddress>>,
}

/// The members and where they are.
#[derive(Clone, Debug)]
pub(crate) struct KnownMembers {
    /// Who votes and who listens.
    pub(crate) members: Members,
    /// Ascending by node.
    pub(crate) addresses: Vec<MemberAddress>,
    /// Those whose removal was applied since the start, newest last.
    pub(crate) taken_out: Vec<NodeId>,
}

impl KnownMembers {
    /// The members after these.
    fn then(&self, record: &Applied) -> KnownMembers {
        let (before, after) =
            [&self.members, &record.members].map(|members| members.nodes().unwrap_or_default()).into();
        let gone = before.into_iter().filter(|node| !after.contains(node));
        let taken_out: Vec<NodeId> =
            self.taken_out.iter().copied().filter(|node| !after.contains(node)).chain(gone).collect();
        let first = taken_out.len().saturating_sub(TAKEN_OUT_MAX);
        KnownMembers {
            members: record.members.clone(),
            addresses: record.addresses.clone(),
            taken_out: taken_out[first..].to_vec(),
        }
    }
}

impl MembersWatch {
    /// As of the state at the start.
    pub(crate) fn new(node: NodeId, applied: &Applied) -> MembersWatch {
        let (members, addresses) = (applied.members.clone(), applied.addresses.clone());
        let known = KnownMembers { members, addresses, taken_out: Vec::new() };
        MembersWatch { node, known: Mutex::new(known), changed: OnceLock::new(), moved: OnceLock::new() }
    }

    /// These are elsewhere than the state says. Once, before anybody is told.
    pub(crate) fn have_moved(&self, moved: Vec<MemberAddress>) {
        assert!(self.changed.get().is_none() && self.moved.set(moved).is_ok(), "once, and first");
    }

    /// Tells `changed` of the members as they are, and of every change.
    pub(crate) fn tell(&self, changed: MembersChanged) {
        changed(&self.known());
        let is_first = self.changed.set(changed).is_ok();
        assert!(is_first, "one listener");
    }

    /// As of the record that was just written.
    pub(crate) fn applied(&self, record: &Applied) {
        let mut known = self.lock();
        if known.members == record.members && known.addresses == record.addresses {
            return;
        }
        tracing::info!(members = ?record.members, "the members have changed");
        *known = known.then(record);
        drop(known);
        if let Some(changed) = self.changed.get() {
            changed(&self.known());
        }
    }

    /// Where a leader says that the members are: this node lacks the entries that would say so. Who is a member is another
    /// matter.
    pub(crate) fn offered(&self, addresses: Vec<MemberAddress>) {
        let mut known = self.known();
        let is_known = |node| known.addresses.iter().any(|member| member.node == node);
        let new: Vec<MemberAddress> = addresses.into_iter().filter(|member| !is_known(member.node)).collect();
        if new.is_empty() {
            return;
        }
        known.addresses.extend(new);
        known.addresses.sort_unstable_by_key(|member| member.node);
        if let Some(changed) = self.changed.get() {
            changed(&known);
        }
    }

    /// Whether this node is the only member.
    pub(crate) fn is_alone(&self) -> bool {
        self.lock().members.is_alone(self.node)
    }

    /// The members now.
    pub(crate) fn known(&self) -> KnownMembers {
        let mut known = self.lock().clone();
        for member in &mut known.addresses {
            let now = self.moved.get().and_then(|moved| moved.iter().find(|now| now.node == member.node));
            member.address = now.map_or_else(|| std::mem::take(&mut member.address), |now| now.address.clone());
        }
        known
    }

    fn lock(&self) -> MutexGuard<'_, KnownMembers> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
