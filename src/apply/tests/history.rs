//! Random logs as a cluster might have made them, with everything in them that can be in a log, and one poisoned place.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::apply::tests::kit::CLUSTER;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::kek;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::row_name;
use crate::apply::tests::kit::set;
use crate::apply::tests::one_by_one::Wanted;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Purpose;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::codec::encode_control;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::TtlForm;
use crate::fsm::command::WriteCommand;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::change::PublishOpener;
use crate::keys::change::Retire;
use crate::keys::change::SetCutover;
use crate::keys::kek::KekSet;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::node_keys::NodeKeys;
use crate::limits::ENTRY_WRITES_MAX;
use crate::members::Members;
use crate::raft::Committed;
use crate::testing::seed::Seeded;

/// A log, what is wrong with it, and who waits for its entries.
pub(super) struct History {
    /// As a leader made it.
    pub(super) good: Vec<Committed>,
    /// As it is read back: at most one entry is another.
    pub(super) log: Vec<Committed>,
    pub(super) poisoned_at: Option<u64>,
    pub(super) waiting: BTreeMap<(u64, u64), Vec<Wanted>>,
}

/// Both KEKs that wrap anything in a history.
pub(super) fn all_keks() -> KekSet {
    KekSet::new(vec![kek(7), kek(8)]).unwrap()
}

impl History {
    /// Mostly short; one in 500 has runs of thousands.
    pub(super) fn random(seed: u64) -> History {
        let leader = Leader::with(CLUSTER, all_keks(), seed);
        let count = match leader.chance.below(500) {
            0 => 4_200 + leader.chance.below(600),
            1..10 => leader.chance.below(300),
            10..150 => leader.chance.below(60),
            _ => leader.chance.below(24),
        };
        let mut author = Author { leader, waiting: BTreeMap::new(), bad: None, is_calm: count > 4_000 };
        author.begin();
        let bad_step = author.leader.chance.below(8 * count + 1);
        for step in 0..count {
            if step == bad_step {
                author.misseal();
            }
            author.something();
        }
        author.poisoned()
    }
}

struct Author {
    leader: Leader,
    waiting: BTreeMap<(u64, u64), Vec<Wanted>>,
    /// In place of the entry at that index.
    bad: Option<(u64, Committed)>,
    /// Hardly anything but commands, so that runs get long.
    is_calm: bool,
}

impl Author {
    /// Sealed from the start, clear with keys, or clear.
    fn begin(&mut self) {
        self.leader.empty();
        match self.leader.chance.below(5) {
            0 => {}
            1 => {
                for _ in 0..self.leader.chance.below(4) {
                    self.clients();
                }
                self.leader.bootstrap(false);
            }
            _ => {
                self.leader.bootstrap(true);
                self.leader.opener();
            }
        }
    }

    fn something(&mut self) {
        let (has_keys, is_sealed) = (self.has_keys(), self.is_sealed());
        let bound = if self.is_calm { 200_000 } else { 60 };
        match self.leader.chance.below(bound) {
            0 => self.leader.elect(),
            1 | 2 => {
                let learners = (2..5).filter(|_| self.leader.chance.below(2) == 0).collect();
                self.leader.membership_with(learners);
            }
            3 if has_keys => drop(self.leader.rotate(Purpose::Value)),
            4 if has_keys => drop(self.leader.rotate(Purpose::Entry)),
            5 if has_keys => self.rotate_by_the_other_kek(),
            6 if !has_keys => drop(self.leader.bootstrap(self.leader.chance.below(2) == 0)),
            7 | 8 if has_keys && !is_sealed => drop(self.leader.cutover()),
            9 | 10 => drop(self.leader.empty()),
            11..14 => self.refused_control(),
            14 if self.leader.chance.below(60) == 0 => self.too_many_writes(),
            _ => self.clients(),
        }
        // As a leader does: the opener before anything else that is sealed.
        if !is_sealed && self.is_sealed() {
            self.leader.opener();
        }
    }

    fn has_keys(&self) -> bool {
        self.leader.node_keys.current().keyring().is_some()
    }

