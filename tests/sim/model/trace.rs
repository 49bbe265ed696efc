//! Real deeds as steps of the model: whether a cluster may have done what its nodes did.
//!
//! Logs, keyrings and sealed bytes are those of the nodes. Each entry is opened as its maker would open it, so kind, key and
//! place are what the bytes say.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::VecDeque;

use bytes::Bytes;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::envelope::Envelope;
use sealkv::crypto::envelope::Version;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::open::EntryKeys;
use sealkv::crypto::open::OpenJob;
use sealkv::crypto::open::open_entry;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::fsm::codec::Payload;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::keys::change::BootstrapKind;
use sealkv::keys::change::Change;
use sealkv::keys::keyring::DekState;
use sealkv::keys::keyring::Keyring;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::testing::leader::keks;
use sealkv::testing::record::Deed;
use sealkv::testing::record::Recorded;

use crate::model::entry::Ask;
use crate::model::entry::At;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::Life;
use crate::model::entry::Ring;
use crate::model::entry::Seal;
use crate::model::entry::Use;
use crate::model::rules::Forbidden;
use crate::model::rules::Rules;
use crate::model::rules::Wrong;
use crate::model::world::Founding;
use crate::model::world::Part;
use crate::model::world::World;
use crate::model::world::Write;

/// What a trace has gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub elections: u64,
    pub restarts: u64,
    pub cutovers: u64,
    pub openers: u64,
    pub rotations: u64,
    pub sealed: u64,
    /// Entries that another history took the place of.
    pub dropped: u64,
    pub dropped_controls: u64,
    pub applied: u64,
    /// Starts with a log whose first entries were gone.
    pub trimmed: u64,
    /// Starts with a snapshot in the place of the log.
    pub installed: u64,
}

/// An entry as it was made.
struct Made {
    entry: Entry,
    data: Bytes,
    before: At,
}

/// A cluster of the model, led by deeds.
pub struct Trace {
    world: World,
    /// Of each node: what raft handed over and is not known to be durable, oldest first.
    writes: Vec<VecDeque<Write>>,
    /// Of each node: row of its keyring, and the keys in it.
    keys: Vec<(Option<Vec<u8>>, Option<EntryKeys>)>,
    made: BTreeMap<At, Made>,
    leaders: BTreeMap<u32, usize>,
    /// Numbers of proposals.
    proposals: BTreeMap<u64, u64>,
    control_nonces: BTreeSet<(u32, [u8; 12])>,
    pub seen: Seen,
}

impl Trace {
    pub fn new(nodes: usize, quorum: usize) -> Trace {
        // All founders write the same state at this place.
        let founding = Founding { last: At { term: 1, index: 1 }, ring: Ring::default() };
        Trace {
            world: World::new(nodes, quorum, founding),
            writes: vec![VecDeque::new(); nodes],
            keys: vec![(None, None); nodes],
            made: BTreeMap::new(),
            leaders: BTreeMap::new(),
            proposals: BTreeMap::new(),
            control_nonces: BTreeSet::new(),
            seen: Seen::default(),
        }
    }

    /// Steps the model.
    pub fn take(&mut self, recorded: &Recorded) -> Result<(), Forbidden> {
        let node = usize::try_from(recorded.node - 1).expect("few nodes");
        match &recorded.deed {
            Deed::Handed { term, entries } => {
                if let Some(term) = term {
                    self.world.learn(node, number(term.0));
                }
                let made: Result<Vec<Entry>, Forbidden> =
                    entries.iter().map(|entry| self.handed(node, entry)).collect();
                let term = self.world.nodes[node].memory.term;
                self.writes[node].push_back(Write { term, entries: made? });
                Ok(())
            }
            Deed::Persisted(groups) => {
                for _ in 0..*groups {
                    let write = self.writes[node].pop_front().ok_or(Forbidden::OtherRemains)?;
                    self.world.nodes[node].disk.write(&write);
                }
                Ok(())
            }
            Deed::Applied { at, keyring } => self.applied(node, *at, keyring.as_deref()),
            Deed::Started { term, compacted, entries, applied, keyring } => {
                self.seen.restarts += 1;
                self.remains(node, number(term.0), at(*compacted), entries)?;
                self.world.restart(node);
                self.keys[node] = (None, None);
                if applied.index < compacted.index {
                    return Err(Forbidden::OtherRemains);
                }
                self.applied(node, *applied, keyring.as_deref())
            }
        }
    }

