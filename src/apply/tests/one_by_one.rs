//! The slow, obvious twin: one entry after another, each opened alone, run alone, sealed value by value.
//!
//! It is written from the design, not from the loop. Of the code under test it shares nothing: no cutting into runs, no
//! hook, no opening or sealing in batches, no node's keys, no rows, no store, no waiters. What it does share has proofs of its own
//! elsewhere: the codecs of records and commands, what a command does to a value (`fsm::kv`, against its model), what a
//! control entry makes of a keyring (`keys::rules`), and the primitives (`plain.rs` says which).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::apply::halt::Halt;
use crate::apply::halt::HaltCause;
use crate::apply::halt::HaltClass;
use crate::apply::halt::Malformation;
use crate::apply::tests::kit::CLUSTER;
use crate::apply::tests::plain;
use crate::apply::tests::plain::Closed;
use crate::apply::tests::plain::SealedFor;
use crate::crypto::names::NameKey;
use crate::entry::EntryKind;
use crate::fsm::codec::CommandBatch;
use crate::fsm::codec::Payload;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::fetched::Detail;
use crate::fsm::kv;
use crate::fsm::kv::NamedRead;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::RowChange;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::fsm::reader::each_alone;
use crate::fsm::state::Applied;
use crate::fsm::state::MemberAddress;
use crate::fsm::table_row::SealedBy;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::keys::change::Change;
use crate::keys::kek::KekSet;
use crate::keys::keyring::ClearRows;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::Naming;
use crate::keys::mac::MacKey;
use crate::keys::node_keys::unwrap_mac;
use crate::keys::rules::Facts;
use crate::keys::rules::RuleError;
use crate::keys::rules::decide;
use crate::members::Members;
use crate::raft::Committed;
use crate::testing::leader::CLEAR_NAMES;
use crate::testing::picture::Picture;

/// Where and why somebody stopped, as far as it must be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stopped {
    pub(super) at: Position,
    pub(super) class: HaltClass,
    pub(super) word: &'static str,
    pub(super) key_id: Option<u32>,
    pub(super) proposal_id: Option<u64>,
}

impl Stopped {
    /// What a halt of the loop says.
    pub(super) fn of(halt: &Halt) -> Stopped {
        let word = match &halt.cause {
            HaltCause::NoCipher | HaltCause::UnknownKey(_) | HaltCause::Unauthentic => "",
            HaltCause::Malformed(Malformation::Bytes(_)) => "bytes",
            HaltCause::Malformed(Malformation::Payload(_)) => "payload",
            HaltCause::Malformed(Malformation::Control(_)) => "control",
            HaltCause::Malformed(Malformation::Kind) => "kind",
            HaltCause::Malformed(Malformation::Membership) => "membership",
            HaltCause::StateMachine(_) => "state",
        };
        let proposal_id = halt.proposal_id.map(|id| id.0);
        Stopped { at: halt.position, class: halt.class(), word, key_id: halt.key_id, proposal_id }
    }
}

/// A cause, and the key of a value where that is what was missing.
struct Cause(HaltClass, &'static str, Option<u32>);

impl From<Closed> for Cause {
    fn from(closed: Closed) -> Cause {
        match closed {
            Closed::NoCipher => Cause(HaltClass::NoCipher, "", None),
            Closed::UnknownKey(_) => Cause(HaltClass::UnknownKey, "", None),
            Closed::Unauthentic => Cause(HaltClass::Unauthentic, "", None),
            Closed::Malformed => Cause(HaltClass::Malformed, "bytes", None),
        }
    }
}

/// One command of somebody who waits for an entry: its write, or a read of this node at its place among the writes.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    Write,
    Read(ReadCommand),
}

/// What everybody who waits is told, by index and term.
pub(super) type Answers = BTreeMap<(u64, u64), Vec<Reply>>;

