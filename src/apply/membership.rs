//! Membership changes: each a run by itself, which writes the members that raft handed out with the entry.

use crate::apply::commit::Committer;
use crate::apply::halt::Halt;
use crate::apply::halt::Malformation;
use crate::fsm::row::Effects;
use crate::raft::Committed;
use crate::raft::address_in;

/// Applies one membership change.
pub(super) fn apply_members(committed: &Committed, committer: &mut Committer) -> Result<(), Halt> {
    let position = committed.entry.position();
    let mut applied = committer.applied().clone();
    applied.position = position;
    let malformed = || Halt::at(position, Malformation::Membership);
    let members = committed.members.as_deref().ok_or_else(malformed)?;
    applied.set_members(members).ok_or_else(malformed)?;
    if let Some((node, address)) = address_in(&committed.entry) {
        applied.set_address(node, address);
    }
    let record = committer.record_of(applied);
    committer.publish(Effects::default(), record);
    committer.count(std::slice::from_ref(committed));
    committer.finish();
    Ok(())
}