    /// Raft of `node` has an entry behind the one before it.
    fn handed(&mut self, node: usize, raw: &LogEntry) -> Result<Entry, Forbidden> {
        let place = at(raw.position());
        let log = &mut self.world.nodes[node].memory.log;
        if (place.index as usize) < log.len() {
            let dropped = log.split_off(place.index as usize);
            self.seen.dropped += dropped.len() as u64;
            self.seen.dropped_controls += dropped.iter().filter(|entry| entry.is_control()).count() as u64;
        }
        if place.index as usize != log.len() || place.index <= self.world.nodes[node].applied {
            return Err(Forbidden::OtherHistory);
        }
        let before = self.world.nodes[node].last();
        if let Some(made) = self.made.get(&place) {
            let is_same = made.data == raw.data && made.before == before;
            // One that led then may get it back from others after a restart; one that leads gets nothing of its term.
            let is_own = self.world.nodes[node].leads && self.world.nodes[node].memory.term == place.term;
            if !is_same || is_own {
                return Err(Forbidden::OtherHistory);
            }
            // A sole voter whose term was not durable leads in it once more; nothing was sealed in it before.
            let entry = made.entry;
            let is_again = self.world.quorum == 1 && place.term == self.world.nodes[node].memory.term;
            if is_again && entry.kind == Kind::Empty {
                self.elected(node, place.term)?;
            }
            self.world.nodes[node].memory.log.push(entry);
            return Ok(entry);
        }
        let entry = self.made_here(node, raw, place)?;
        self.made.insert(place, Made { entry, data: raw.data.clone(), before });
        Ok(entry)
    }

    /// Nobody has shown this entry before: `node` leads and has made it.
    fn made_here(&mut self, node: usize, raw: &LogEntry, place: At) -> Result<Entry, Forbidden> {
        if place.term != self.world.nodes[node].memory.term {
            return Err(Forbidden::NotLeader);
        }
        if raw.kind == EntryKind::Normal && raw.data.is_empty() && !self.leaders.contains_key(&place.term) {
            self.elected(node, place.term)?;
        }
        if self.leaders.get(&place.term) != Some(&node) {
            return Err(Forbidden::NotLeader);
        }
        let (kind, seal, batch) = self.read(node, raw, place)?;
        self.world.may_propose(node, kind, &Rules::ALL)?;
        let entry = Entry { at: place, kind, seal, batch };
        if self.world.make(node, kind, batch)? != entry {
            return Err(Forbidden::OtherEntry);
        }
        self.world.append(node, entry);
        self.seen.sealed += u64::from(entry.seal.is_some());
        match self.world.wrong.first() {
            None => Ok(entry),
            Some(Wrong::VolatileTerm) => Err(Forbidden::TermNotDurable),
            Some(Wrong::BeforeOpener) => Err(Forbidden::OpenerMissing),
            Some(Wrong::BehindControl) => Err(Forbidden::BehindControl),
            Some(Wrong::NonceReused | Wrong::SealedTwice) => Err(Forbidden::UsedBefore),
        }
    }

    /// The votes of a majority are durable, and what is committed is in the log of the new leader. A sole voter asks nobody.
    fn elected(&mut self, node: usize, term: u32) -> Result<(), Forbidden> {
        let world = &mut self.world;
        let voters = world.nodes.iter().filter(|node| node.disk.term >= term).count();
        let has_votes = world.quorum == 1 || voters >= world.quorum;
        if !has_votes || !world.nodes[node].memory.log.starts_with(&world.committed) {
            return Err(Forbidden::BadElection);
        }
        world.nodes[node].leads = true;
        self.leaders.insert(term, node);
        self.seen.elections += 1;
        Ok(())
    }

