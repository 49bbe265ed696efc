//! Membership changes: each a run by itself, which writes the members that raft handed out with the entry.

use std::sync::Arc;

use crate::apply::commit::Committer;
use crate::apply::commit::Record;
use crate::apply::halt::Halt;
use crate::apply::halt::Malformation;
use crate::fsm::store::Commit;
use crate::keys::mac::MacKey;
use crate::raft::Committed;

/// Applies one membership change.
pub(super) fn apply_members(
    committed: &Committed,
    mac: Option<Arc<MacKey>>,
    committer: &mut Committer,
) -> Result<(), Halt> {
    let position = committed.entry.position();
    let mut applied = committer.applied().clone();
    applied.position = position;
    let malformed = || Halt::at(position, Malformation::Membership);
    let members = committed.members.as_ref().ok_or_else(malformed)?;
    applied.set_members(members).ok_or_else(malformed)?;
    committer.write(Commit::default(), Record { applied, keyring_row: None, mac }, position)?;
    committer.count(std::slice::from_ref(committed));
    committer.publish();
    Ok(())
}