/// A node that does one thing at a time.
pub(super) struct Twin {
    keks: KekSet,
    pub(super) rows: BTreeMap<RowName, Vec<u8>>,
    keyring: Option<Keyring>,
    pub(super) applied: Applied,
    /// Who waits where for what, from the beginning.
    waiting: BTreeMap<(u64, u64), Vec<Wanted>>,
    pub(super) answers: Answers,
    pub(super) controls: BTreeMap<u64, Result<(), RuleError>>,
    pub(super) cutovers: Vec<u64>,
    /// Entries of commands that were applied, clear and sealed.
    pub(super) commands: [u64; 2],
}

impl Twin {
    pub(super) fn new(keks: KekSet, waiting: BTreeMap<(u64, u64), Vec<Wanted>>) -> Twin {
        let applied =
            Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[NodeId::new(1).unwrap()]), Vec::new());
        let (rows, answers, controls) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Twin { keks, rows, keyring: None, applied, waiting, answers, controls, cutovers: Vec::new(), commands: [0; 2] }
    }

    /// Applies what of `log` is not applied yet.
    pub(super) fn run(&mut self, log: &[Committed]) -> Result<(), Stopped> {
        for committed in log {
            if committed.entry.index > self.applied.position.index {
                self.one(committed)?;
            }
        }
        Ok(())
    }

    /// Everything that it holds, as a store would.
    pub(super) fn picture(&self) -> Picture {
        Picture {
            rows: self.rows.clone(),
            applied: self.applied.encode(self.mac().as_ref()),
            keyring: self.keyring.as_ref().map(Keyring::encode),
        }
    }

    fn mac(&self) -> Option<MacKey> {
        let mac = self.keyring.as_ref().map(|keyring| unwrap_mac(&self.keks, keyring).unwrap());
        mac.map(|mac| std::sync::Arc::into_inner(mac).unwrap())
    }

    fn one(&mut self, committed: &Committed) -> Result<(), Stopped> {
        let entry = &committed.entry;
        let at = entry.position();
        let stopped = |class, word| Stopped { at, class, word, key_id: None, proposal_id: None };
        if entry.kind != EntryKind::Normal {
            self.members(committed.members.as_deref()).ok_or(stopped(HaltClass::Malformed, "membership"))?;
            self.applied.position = at;
            return Ok(());
        }
        if entry.data.is_empty() {
            self.applied.position = at;
            return Ok(());
        }
        // 0x01 | proposal id | payload
        if entry.data.len() < 9 || entry.data[0] != 1 {
            return Err(stopped(HaltClass::Malformed, "bytes"));
        }
        let proposal_id = u64::from_be_bytes(entry.data[1..9].try_into().unwrap());
        let inside = &entry.data[9..];
        let cutover = self.keyring.as_ref().map_or(Index::NEVER, Keyring::cutover);
        let is_sealed = entry.index.0 > cutover.0;
        self.normal(at, proposal_id, inside, is_sealed).map_err(|Cause(class, word, value_key)| {
            let key_id = value_key.or_else(|| plain::named_key(inside).filter(|_| is_sealed));
            Stopped { key_id, proposal_id: Some(proposal_id), ..stopped(class, word) }
        })
    }

    fn normal(&mut self, at: Position, proposal_id: u64, inside: &[u8], is_sealed: bool) -> Result<(), Cause> {
        let malformed = |word| Cause(HaltClass::Malformed, word, None);
        let (payload, entry_tag, control_envelope) = if is_sealed {
            let keyring = self.keyring.as_ref().unwrap();
            let (text, is_control) = plain::open_envelope(&self.keks, keyring, at, proposal_id, inside)?;
            (text, inside.last_chunk::<16>().copied(), Some(is_control))
        } else {
            (inside.to_vec(), None, None)
        };
        match Payload::decode(&payload).map_err(|_| malformed("payload"))? {
            Payload::Control(_) if control_envelope == Some(false) => Err(malformed("kind")),
            Payload::Batch(_) if control_envelope == Some(true) => Err(malformed("kind")),
            Payload::Control(bytes) => {
                let change = Change::decode(bytes).map_err(|_| malformed("control"))?;
                self.control(&change, at)
            }
            Payload::Batch(batch) => self.batch(&batch, at, entry_tag),
        }
    }

    fn batch(&mut self, batch: &CommandBatch<'_>, at: Position, entry_tag: Option<[u8; 16]>) -> Result<(), Cause> {
        let stamp_ms = self.applied.last_stamp_ms.max(batch.stamp_ms);
        let has_secret_names = self.keyring.as_ref().is_some_and(|keyring| *keyring.naming() != Naming::Clear);
        let mut overlay = match has_secret_names {
            true => Overlay::new(),
            false => Overlay::named_with(&NameKey::clear(&CLEAR_NAMES, CLUSTER)),
        };
        let key = plain::name_key(&self.keks, self.keyring.as_ref())?;
        let names: Vec<RowName> =
            keys_of(batch).map(|(database, user_key)| plain::name(&key, database, user_key)).collect();
        let sealed = entry_tag.map(SealedBy::from);
        let mut context = overlay.begin(self, at.index, stamp_ms, sealed, batch, &names).map_err(cause_of_read)?;
        let place = (at.index.0, at.term.0);
        let wanted = self.waiting.get(&place).cloned();
        let everything = || vec![Wanted::Write; batch.commands().count()];
        let mut commands = batch.commands();
        let mut replies = Vec::new();
        for one in wanted.clone().unwrap_or_else(everything) {
            replies.push(match one {
                Wanted::Write => {
                    let write = commands.next().unwrap();
                    overlay.execute(self, write, &mut context).map_err(cause_of_read)?
                }
                Wanted::Read(read) => {
                    let database = Database::FIRST;
                    let names: Vec<RowName> =
                        read.keys().iter().map(|user_key| plain::name(&key, database, user_key)).collect();
                    let read = NamedRead { read: &read, database, names: &names };
                    kv::read(&overlay.view(self), read, stamp_ms)
                        .unwrap_or(Reply::Error("ERR stored value cannot be read"))
                }
            });
        }
        assert!(commands.next().is_none());
        let is_sealed = entry_tag.is_some();
        let needs_key = is_sealed && context.sealed_writes() > 0;
        let active = match &self.keyring {
            Some(keyring) if needs_key => {
                let id = keyring.active_value().id.value();
                // The key that is missing is the value's: the line of the halt names that one.
                Some(plain::active_value(&self.keks, keyring).map_err(|_| Cause(HaltClass::UnknownKey, "", Some(id)))?)
            }
            _ => None,
        };
        let changes = overlay.into_changes();
        self.rows.retain(|name, _| !changes.cleared.contains(&name.database()));
        for (name, change) in changes.rows {
            let RowChange::Put { key, value, at } = change else {
                self.rows.remove(&name);
                continue;
            };
            let mut body = Vec::new();
            value.borrowed().encode_body(&key, &mut body);
            let row = match at.entry_tag() {
                None => [&value.borrowed().header(BodyState::Clear).encode()[..], &body].concat(),
                Some(entry_tag) => {
                    let header = value.borrowed().header(BodyState::Sealed).encode();
                    let (index, op) = (at.index.0, u64::from(at.op));
                    let of = SealedFor { store_key: name.as_bytes(), header, index, op, entry_tag };
                    plain::seal_row(active.as_ref().unwrap(), &of, &body)
                }
            };
            self.rows.insert(name, row);
        }
        self.applied.position = at;
        self.applied.last_stamp_ms = stamp_ms;
        self.applied.client_command_applied = true;
        self.commands[usize::from(is_sealed)] += 1;
        if wanted.is_some() {
            self.answers.insert(place, replies);
        }
        Ok(())
    }

    fn control(&mut self, change: &Change, at: Position) -> Result<(), Cause> {
        let facts = Facts { cluster: CLUSTER, client_command_applied: self.applied.client_command_applied };
        let outcome = match decide(self.keyring.as_ref(), change, at, facts) {
            Err(refusal) => Err(refusal),
            Ok(keyring) => {
                if unwrap_mac(&self.keks, &keyring).is_err() {
                    let class = if self.keks.is_empty() { HaltClass::NoCipher } else { HaltClass::UnknownKey };
                    return Err(Cause(class, "", None));
                }
                if keyring.cutover() == at.index {
                    self.cutovers.push(at.index.0);
                }
                self.applied.keyring_digest = Some(Keyring::digest(&keyring.encode()));
                self.keyring = Some(keyring);
                Ok(())
            }
        };
        self.controls.insert(at.index.0, outcome);
        self.applied.position = at;
        Ok(())
    }

    fn members(&mut self, members: Option<&Members>) -> Option<()> {
        let members = members?;
        members.check().ok()?;
        let Members { voters, learners, voters_outgoing, learners_next, .. } = members;
        let mut ids = [&voters[..], learners, voters_outgoing, learners_next].concat();
        ids.sort_unstable();
        ids.dedup();
        let known = std::mem::take(&mut self.applied.addresses);
        for node in ids.into_iter().map(|id| NodeId::new(id).unwrap()) {
            let address = known.iter().find(|member| member.node == node).map(|member| member.address.clone());
            self.applied.addresses.push(MemberAddress { node, address: address.unwrap_or_default() });
        }
        self.applied.members = members.clone();
        Some(())
    }
}