    /// Kind, seal and batch of an entry that `node` has made, as its own keys open it.
    fn read(&mut self, node: usize, raw: &LogEntry, place: At) -> Result<(Kind, Option<Seal>, u64), Forbidden> {
        if raw.kind != EntryKind::Normal {
            return Ok((Kind::Members, None, 0));
        }
        if raw.data.is_empty() {
            return Ok((Kind::Empty, None, 0));
        }
        let frame = EntryFrame::decode(&raw.data).map_err(|_| Forbidden::OtherEntry)?;
        let ring = &self.world.nodes[node].ring;
        let (text, seal) = if ring.is_above_cutover(place.index) {
            let envelope = Envelope::parse(frame.payload).map_err(|_| Forbidden::OtherEntry)?;
            let keys = self.keys[node].1.as_ref().ok_or(Forbidden::NoKey)?;
            let job = OpenJob { position: raw.position(), data: &raw.data };
            let text = open_entry(keys, job).map_err(|_| Forbidden::DoesNotOpen)?;
            let key = envelope.key_id.value();
            let seal = match envelope.version {
                Version::Control if !self.control_nonces.insert((key, envelope.nonce)) => {
                    return Err(Forbidden::UsedBefore);
                }
                Version::Control => Seal::Control { key, place },
                Version::Entry | Version::One => {
                    let mut distance = [0; 8];
                    distance[3..].copy_from_slice(&envelope.nonce[..5]);
                    let index = u64::from(place.index).wrapping_sub(u64::from_be_bytes(distance));
                    let opener =
                        At { term: place.term, index: u32::try_from(index).map_err(|_| Forbidden::OtherEntry)? };
                    Seal::Leadership { key, opener, place }
                }
            };
            (text, Some(seal))
        } else {
            (frame.payload.to_vec(), None)
        };
        let kind = kind_of(&text)?;
        // A control entry is made anew whenever it is due.
        let next = self.world.batches + 1;
        let batch = *self.proposals.entry(frame.proposal_id.0).or_insert(next);
        Ok((kind, seal, batch))
    }

    fn applied(&mut self, node: usize, to: Position, keyring: Option<&[u8]>) -> Result<(), Forbidden> {
        let to = at(to);
        while self.world.nodes[node].applied < to.index {
            let next = self.world.nodes[node].applied as usize + 1;
            let entry = *self.world.nodes[node].disk.log.get(next).ok_or(Forbidden::NotCommitted)?;
            if !self.world.nodes[node].ring.opens(&entry) {
                return Err(Forbidden::DoesNotOpen);
            }
            let is_first = next == self.world.committed.len();
            self.world.apply(node)?;
            self.seen.applied += 1;
            if is_first && let Kind::Control(ask) = entry.kind {
                self.seen.cutovers +=
                    u64::from(matches!(ask, Ask::Cutover { .. } | Ask::Bootstrap { is_cutover: true }));
                self.seen.openers += u64::from(matches!(ask, Ask::Opener { .. }));
                self.seen.rotations += u64::from(matches!(ask, Ask::Rotate { .. }));
            }
        }
        let last = self.world.committed.get(to.index as usize).ok_or(Forbidden::NotCommitted)?;
        if self.world.nodes[node].applied != to.index || last.at != to {
            return Err(Forbidden::OtherHistory);
        }
        if keyring != self.keys[node].0.as_deref() {
            let keyring = keyring.ok_or(Forbidden::OtherKeyring)?;
            self.keys[node] = (Some(keyring.to_vec()), opening(keyring));
        }
        let ring = &self.world.nodes[node].ring;
        let has_clients = ring.has_clients;
        let seen = self.keys[node].0.as_deref().map_or(Ring::default(), ring_of);
        if *ring == (Ring { has_clients, ..seen }) { Ok(()) } else { Err(Forbidden::OtherKeyring) }
    }