    fn is_sealed(&self) -> bool {
        self.leader.node_keys.cutover() != Index::NEVER
    }

    fn rotate_by_the_other_kek(&mut self) {
        let view = self.leader.node_keys.current();
        let purpose = if self.leader.chance.below(2) == 0 { Purpose::Value } else { Purpose::Entry };
        let change = make_rotate(&keks(8), view.keyring().unwrap(), purpose, &self.leader.chance).unwrap();
        self.leader.control(&change);
    }

    /// One that is often refused, each for another reason, or applies all the same.
    fn refused_control(&mut self) {
        let view = self.leader.node_keys.current();
        let chance = &self.leader.chance;
        let key_id = KeyId::new(chance.below(5) as u32 + 1).unwrap();
        let change = match (chance.below(7), view.keyring()) {
            (0, _) => make_bootstrap(&keks(7), ClusterId([0xee; 16]), BootstrapKind::SecretNames, chance).unwrap(),
            (1, None) => Change::Cutover(SetCutover { entry_key: key_id }),
            (1, Some(_)) => make_bootstrap(&keks(7), CLUSTER, BootstrapKind::Cutover, chance).unwrap(),
            (2, _) => Change::Opener(PublishOpener { term: Term(self.leader.term + 1), salt: [3; 32] }),
            (3, Some(keyring)) if keyring.opener().is_some() => {
                let newest = keyring.opener().unwrap();
                Change::Opener(PublishOpener { term: Term(self.leader.term), salt: newest.salt })
            }
            (4, Some(keyring)) => {
                let Change::Rotate(mut rotate) = make_rotate(&keks(7), keyring, Purpose::Entry, chance).unwrap() else {
                    unreachable!("a rotation is made");
                };
                if chance.below(2) == 0 {
                    rotate.key_id = KeyId::new(rotate.key_id.value() + 1).unwrap();
                } else {
                    rotate.key.check = keyring.active_value().check;
                }
                Change::Rotate(rotate)
            }
            (5, Some(keyring)) => Change::Cutover(SetCutover { entry_key: keyring.active_value().id }),
            _ => Change::Retire(Retire { key_id }),
        };
        self.leader.control(&change);
    }

    /// Two commands that fit one by one, put together by hand, since no encoder makes such an entry (N4).
    fn too_many_writes(&mut self) {
        let pairs = (0..ENTRY_WRITES_MAX).map(|_| (Bytes::from_static(b"k"), Bytes::new())).collect();
        let mut payload = self.leader.payload(&[WriteCommand::SetMany { pairs, absent_only: false }]);
        let more = self.leader.payload(&[set("k0", "v")]);
        payload.extend_from_slice(&more[BATCH_HEADER_LEN..]);
        payload[BATCH_HEADER_LEN - 4..BATCH_HEADER_LEN].copy_from_slice(&2_u32.to_be_bytes());
        let position = self.leader.client_payload(&payload);
        self.waiting.insert(place(position), vec![Wanted::Write, Wanted::Write]);
    }

    fn clients(&mut self) {
        let most = if self.is_calm { 2 } else { 5 };
        let writes: Vec<WriteCommand> = (0..=self.leader.chance.below(most))
            .map(|_| random_write(&self.leader.chance, &self.leader.node_keys))
            .collect();
        if self.leader.chance.below(12) == 0 {
            // The clock of a new leader may be behind.
            self.leader.stamp_ms -= 4;
        }
        self.commands(&writes);
    }

    fn commands(&mut self, writes: &[WriteCommand]) {
        let position = self.leader.clients(writes);
        let chance = &self.leader.chance;
        if chance.below(2) == 0 {
            let mut wanted = Vec::new();
            for _ in writes {
                wanted.push(Wanted::Write);
                if chance.below(3) == 0 {
                    wanted.push(Wanted::Read(random_read(chance)));
                }
            }
            self.waiting.insert(place(position), wanted);
        }
        if chance.below(20) == 0 {
            // Somebody whose entry of another term was overwritten by this one.
            let term = if chance.below(2) == 0 { position.term.0 + 1 } else { position.term.0 - 1 };
            self.waiting.insert((position.index.0, term), vec![Wanted::Write]);
        }
    }

