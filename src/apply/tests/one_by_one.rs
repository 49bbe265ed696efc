//! The slow, obvious twin: one entry after another, each opened alone, run alone, sealed value by value and written alone.
//!
//! It shares no code with the loop: no runs, no gate, no arenas, no batches.

use std::sync::Arc;

use crate::apply::halt::HaltClass;
use crate::apply::membership::set_members;
use crate::apply::rows::RingRows;
use crate::apply::tests::kit::CLUSTER;
use crate::apply::tests::kit::keks;
use crate::apply::tests::node::TestStore;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::Version;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entry;
use crate::crypto::stored::ValueItem;
use crate::crypto::stored::seal_values;
use crate::fsm::codec::Payload;
use crate::fsm::command::Reply;
use crate::fsm::overlay::Change as RowChange;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::Reader;
use crate::fsm::state::Applied;
use crate::fsm::store::StateRow;
use crate::fsm::store::Step;
use crate::fsm::store::Store;
use crate::fsm::value::BodyState;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::keyring::Keyring;
use crate::keys::ring::Ring;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::raft::Committed;
use crate::wal::EntryKind;

/// Where and why the twin stopped.
pub(super) type Stopped = (u64, HaltClass);

/// A node that does one thing at a time.
pub(super) struct Twin {
    pub(super) store: Arc<TestStore>,
    ring: Arc<Ring>,
    reader: Reader,
    applied: Applied,
    /// Index and replies of every entry of commands.
    pub(super) replies: Vec<(u64, Vec<Reply>)>,
}

impl Twin {
    pub(super) fn new() -> Twin {
        let store = TestStore::founded();
        let ring = Arc::new(Ring::new(CLUSTER, keks(7)));
        let dyn_store: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let reader = Reader::new(dyn_store, Arc::new(RingRows::new(Arc::clone(&ring))));
        let applied = store.applied();
        Twin { store, ring, reader, applied, replies: Vec::new() }
    }

    pub(super) fn run(&mut self, log: &[Committed]) -> Result<(), Stopped> {
        for committed in log {
            let index = committed.entry.index.0;
            self.one(committed).map_err(|class| (index, class))?;
        }
        Ok(())
    }

    fn one(&mut self, committed: &Committed) -> Result<(), HaltClass> {
        let entry = &committed.entry;
        let position = Position { term: entry.term, index: entry.index };
        let mut next = Applied { position, ..self.applied.clone() };
        if entry.kind != EntryKind::Normal {
            set_members(&mut next, committed.conf_state.as_ref().unwrap()).unwrap();
            return self.write(Step::default(), next);
        }
        if entry.data.is_empty() {
            return self.write(Step::default(), next);
        }
        let cutover = self.ring.view().keyring().map_or(Index::NEVER, Keyring::cutover);
        let frame = EntryFrame::decode(&entry.data).map_err(|_| HaltClass::Malformed)?;
        let (payload, entry_tag, is_control_envelope) = if entry.index > cutover {
            let opened = open_entry(&self.ring.view().entry_keys(), OpenJob { position, data: &entry.data });
            let payload = opened.map_err(|error| match error {
                OpenError::UnknownKey { .. } => HaltClass::UnknownKey,
                OpenError::Unauthentic { .. } => HaltClass::Unauthentic,
                _ => HaltClass::Malformed,
            })?;
            let version = Version::peek(frame.payload).unwrap();
            (payload, entry.data.last_chunk::<16>().copied(), version == Version::Control)
        } else {
            (frame.payload.to_vec(), None, matches!(Payload::decode(frame.payload), Ok(Payload::Control(_))))
        };
        match Payload::decode(&payload).map_err(|_| HaltClass::Malformed)? {
            Payload::Control(bytes) if is_control_envelope => self.control(bytes, next),
            Payload::Batch(batch) if !is_control_envelope => {
                next.last_stamp_ms = next.last_stamp_ms.max(batch.stamp_ms);
                next.client_command_applied = true;
                let mut overlay = Overlay::new();
                let mut context = WriteContext::new(entry.index, next.last_stamp_ms, entry_tag, &batch);
                let mut replies = Vec::new();
                for command in batch.commands() {
                    let reply = overlay.execute(&self.reader, command, &mut context);
                    replies.push(reply.map_err(|_| HaltClass::StateMachine)?);
                }
                let step = self.seal(overlay)?;
                self.write(step, next)?;
                self.replies.push((entry.index.0, replies));
                Ok(())
            }
            _ => Err(HaltClass::Malformed),
        }
    }

    fn seal(&self, overlay: Overlay) -> Result<Step, HaltClass> {
        let changes = overlay.into_changes();
        let mut step = Step { clear: changes.clear, ..Step::default() };
        for (key, change) in changes.rows {
            let RowChange::Put { value, at } = change else {
                step.deletes.push(key);
                continue;
            };
            let row = match at.entry_tag {
                None => value.encode_clear_row(),
                Some(entry_tag) => {
                    let active = self.ring.view().active_value().map_err(|_| HaltClass::UnknownKey)?;
                    let mut body = Vec::new();
                    value.encode_body(&mut body);
                    let item = ValueItem {
                        store_key: &key,
                        header: value.header(BodyState::Sealed).encode(),
                        body: &body,
                        entry_tag,
                        delta: at.index.0 - active.active_from.0,
                        op: at.op.into(),
                    };
                    seal_values(&active.dek, &[item]).unwrap()[0].to_vec()
                }
            };
            step.puts.push((key, row));
        }
        Ok(step)
    }

    fn control(&mut self, bytes: &[u8], mut next: Applied) -> Result<(), HaltClass> {
        let change = Change::decode(bytes).map_err(|_| HaltClass::Malformed)?;
        let facts = Facts { cluster: CLUSTER, client_command_applied: next.client_command_applied };
        let at = next.position;
        let decided = decide(self.ring.view().keyring(), &change, at, facts);
        let Ok(keyring) = decided else {
            return self.write(Step::default(), next);
        };
        let row = keyring.encode();
        next.keyring_digest = Some(Keyring::digest(&row));
        self.ring.mac_key_of(&keyring).map_err(|_| HaltClass::UnknownKey)?;
        // The ring first: the record is authenticated under the new keyring's MAC key.
        self.ring.install(keyring, at.index).unwrap();
        self.write(Step { state: vec![(StateRow::Keyring, row)], ..Step::default() }, next)
    }

    fn write(&mut self, mut step: Step, applied: Applied) -> Result<(), HaltClass> {
        let mac = self.ring.view().mac_key().unwrap();
        step.state.push((StateRow::Applied, applied.encode(mac.as_deref())));
        self.store.write(step).unwrap();
        self.applied = applied;
        Ok(())
    }
}
