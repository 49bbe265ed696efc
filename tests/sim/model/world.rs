//! The nodes of the model: logs in memory and on disk, who leads, what is applied, and what was ever sealed.
//!
//! A node's disk may lag behind its memory by any number of writes. Messages are not modelled: an entry goes from a leader to a
//! node in one step, and a vote is durable in the step of the election, as raft's messages wait for the disk.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::model::entry::Ask;
use crate::model::entry::At;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::Ring;
use crate::model::entry::Seal;
use crate::model::entry::Use;
use crate::model::rules::Forbidden;
use crate::model::rules::Rules;
use crate::model::rules::Wrong;

/// What raft keeps of itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    pub term: u32,
    /// By index; places below the first entry are `Kind::Founding`.
    pub log: Vec<Entry>,
}

impl Part {
    pub fn write(&mut self, write: &Write) {
        self.term = self.term.max(write.term);
        if let Some(first) = write.entries.first() {
            self.log.truncate(first.at.index as usize);
            self.log.extend(&write.entries);
        }
    }

    pub fn next_index(&self) -> u32 {
        u32::try_from(self.log.len()).expect("a short log")
    }
}

/// A change of a [`Part`]: entries replace what was there from the first of them on.
#[derive(Clone, Debug, Default)]
pub struct Write {
    pub term: u32,
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub memory: Part,
    pub disk: Part,
    pub leads: bool,
    /// Index of the last applied entry, and the keyring as of that.
    pub applied: u32,
    pub ring: Ring,
    /// Only where a rule of N6 does not hold: an entry that was sealed early, and a batch that was not dropped.
    pub prepared: Option<Entry>,
    pub kept: Option<u64>,
}

impl Node {
    pub fn last(&self) -> At {
        self.memory.log.last().expect("the founding entry").at
    }

    fn unapplied(&self) -> &[Entry] {
        &self.memory.log[self.applied as usize + 1..]
    }
}

/// Where logs begin, and the keyring there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Founding {
    pub last: At,
    pub ring: Ring,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub nodes: Vec<Node>,
    /// Voters that make a majority.
    pub quorum: usize,
    pub founding: Founding,
    /// By index.
    pub committed: Vec<Entry>,
    /// Every pair of key and nonce, and the batch that it sealed: cluster, DEK, opener, field of the nonce.
    pub sealed: BTreeMap<(u32, u32, At, u32), u64>,
    /// Batches are numbered from 1 on in the order in which they are first sealed.
    pub batches: u64,
    pub cluster: u32,
    /// Largest distance from the opener that the field of a nonce holds; then it begins anew.
    pub field_max: u32,
    pub wrong: BTreeSet<Wrong>,
}

impl World {
    pub fn new(nodes: usize, quorum: usize, founding: Founding) -> World {
        let log: Vec<Entry> = (0..=founding.last.index).map(Entry::founding).collect();
        let part = Part { term: founding.last.term, log: log.clone() };
        let node = Node {
            memory: part.clone(),
            disk: part,
            leads: false,
            applied: founding.last.index,
            ring: founding.ring.clone(),
            prepared: None,
            kept: None,
        };
        World {
            nodes: vec![node; nodes],
            quorum,
            founding,
            committed: log,
            sealed: BTreeMap::new(),
            batches: 0,
            cluster: 0,
            field_max: u32::MAX,
            wrong: BTreeSet::new(),
        }
    }

    /// Whether node `at` may propose something of that kind now.
    pub fn may_propose(&self, at: usize, kind: Kind, rules: &Rules) -> Result<(), Forbidden> {
        let node = &self.nodes[at];
        let term = node.memory.term;
        if !node.leads {
            return Err(Forbidden::NotLeader);
        }
        if matches!(kind, Kind::Empty | Kind::Members) {
            return Ok(());
        }
        if rules.term_is_durable && node.disk.term != term {
            return Err(Forbidden::TermNotDurable);
        }
        if rules.empty_is_applied && node.memory.log[node.applied as usize].at.term != term {
            return Err(Forbidden::EmptyNotApplied);
        }
        // One of an earlier term is applied or gone once the empty entry of this term is applied.
        let is_own_control = |entry: &Entry| entry.is_control() && entry.at.term == term;
        if rules.control_is_applied && node.unapplied().iter().any(is_own_control) {
            return Err(Forbidden::BehindControl);
        }
        let is_opener = matches!(kind, Kind::Control(Ask::Opener { .. }));
        if rules.opener_first && !is_opener && self.needs_opener(at, rules) {
            return Err(Forbidden::OpenerMissing);
        }
        Ok(())
    }

    /// Whether an opener is due before anything else.
    pub fn needs_opener(&self, at: usize, rules: &Rules) -> bool {
        let node = &self.nodes[at];
        let serves = node.ring.opener.is_some_and(|opener| {
            let distance = node.memory.next_index() - opener.index;
            opener.term == node.memory.term && (!rules.opener_is_renewed || distance <= self.field_max)
        });
        node.ring.cutover.is_some() && !serves
    }