/// The twin's rows as commands see them, each opened when it is asked for.
impl Base for Twin {
    fn value(&self, asked: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        let Some(row) = self.rows.get(&asked.name) else {
            return Ok(None);
        };
        let (header, body) = Header::split(row)?;
        let body = match header.state {
            BodyState::Clear => {
                let allowed = self.keyring.as_ref().is_none_or(|keyring| keyring.clear_rows() == ClearRows::Allowed);
                if !allowed {
                    return Err(ReadError::Unauthentic);
                }
                body.to_vec()
            }
            BodyState::Sealed => {
                let opened = plain::open_row(&self.keks, self.keyring.as_ref(), asked.name.as_bytes(), row);
                opened.map_err(|closed| match closed {
                    Closed::NoCipher => ReadError::NoCipher,
                    Closed::UnknownKey(key_id) => ReadError::UnknownKey { key_id },
                    Closed::Unauthentic => ReadError::Unauthentic,
                    Closed::Malformed => ReadError::Envelope,
                })?
            }
        };
        let (key, value) = Value::decode_body(header, Bytes::from(body))?;
        if asked.key.is_some_and(|asked| asked != key) {
            return Err(ValueError::OtherKey.into());
        }
        Ok(Some(value))
    }

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        _detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        each_alone(self, rows, visit)
    }

    fn walk_keys(&self, _: KeyWalk, _: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        unreachable!("no write walks")
    }

    fn count(&self, _database: Database, _now_ms: u64) -> Result<u64, ReadError> {
        panic!("no write and no riding read counts")
    }
}

/// The keys of an entry with their databases: those of its conditions, then those of its commands.
fn keys_of<'a>(batch: &CommandBatch<'a>) -> impl Iterator<Item = (Database, &'a [u8])> {
    let mut keys: Vec<(Database, &'a [u8])> = Vec::new();
    keys.extend(batch.conditions().map(|condition| (condition.database, condition.key)));
    for command in batch.commands() {
        command.write.each_key(&mut |key| keys.push((command.database, key)));
    }
    keys.into_iter()
}

fn cause_of_read(error: ReadError) -> Cause {
    match error {
        ReadError::NoCipher => Cause(HaltClass::NoCipher, "", None),
        ReadError::UnknownKey { key_id } => Cause(HaltClass::UnknownKey, "", Some(key_id)),
        _ => Cause(HaltClass::StateMachine, "state", None),
    }
}
