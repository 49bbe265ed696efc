//! Who the members are, as of what is applied here: for the connections to them, the log's retention and the metrics.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::ids::NodeId;
use crate::limits::TAKEN_OUT_MAX;
use crate::members::Members;
use crate::node::shown_addresses::ShownAddresses;

/// Called with the members when they change.
pub(crate) type MembersChanged = Box<dyn Fn(&KnownMembers) + Send + Sync>;

/// See the head of this file.
pub(crate) struct MembersWatch {
    node: NodeId,
    known: Mutex<KnownMembers>,
    changed: OnceLock<MembersChanged>,
    /// Held while somebody is told, so that nobody is told of older members after newer ones.
    telling: Mutex<()>,
    settings: OnceLock<AddressSettings>,
    shown: Mutex<ShownAddresses>,
}

/// What the settings of this node say of addresses.
#[derive(Clone, Debug)]
pub(crate) struct AddressSettings {
    /// Where members are, if not where the state says.
    pub(crate) moved: Vec<MemberAddress>,
    /// Where this node listens for the others.
    pub(crate) listen: SocketAddr,
}

/// The members and where they are.
#[derive(Clone, Debug)]
pub(crate) struct KnownMembers {
    /// Who votes and who listens.
    pub(crate) members: Members,
    /// Ascending by node.
    pub(crate) addresses: Vec<MemberAddress>,
    /// Of nodes that speak to this one and have no address in the state that is applied here: where they said that they are.
    pub(crate) shown: Vec<MemberAddress>,
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
            shown: Vec::new(),
            taken_out: taken_out[first..].to_vec(),
        }
    }

    /// Everybody who can be dialled.
    pub(crate) fn dialled(&self) -> impl Iterator<Item = &MemberAddress> {
        let is_shown = |node| self.shown.iter().any(|shown| shown.node == node);
        self.addresses.iter().filter(move |member| !is_shown(member.node)).chain(&self.shown)
    }

    /// Whether the state says where it is.
    fn has_address_of(&self, node: NodeId) -> bool {
        self.addresses.iter().any(|member| member.node == node && !member.address.is_empty())
    }
}

impl MembersWatch {
    /// As of the state at the start.
    pub(crate) fn new(node: NodeId, applied: &Applied) -> MembersWatch {
        let (members, addresses) = (applied.members.clone(), applied.addresses.clone());
        let known = KnownMembers { members, addresses, shown: Vec::new(), taken_out: Vec::new() };
        MembersWatch {
            node,
            known: Mutex::new(known),
            changed: OnceLock::new(),
            telling: Mutex::default(),
            settings: OnceLock::new(),
            shown: Mutex::default(),
        }
    }

    /// What this node was given. Once, before anybody is told.
    pub(crate) fn set_addresses(&self, settings: AddressSettings) {
        assert!(self.changed.get().is_none() && self.settings.set(settings).is_ok(), "once, and first");
    }

    /// Tells `changed` of the members as they are, and of every change.
    pub(crate) fn tell(&self, changed: MembersChanged) {
        let is_first = self.changed.set(changed).is_ok();
        assert!(is_first, "one listener");
        self.tell_again();
    }

    /// As of the record that was just written.
    pub(crate) fn applied(&self, record: &Applied) {
        let mut known = self.lock();
        if known.members == record.members && known.addresses == record.addresses {
            return;
        }
        tracing::info!(members = ?record.members, "the members have changed");
        *known = known.then(record);
        let is_needless = |node| known.has_address_of(node) || known.taken_out.contains(&node);
        self.shown().forget(is_needless);
        drop(known);
        self.tell_again();
    }

    /// A node showed where it is. Of use while the state does not say so.
    pub(crate) fn showed(&self, node: NodeId, address: &str) {
        let known = self.lock();
        let is_new = !known.has_address_of(node) && self.shown().show(node, address);
        drop(known);
        if is_new {
            self.tell_again();
        }
    }

    /// A message came from a node that is not dialled. If it showed where it is, it is dialled from now on.
    pub(crate) fn hear(&self, node: NodeId) {
        if self.shown().hear(node) {
            tracing::info!(node = node.value(), "a node speaks that is no member yet, as far as this one knows");
            self.tell_again();
        }
    }

    /// Where this node is reached, as far as it knows: by the settings, by the state, or where it listens.
    pub(crate) fn own_address(&self) -> Option<String> {
        let settings = self.settings.get()?;
        let in_list = |list: &[MemberAddress]| {
            let own = list.iter().find(|member| member.node == self.node && !member.address.is_empty());
            own.map(|own| own.address.clone())
        };
        // Everywhere is nowhere, to others.
        let listened = || (!settings.listen.ip().is_unspecified()).then(|| settings.listen.to_string());
        in_list(&settings.moved).or_else(|| in_list(&self.lock().addresses)).or_else(listened)
    }

    /// Whether this node is the only member.
    pub(crate) fn is_alone(&self) -> bool {
        self.lock().members.is_alone(self.node)
    }

    /// The members now.
    pub(crate) fn known(&self) -> KnownMembers {
        let mut known = {
            let known = self.lock();
            KnownMembers { shown: self.shown().heard(), ..known.clone() }
        };
        let moved = self.settings.get().map_or(&[][..], |settings| &settings.moved);
        for member in known.addresses.iter_mut().chain(&mut known.shown) {
            if let Some(now) = moved.iter().find(|now| now.node == member.node) {
                member.address.clone_from(&now.address);
            }
        }
        known
    }

    fn tell_again(&self) {
        let Some(changed) = self.changed.get() else { return };
        let _turn = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        changed(&self.known());
    }

    fn lock(&self) -> MutexGuard<'_, KnownMembers> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken behind `known`, never before it.
    fn shown(&self) -> MutexGuard<'_, ShownAddresses> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
