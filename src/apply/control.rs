//! Control entries: a run of its own each, one change of the keyring, decided from replicated bytes alone.
//!
//! A change that the rules refuse is a no-op with an error. The order of one that applies: the cutover is durable in the
//! log, then the step of the store makes keyring and applied index true together, then the node's keys follow.

use std::sync::Arc;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::MachineError;
use crate::apply::halt::Malformation;
use crate::apply::hook::Delivery;
use crate::apply::hook::StateMachine;
use crate::apply::hook::Stop;
use crate::apply::hook::describe;
use crate::apply::hook::pass;
use crate::apply::machine::lack_stop;
use crate::apply::metrics::Metrics;
use crate::apply::step::Loop;
use crate::apply::step::Record;
use crate::apply::step::cutover_of;
use crate::apply::step::explain;
use crate::apply::step::mac_of;
use crate::fsm::codec::Payload;
use crate::fsm::state::Applied;
use crate::fsm::store::Commit;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::keyring::Keyring;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::KeysAt;
use crate::keys::rules::Facts;
use crate::keys::rules::RuleError;
use crate::keys::rules::decide;
use crate::raft::Committed;

impl Loop {
    /// Applies one control entry.
    pub(super) fn control(&mut self, committed: &Committed, view: &KeysAt) -> Result<(), Halt> {
        let entry = &committed.entry;
        let position = entry.position();
        let cutover = cutover_of(view);
        let mac = mac_of(view, entry)?;
        let keys = (!self.parts.node_keys.keks().is_empty()).then(|| view.entry_keys());
        let mut reader = ControlReader::default();
        pass(std::iter::once(entry), cutover, keys.as_ref(), &mut self.parts.openings, &mut reader)
            .map_err(|halted| explain(halted.halt, view))?;
        let change = reader.change.expect("the hook delivered the entry");
        let facts =
            Facts { cluster: self.applied.cluster, client_command_applied: self.applied.client_command_applied };
        let decided = decide(view.keyring(), &change, position, facts);
        let stop = |stop| describe(entry, position, cutover, stop);
        let outcome = match decided {
            Ok(keyring) => self.change_keyring(keyring, position, cutover).map_err(stop)?,
            Err(refusal) => self.refuse(refusal, position, mac)?,
        };
        self.count_applied(std::slice::from_ref(committed));
        self.parts.port.control(position, outcome);
        self.publish();
        Ok(())
    }

    fn change_keyring(
        &mut self,
        keyring: Keyring,
        position: Position,
        cutover: Index,
    ) -> Result<Result<(), RuleError>, Stop> {
        // The new keyring's MAC key authenticates the record from this step on: without it nothing can be written.
        let mac = self.parts.node_keys.mac_key_of(&keyring).map_err(lack_stop)?;
        if keyring.cutover() != cutover {
            let durable = self.parts.log.make_durable(keyring.cutover());
            durable.map_err(|error| HaltCause::StateMachine(error.into()))?;
        }
        let row = keyring.encode();
        let mut applied = self.applied_at(position);
        applied.keyring_digest = Some(Keyring::digest(&row));
        let record = Record { applied, keyring_row: Some(row), mac: Some(mac) };
        self.write(Commit::default(), record, position).map_err(|halt| halt.cause)?;
        let installed = self.parts.node_keys.install(keyring, position.index);
        installed.map_err(|error| HaltCause::StateMachine(MachineError::Install(error)))?;
        Ok(Ok(()))
    }

    fn refuse(
        &mut self,
        refusal: RuleError,
        position: Position,
        mac: Option<Arc<MacKey>>,
    ) -> Result<Result<(), RuleError>, Halt> {
        Metrics::add(&self.parts.metrics.refused_controls, 1);
        let record = Record { applied: self.applied_at(position), keyring_row: None, mac };
        self.write(Commit::default(), record, position)?;
        Ok(Err(refusal))
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
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), Stop> {
        let malformed = |malformation| Stop::from(HaltCause::Malformed(malformation));
        match Payload::decode(delivery.payload).map_err(|error| malformed(Malformation::Payload(error)))? {
            Payload::Batch(_) => Err(malformed(Malformation::Kind)),
            Payload::Control(bytes) => {
                let change = Change::decode(bytes).map_err(|error| malformed(Malformation::Control(error)))?;
                self.change = Some(change);
                Ok(())
            }
        }
    }
}
