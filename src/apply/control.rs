//! Control entries: each is a run by itself, one change of the keyring, decided from replicated bytes alone.
//!
//! A change that the rules refuse is a no-op with an error. The order of one that applies: the cutover is durable in the
//! log, then the step of the store makes keyring and applied index true together, then the node's keys follow.

use std::sync::Arc;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::Record;
use crate::apply::apply_loop::mac_of;
use crate::apply::apply_loop::why_unknown;
use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Delivery;
use crate::apply::hook::StateMachine;
use crate::apply::hook::halt_at;
use crate::apply::metrics::Metrics;
use crate::fsm::codec::Payload;
use crate::fsm::state::Applied;
use crate::fsm::store::Commit;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::keyring::Keyring;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::KeysAt;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::raft::Committed;

impl ApplyLoop {
    /// Applies one control entry.
    pub(super) fn control(&mut self, committed: &Committed, keys: &KeysAt) -> Result<(), Halt> {
        let entry = &committed.entry;
        let position = entry.position();
        let mac = mac_of(keys, entry)?;
        let mut reader = ControlReader::default();
        let delivered = self.hook.open_and_deliver(std::iter::once(entry), keys.entry_keys().as_ref(), &mut reader);
        delivered.map_err(|halt| why_unknown(halt, keys))?;
        let change = reader.change.expect("the hook delivered the entry");
        let facts =
            Facts { cluster: self.applied.cluster, client_command_applied: self.applied.client_command_applied };
        let outcome = match decide(keys.keyring(), &change, position, facts) {
            Ok(keyring) => {
                let changed = self.change_keyring(keyring, position, keys);
                changed.map_err(|cause| halt_at(entry, keys.cutover(), cause))?;
                Ok(())
            }
            Err(refusal) => {
                self.refuse(position, mac)?;
                Err(refusal)
            }
        };
        self.count_applied(std::slice::from_ref(committed));
        self.parts.port.control(position, outcome);
        self.publish();
        Ok(())
    }

    fn change_keyring(&mut self, keyring: Keyring, position: Position, keys: &KeysAt) -> Result<(), HaltCause> {
        // The new keyring's MAC key authenticates the record from this step on: without it nothing can be written.
        let mac = self.parts.node_keys.mac_key_of(&keyring)?;
        if keyring.cutover() != keys.cutover() {
            self.parts.log.make_durable(keyring.cutover()).map_err(MachineError::Cutover)?;
        }
        let row = keyring.encode();
        let mut applied = self.applied_at(position);
        applied.keyring_digest = Some(Keyring::digest(&row));
        let record = Record { applied, keyring_row: Some(row), mac: Some(mac) };
        self.write(Commit::default(), record, position).map_err(|halt| halt.cause)?;
        self.parts.node_keys.install(keyring).map_err(MachineError::Install)?;
        Ok(())
    }

    /// The entry changes nothing but the applied position.
    fn refuse(&mut self, position: Position, mac: Option<Arc<MacKey>>) -> Result<(), Halt> {
        Metrics::add(&self.parts.metrics.refused_controls, 1);
        let record = Record { applied: self.applied_at(position), keyring_row: None, mac };
        self.write(Commit::default(), record, position)
    }

    fn applied_at(&self, position: Position) -> Applied {
        Applied { position, ..self.applied.clone() }
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
