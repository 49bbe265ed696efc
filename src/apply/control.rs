//! Control entries: each is a run by itself, one change of the keyring, decided from replicated bytes alone.
//!
//! A change that the rules refuse is a no-op with an error. The order of one that applies: the cutover is durable in the
//! log, then one step makes keyring and applied index visible together, then the node's keys follow.

use std::sync::Arc;

use crate::apply::commit::Committer;
use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Delivery;
use crate::apply::hook::Hook;
use crate::apply::hook::StateMachine;
use crate::apply::hook::halt_at;
use crate::apply::metrics::Metrics;
use crate::apply::ports::ApplyLog;
use crate::crypto::names::ClearNameKey;
use crate::fsm::codec::Payload;
use crate::fsm::row::Effects;
use crate::fsm::state::Applied;
use crate::fsm::state::StateRecord;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::keyring::Keyring;
use crate::keys::node_keys::KeysAt;
use crate::keys::node_keys::NodeKeys;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::keys::rules::draw_names;
use crate::raft::Committed;

/// Applies control entries.
pub(super) struct ControlRuns {
    node_keys: Arc<NodeKeys>,
    log: Arc<dyn ApplyLog>,
    metrics: Arc<Metrics>,
}

impl ControlRuns {
    pub(super) fn new(node_keys: Arc<NodeKeys>, log: Arc<dyn ApplyLog>, metrics: Arc<Metrics>) -> ControlRuns {
        ControlRuns { node_keys, log, metrics }
    }

    /// Applies one control entry.
    pub(super) fn apply(
        &self,
        committed: &Committed,
        keys: &KeysAt,
        hook: &mut Hook,
        committer: &mut Committer,
    ) -> Result<(), Halt> {
        let entry = &committed.entry;
        let position = entry.position();
        let mut reader = ControlReader::default();
        let delivered = hook.open_and_deliver(std::iter::once(entry), keys.entry_keys().as_ref(), &mut reader);
        delivered.map_err(|halt| halt.explained(keys))?;
        let change = reader.change.expect("the hook delivered the entry");
        let before = committer.applied();
        let facts = Facts { cluster: before.cluster, client_command_applied: before.client_command_applied };
        let done = match &change {
            Change::Names(names) => draw_names(&before.clear_names, keys.keyring(), facts)
                .map(|()| self.name_rows(*names, position, committer)),
            _ => decide(keys.keyring(), &change, position, facts)
                .map(|keyring| self.change_keyring(keyring, position, keys, committer)),
        };
        let outcome = match done {
            Ok(changed) => {
                changed.map_err(|cause| halt_at(entry, keys.cutover(), cause))?;
                Ok(())
            }
            Err(refusal) => {
                Metrics::add(&self.metrics.refused_controls, 1);
                let record = committer.record_of(Applied { position, ..committer.applied().clone() });
                committer.publish(Effects::default(), record);
                Err(refusal)
            }
        };
        committer.count(std::slice::from_ref(committed));
        committer.control(position, outcome);
        committer.finish();
        Ok(())
    }

    /// What rows are named with from here on; there is none yet.
    fn name_rows(
        &self,
        clear_names: ClearNameKey,
        position: Position,
        committer: &mut Committer,
    ) -> Result<(), HaltCause> {
        let record = committer.record_of(Applied { position, clear_names, ..committer.applied().clone() });
        committer.publish(Effects::default(), record);
        Ok(self.node_keys.found(&clear_names).map_err(MachineError::Install)?)
    }

    fn change_keyring(
        &self,
        keyring: Keyring,
        position: Position,
        keys: &KeysAt,
        committer: &mut Committer,
    ) -> Result<(), HaltCause> {
        // The new keyring's MAC key authenticates the record from this entry on: without it nothing can be flushed.
        let mac = self.node_keys.mac_key_of(&keyring)?;
        if keyring.cutover() != keys.cutover() {
            assert_eq!(keyring.cutover(), position.index, "the entry that turns sealing on is the cutover");
            self.log.make_durable(keyring.cutover()).map_err(MachineError::Cutover)?;
        }
        let row = keyring.encode();
        let keyring_digest = Some(Keyring::digest(&row));
        let applied = Applied { position, keyring_digest, ..committer.applied().clone() };
        committer.publish(Effects::default(), StateRecord { applied, keyring_row: Some(row.into()), mac: Some(mac) });
        self.node_keys.install(keyring).map_err(MachineError::Install)?;
        Ok(())
    }
}

/// Takes the change out of an opened control entry.
#[derive(Default)]
struct ControlReader {
    change: Option<Change>,
}

impl StateMachine for ControlReader {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        match Payload::decode(delivery.payload).map_err(Malformation::Payload)? {
            Payload::Batch(_) => Err(Malformation::Kind.into()),
            Payload::Control(bytes) => {
                self.change = Some(Change::decode(bytes).map_err(Malformation::Control)?);
                Ok(())
            }
        }
    }
}