    /// A process of `node` has found this log: what was durable, and as much of what was on its way as the crash let through. Or
    /// a snapshot has taken its place.
    fn remains(&mut self, node: usize, term: u32, compacted: At, entries: &[Position]) -> Result<(), Forbidden> {
        // A log that has seen no term yet was founded in one.
        let term = term.max(self.world.founding.last.term);
        let entries: Vec<At> = entries.iter().map(|position| at(*position)).collect();
        let (mut disk, mut makes_way) = (self.world.nodes[node].disk.clone(), false);
        let mut writes = std::mem::take(&mut self.writes[node]).into_iter().flat_map(one_by_one);
        loop {
            let (below, above) = disk.log.split_at((compacted.index as usize + 1).min(disk.log.len()));
            let has_compacted = below.last().is_some_and(|last| last.at == compacted);
            let is_log = has_compacted && above.iter().map(|entry| entry.at).eq(entries.iter().copied());
            if is_log && disk.term == term {
                self.seen.trimmed += u64::from(compacted != self.world.founding.last);
                self.world.nodes[node].disk = disk;
                return Ok(());
            }
            // Its term stays, so that no vote is given twice; and a log that has the entry needs no snapshot.
            makes_way |= !has_compacted && disk.term.max(compacted.term) == term;
            match writes.next() {
                Some(write) => disk.write(&write),
                None => break,
            }
        }
        if !makes_way || !entries.is_empty() {
            return Err(Forbidden::OtherRemains);
        }
        self.installed(node, term, compacted)
    }

    /// The log of `node` begins behind a snapshot: of what was committed, with nothing above it.
    fn installed(&mut self, node: usize, term: u32, last: At) -> Result<(), Forbidden> {
        let committed = self.world.committed.get(..=last.index as usize).ok_or(Forbidden::OtherRemains)?;
        if committed.last().is_none_or(|committed| committed.at != last) {
            return Err(Forbidden::OtherRemains);
        }
        self.world.nodes[node].disk = Part { term, log: committed.to_vec() };
        self.seen.installed += 1;
        Ok(())
    }
}

/// A large group goes into several frames, of which a crash may keep the first ones.
fn one_by_one(write: Write) -> Vec<Write> {
    let Write { term, entries } = write;
    let rest = entries.iter().skip(1).map(|entry| Write { term, entries: vec![*entry] });
    let first = Write { term, entries: entries.first().copied().into_iter().collect() };
    std::iter::once(first).chain(rest).collect()
}

fn kind_of(text: &[u8]) -> Result<Kind, Forbidden> {
    match Payload::decode(text).map_err(|_| Forbidden::OtherEntry)? {
        Payload::Batch(_) => Ok(Kind::Client),
        Payload::Control(change) => {
            Change::decode(change).map(|change| Kind::Control(ask(&change))).map_err(|_| Forbidden::OtherEntry)
        }
    }
}

fn ask(change: &Change) -> Ask {
    match change {
        Change::Bootstrap(bootstrap) => Ask::Bootstrap { is_cutover: bootstrap.kind == BootstrapKind::Cutover },
        Change::Cutover(cutover) => Ask::Cutover { key: cutover.entry_key.value() },
        Change::Opener(opener) => Ask::Opener { term: number(opener.term.0) },
        Change::Rotate(rotate) => Ask::Rotate { key: rotate.key_id.value(), of: use_of(rotate.purpose) },
        Change::Retire(retire) => Ask::Retire { key: retire.key_id.value() },
        Change::Names(_) => Ask::Names,
    }
}

/// The keys of a keyring, by the KEK of every simulation.
fn opening(row: &[u8]) -> Option<EntryKeys> {
    let keyring = Keyring::decode(row).expect("a node wrote it");
    let node_keys = NodeKeys::new(keyring.cluster(), keks(7));
    node_keys.install(keyring).expect("the first one");
    node_keys.current().entry_keys()
}

fn ring_of(row: &[u8]) -> Ring {
    let keyring = Keyring::decode(row).expect("a node wrote it");
    let life = |state| match state {
        DekState::Active => Life::Active,
        DekState::DecryptOnly => Life::OpensOnly,
        DekState::Retired => Life::Retired,
    };
    Ring {
        cutover: (keyring.cutover() != Index::NEVER).then(|| number(keyring.cutover().0)),
        opener: keyring.opener().map(|opener| At { term: number(opener.term.0), index: number(opener.index.0) }),
        deks: keyring.deks().map(|dek| (use_of(dek.purpose), life(dek.state))).collect(),
        has_clients: false,
    }
}

fn use_of(purpose: Purpose) -> Use {
    match purpose {
        Purpose::Entry => Use::Entries,
        Purpose::Value => Use::Values,
    }
}

fn at(position: Position) -> At {
    At { term: number(position.term.0), index: number(position.index.0) }
}

fn number(wide: u64) -> u32 {
    u32::try_from(wide).expect("a short life")
}
