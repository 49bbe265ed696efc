//! Making control entries: fresh keys and salts, checked before they are proposed.
//!
//! A change that could not be applied, or whose keys could not be unwrapped again, never gets into the log.

use std::sync::Arc;

use crate::crypto::names::ClearNameKey;
use crate::fsm::codec::encode_control;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_names;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::make::verify_wraps;
use crate::keys::node_keys::KeysAt;
use crate::keys::rules;
use crate::keys::rules::RuleError;
use crate::propose::batch::BatchContext;
use crate::propose::batch::ControlBatch;
use crate::propose::control::ControlError;
use crate::propose::control::KekWitness;
use crate::propose::due::Due;
use crate::raft::LeaderView;

/// The control entry that is due, for the place behind the log's last one.
///
/// # Errors
/// [`ControlError`]: it could not apply, could not be unwrapped again, or another member could not.
pub(super) fn make(
    context: &Arc<BatchContext>,
    witness: &dyn KekWitness,
    due: Due,
    view: &LeaderView,
    keys: &KeysAt,
) -> Result<ControlBatch, ControlError> {
    let change = change(context, witness, due, view, keys)?;
    let at = Position { term: view.term, index: view.last_index.next() };
    let client_command_applied = context.facts.has_client_commands();
    let facts = rules::Facts { cluster: context.node_keys.cluster(), client_command_applied };
    match due {
        Due::Names => rules::draw_names(&ClearNameKey::UNDRAWN, keys.keyring(), facts)?,
        _ => drop(rules::decide(keys.keyring(), &change, at, facts)?),
    }
    let mut payload = Vec::new();
    encode_control(&change.encode(), &mut payload).expect("a change is far smaller than an entry");
    Ok(ControlBatch { context: Arc::clone(context), due, is_ordered: false, term: view.term, payload })
}

fn change(
    context: &BatchContext,
    witness: &dyn KekWitness,
    due: Due,
    view: &LeaderView,
    keys: &KeysAt,
) -> Result<Change, ControlError> {
    let (node_keys, entropy) = (&context.node_keys, &*context.entropy);
    let keyring = || keys.keyring().ok_or(RuleError::NotBootstrapped);
    let change = match due {
        Due::Opener => return Ok(make_opener(view.term, entropy)),
        Due::Names => return Ok(make_names(entropy)),
        Due::Bootstrap(kind) => make_bootstrap(node_keys.keks(), node_keys.cluster(), kind, entropy)?,
        Due::Cutover => make_cutover(keyring()?),
        Due::Rotate(purpose) => make_rotate(node_keys.keks(), keyring()?, purpose, entropy)?,
    };
    witness.check()?;
    verify_wraps(node_keys.keks(), node_keys.cluster(), &change)?;
    Ok(change)
}