    /// Has the next entry replaced by one that is sealed (or clear) as its place asks for, with the wrong thing inside.
    fn misseal(&mut self) {
        let leader = &self.leader;
        let batch = leader.payload(&[set("k0", "wrong")]);
        let mut control = Vec::new();
        encode_control(&make_opener(Term(leader.term), &leader.chance).encode(), &mut control).unwrap();
        let data = match leader.chance.below(9) {
            0 => leader.seal(&control),
            1 => leader.seal_control(&batch),
            2 => leader.seal(&batch[..batch.len() - 1]),
            3 => leader.seal(b""),
            4 => leader.seal_control(&control[..control.len() - 1]),
            5 => leader.seal_control(b"\x02"),
            6 => EntryFrame { proposal_id: ProposalId(1), payload: &batch }.encode(),
            7 => EntryFrame { proposal_id: ProposalId(1), payload: b"\x09nonsense" }.encode(),
            _ => leader.seal(b"\x03"),
        };
        let position = leader.next_position();
        let entry = entry_at(position, data);
        self.bad = Some((position.index.0, Committed { entry, members: None }));
    }

    fn poisoned(mut self) -> History {
        let last = self.leader.log.len() as u64 + 1;
        if self.bad.is_none() && self.leader.chance.below(2) == 0 {
            let victim = 2 + self.leader.chance.below(last - 1);
            self.bad = Some((victim, self.spoilt(victim)));
        }
        let good = self.leader.log;
        let mut log = good.clone();
        let mut poisoned_at = None;
        if let Some((index, bad)) = self.bad.filter(|(index, _)| *index <= last) {
            let is_clear = index <= self.leader.node_keys.cutover().0;
            log[usize::try_from(index - 2).unwrap()] = bad;
            poisoned_at = Some(index);
            if is_clear {
                // It may well be applied, as something else than its waiter proposed.
                self.waiting.retain(|(at, _), _| *at != index);
            }
        }
        History { good, log, poisoned_at, waiting: self.waiting }
    }

    /// The entry at `victim`, damaged on a disk or moved there by somebody.
    fn spoilt(&self, victim: u64) -> Committed {
        let (leader, chance) = (&self.leader, &self.leader.chance);
        let Committed { entry, members } = &leader.log[usize::try_from(victim - 2).unwrap()];
        let mut entry = entry.clone();
        if entry.kind != EntryKind::Normal {
            let none = || Box::new(Members { voters: vec![0], ..Members::default() });
            return Committed { entry, members: (chance.below(2) != 0).then(none) };
        }
        let mut data = entry.data.to_vec();
        let other = leader.entry(chance.below(leader.log.len() as u64) + 2);
        match chance.below(12) {
            _ if data.is_empty() => data = other.data.to_vec(),
            0 | 1 => {
                let byte = chance.below(data.len() as u64) as usize;
                data[byte] ^= 1 << chance.below(8);
            }
            2 => data.truncate(chance.below(data.len() as u64) as usize),
            3 => data.clear(),
            4 if other.kind == EntryKind::Normal => data = other.data.to_vec(),
            5 => data[8] ^= 1,
            6 | 7 if data.len() > 14 => data[14] = chance.below(6) as u8,
            8 | 9 if data.len() > 9 => data[9] = chance.below(5) as u8,
            10 if data.len() > 10 => data[10] = 1,
            _ => data[0] = chance.below(4) as u8,
        }
        entry.data = Bytes::from(data);
        Committed { entry, members: members.clone() }
    }
}

fn entry_at(position: Position, data: Bytes) -> LogEntry {
    LogEntry { term: position.term, index: position.index, kind: EntryKind::Normal, data }
}

fn place(position: Position) -> (u64, u64) {
    (position.index.0, position.term.0)
}

fn random_key(chance: &Seeded) -> Bytes {
    Bytes::from(format!("k{}", chance.below(8)))
}