    /// What the proposer of node `at` makes for the position behind its log, with the keyring that it has applied.
    pub fn make(&self, at: usize, kind: Kind, batch: u64) -> Result<Entry, Forbidden> {
        let node = &self.nodes[at];
        let place = At { term: node.memory.term, index: node.memory.next_index() };
        let seal = if node.ring.is_above_cutover(place.index) {
            let key = node.ring.active(Use::Entries).ok_or(Forbidden::NoKey);
            match kind {
                Kind::Founding | Kind::Empty | Kind::Members => None,
                Kind::Control(_) => Some(Seal::Control { key: key?, place }),
                Kind::Client => {
                    let opener = node.ring.opener.ok_or(Forbidden::NoKey)?;
                    Some(Seal::Leadership { key: key?, opener, place })
                }
            }
        } else {
            None
        };
        Ok(Entry { at: place, kind, seal, batch })
    }

    /// Node `at`, which leads, appends an entry; what is wrong with that is noted.
    pub fn append(&mut self, at: usize, entry: Entry) {
        let node = &self.nodes[at];
        let mut wrong = Vec::new();
        if matches!(entry.kind, Kind::Client | Kind::Control(_)) {
            if entry.seal.is_some() && node.disk.term != entry.at.term {
                wrong.push(Wrong::VolatileTerm);
            }
            if node.unapplied().iter().any(Entry::is_control) {
                wrong.push(Wrong::BehindControl);
            }
        }
        if entry.kind == Kind::Client {
            let mut ring = node.ring.clone();
            node.unapplied().iter().for_each(|before| ring.apply(before));
            let is_open = ring.opener.is_some_and(|opener| opener.term == entry.at.term);
            if ring.is_above_cutover(entry.at.index) && !is_open {
                wrong.push(Wrong::BeforeOpener);
            }
        }
        if entry.batch != 0 && entry.batch <= self.batches {
            wrong.push(Wrong::SealedTwice);
        }
        self.batches = self.batches.max(entry.batch);
        if let Some(Seal::Leadership { key, opener, place }) = entry.seal {
            let field = (place.index - opener.index - 1) % self.field_max + 1;
            let before = self.sealed.insert((self.cluster, key, opener, field), entry.batch);
            if before.is_some_and(|batch| batch != entry.batch) {
                wrong.push(Wrong::NonceReused);
            }
        }
        self.wrong.extend(wrong);
        self.nodes[at].memory.log.push(entry);
    }

    /// Node `at` leads from now on, in a higher term, and appends the empty entry.
    pub fn lead(&mut self, at: usize, term: u32) {
        let node = &mut self.nodes[at];
        (node.leads, node.memory.term) = (true, term);
        let place = At { term, index: node.memory.next_index() };
        node.memory.log.push(Entry { at: place, kind: Kind::Empty, seal: None, batch: 0 });
    }

    /// Node `at` learns of a higher term.
    pub fn learn(&mut self, at: usize, term: u32) {
        let node = &mut self.nodes[at];
        if term > node.memory.term {
            (node.memory.term, node.leads) = (term, false);
        }
    }

    /// On how many disks the log up to and with `entry` is.
    pub fn holders(&self, entry: &Entry) -> usize {
        let holds = |node: &&Node| node.disk.log.get(entry.at.index as usize) == Some(entry);
        self.nodes.iter().filter(holds).count()
    }

    /// Node `at` applies its next entry, which is durable and committed.
    pub fn apply(&mut self, at: usize) -> Result<(), Forbidden> {
        let next = self.nodes[at].applied as usize + 1;
        let entry = *self.nodes[at].disk.log.get(next).ok_or(Forbidden::NotCommitted)?;
        match self.committed.get(next) {
            Some(committed) if *committed != entry => return Err(Forbidden::OtherHistory),
            Some(_) => {}
            None => self.commit(at, entry)?,
        }
        let node = &mut self.nodes[at];
        node.ring.apply(&entry);
        node.applied += 1;
        Ok(())
    }

    /// `entry` of node `at` is the next that is committed: some entry from it on is on the disks of a majority.
    fn commit(&mut self, at: usize, entry: Entry) -> Result<(), Forbidden> {
        let above = &self.nodes[at].disk.log[entry.at.index as usize..];
        if above.iter().any(|above| self.holders(above) >= self.quorum) {
            self.committed.push(entry);
            Ok(())
        } else {
            Err(Forbidden::NotCommitted)
        }
    }

    /// The process of node `at` is gone, and another one begins with what its disk has.
    pub fn restart(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.memory = node.disk.clone();
        (node.leads, node.prepared, node.kept) = (false, None, None);
        (node.applied, node.ring) = (self.founding.last.index, self.founding.ring.clone());
    }

    /// The first committed entry that does not open with the keyring as of its index.
    pub fn unreadable(&self) -> Option<Entry> {
        let mut ring = self.founding.ring.clone();
        self.committed[self.founding.last.index as usize + 1..].iter().copied().find(|entry| {
            let opens = ring.opens(entry);
            ring.apply(entry);
            !opens
        })
    }
}
