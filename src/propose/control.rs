//! Making control entries: fresh keys and salts, checked before they are proposed (design 3.5).

use std::sync::Arc;

use crate::fsm::codec::encode_control;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::make::verify_wraps;
use crate::keys::ring::View;
use crate::keys::rules;
use crate::keys::rules::RuleError;
use crate::propose::batch::Bench;
use crate::propose::batch::ControlBatch;
use crate::propose::gate::Due;
use crate::propose::operator::ControlError;
use crate::propose::operator::KekWitness;
use crate::raft::LeaderView;

/// The control entry that is due, for the place behind the log's last one.
///
/// # Errors
/// [`ControlError`]: it could not apply, could not be unwrapped again, or another member could not.
pub(super) fn make(
    bench: &Arc<Bench>,
    members: &dyn KekWitness,
    due: Due,
    view: &LeaderView,
    keys: &View,
) -> Result<ControlBatch, ControlError> {
    let change = change(bench, members, due, view, keys)?;
    // What could not apply never gets into the log.
    let at = Position { term: view.term, index: view.last_index.next() };
    let client_command_applied = bench.facts.has_client_commands();
    let facts = rules::Facts { cluster: bench.ring.cluster(), client_command_applied };
    rules::decide(keys.keyring(), &change, at, facts)?;
    let mut payload = Vec::new();
    encode_control(&change.encode(), &mut payload).expect("a change is far smaller than an entry");
    Ok(ControlBatch { bench: Arc::clone(bench), due, is_ordered: false, term: view.term, payload })
}

fn change(
    bench: &Bench,
    members: &dyn KekWitness,
    due: Due,
    view: &LeaderView,
    keys: &View,
) -> Result<Change, ControlError> {
    let (ring, entropy) = (&bench.ring, &*bench.entropy);
    let keyring = || keys.keyring().ok_or(RuleError::NotBootstrapped);
    let change = match due {
        Due::Opener => return Ok(make_opener(view.term, entropy)),
        Due::Bootstrap { is_cutover } => make_bootstrap(ring.keks(), ring.cluster(), is_cutover, entropy)?,
        Due::Cutover => make_cutover(keyring()?),
        Due::Rotate(purpose) => make_rotate(ring.keks(), keyring()?, purpose, entropy)?,
    };
    members.check()?;
    verify_wraps(ring.keks(), ring.cluster(), &change)?;
    Ok(change)
}