fn random_value(chance: &Seeded) -> Bytes {
    match chance.below(4) {
        0 => Bytes::from(format!("{}", chance.below(1000))),
        1 => Bytes::from("v".repeat(chance.below(300) as usize)),
        _ => Bytes::from(format!("value {}", chance.below(1000))),
    }
}

fn random_expiry(chance: &Seeded) -> Expiry {
    match chance.below(5) {
        0 => Expiry::Keep,
        1 => Expiry::In(chance.below(9) as i64 - 1),
        2 => Expiry::At(1_000_000 + chance.below(300) as i64),
        _ => Expiry::Clear,
    }
}

fn random_keys(chance: &Seeded) -> Vec<Bytes> {
    (0..=chance.below(3)).map(|_| random_key(chance)).collect()
}

fn pick<T: Copy, const N: usize>(chance: &Seeded, all: [T; N]) -> T {
    all[chance.below(N as u64) as usize]
}

fn random_write(chance: &Seeded, node_keys: &NodeKeys) -> WriteCommand {
    let key = random_key(chance);
    match chance.below(22) {
        0 | 1 => WriteCommand::IncrementBy { key, delta: chance.below(9) as i64 - 4 },
        2 => WriteCommand::IncrementByFloat { key, delta: Bytes::from_static(pick(chance, [b"1.5", b"-2.", b"x.y"])) },
        3 | 4 => WriteCommand::Append { key, value: random_value(chance) },
        5 => WriteCommand::SetRange { key, offset: chance.below(20) as u32, value: random_value(chance) },
        6 => WriteCommand::GetDelete { key },
        7 => WriteCommand::GetExpire { key, expiry: random_expiry(chance) },
        8 => WriteCommand::Delete { keys: random_keys(chance) },
        9 => {
            let all = [
                ExpireIf::Always,
                ExpireIf::None,
                ExpireIf::Some,
                ExpireIf::Later,
                ExpireIf::Sooner,
                ExpireIf::SomeSooner,
            ];
            WriteCommand::Expire { key, expiry: random_expiry(chance), when: pick(chance, all) }
        }
        10 => WriteCommand::Persist { key },
        11 if chance.below(4) == 0 => pick(chance, [&WriteCommand::FlushAll, &WriteCommand::FlushDatabase]).clone(),
        12 => {
            let keys = random_keys(chance).into_iter();
            WriteCommand::RemoveExpired { names: keys.map(|key| row_name(node_keys, &key)).collect() }
        }
        13 | 14 => {
            let pairs = random_keys(chance).into_iter().map(|key| (key, random_value(chance))).collect();
            WriteCommand::SetMany { pairs, absent_only: chance.below(3) == 0 }
        }
        15 => WriteCommand::Set {
            key,
            value: random_value(chance),
            when: pick(chance, [SetIf::Always, SetIf::Absent, SetIf::Present]),
            expiry: random_expiry(chance),
            reply: pick(chance, [SetReply::Ok, SetReply::Old, SetReply::Integer]),
        },
        _ => WriteCommand::Set {
            key,
            value: random_value(chance),
            when: SetIf::Always,
            expiry: Expiry::Clear,
            reply: SetReply::Ok,
        },
    }
}

fn random_read(chance: &Seeded) -> ReadCommand {
    let key = random_key(chance);
    match chance.below(7) {
        0 => ReadCommand::GetMany { keys: random_keys(chance) },
        1 => ReadCommand::Length { key },
        2 => ReadCommand::Range { key, start: chance.below(9) as i64 - 4, end: chance.below(9) as i64 - 4 },
        3 => ReadCommand::Exists { keys: random_keys(chance) },
        4 => ReadCommand::Ttl {
            key,
            form: pick(
                chance,
                [
                    TtlForm::Seconds,
                    TtlForm::Millis,
                    TtlForm::AtSeconds { lead_ms: 0 },
                    TtlForm::AtMillis { lead_ms: 0 },
                ],
            ),
        },
        5 => ReadCommand::Type { key },
        _ => ReadCommand::Get { key },
    }
}
