//! The model on its own: every order of steps within bounds, by the checker of `stateright`.
//!
//! Nodes have no names here: a state is that of any order of its nodes, which the checker sees once.

use std::fmt::Write as _;

use stateright::Model;
use stateright::Property;

use crate::model::entry::Ask;
use crate::model::entry::At;
use crate::model::entry::Entry;
use crate::model::entry::Kind;
use crate::model::entry::Life;
use crate::model::entry::Ring;
use crate::model::entry::Seal;
use crate::model::entry::Use;
use crate::model::rules::Rules;
use crate::model::rules::Wrong;
use crate::model::world::Founding;
use crate::model::world::Node;
use crate::model::world::World;

/// One thing that happens. Nodes are numbered as they stand in the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `node` wins an election by the votes of itself and of `others`.
    Elect {
        node: usize,
        others: Vec<usize>,
    },
    /// A leader seals something for the place behind its log and appends it.
    Propose {
        node: usize,
        kind: Kind,
    },
    /// What a node has in memory is on its disk.
    Persist {
        node: usize,
    },
    /// A leader's next entry, or its term alone, is in the log of another node, durably.
    Replicate {
        from: usize,
        to: usize,
    },
    /// A leader applies its next committed entry.
    Apply {
        node: usize,
    },
    /// A process ends, and another one begins with the disk.
    Crash {
        node: usize,
    },
    /// Without a rule of N6: an entry is sealed for the place that is next now, to be appended later.
    Prepare {
        node: usize,
    },
    Place {
        node: usize,
    },
    /// Without the other one: the library does not take a batch, which is sealed again.
    Refuse {
        node: usize,
    },
    ProposeAgain {
        node: usize,
    },
    /// Of everything that is committed.
    Backup,
    /// The backup takes the place of the cluster.
    Restore,
}

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub nodes: usize,
    pub terms: u32,
    /// Highest index.
    pub last: u32,
    pub batches: u64,
    /// Highest id of a DEK.
    pub keys: u32,
    pub crashes: u8,
    pub field_max: u32,
    pub has_backup: bool,
    /// Whether the cluster begins behind its cutover.
    pub is_sealed: bool,
}

impl Bounds {
    /// A cluster of three, from before its cutover on.
    pub const CUTOVER: Bounds = Bounds {
        nodes: 3,
        terms: 2,
        last: 6,
        batches: 2,
        keys: 2,
        crashes: 0,
        field_max: u32::MAX,
        has_backup: false,
        is_sealed: false,
    };
    /// The same behind its cutover, with a rotation.
    pub const SEALED: Bounds = Bounds { batches: 2, keys: 3, is_sealed: true, ..Bounds::CUTOVER };
    /// One node through several lives and terms.
    pub const ALONE: Bounds = Bounds { nodes: 1, terms: 3, last: 7, keys: 3, crashes: 1, ..Bounds::CUTOVER };
    /// The same, whose nonces count to two.
    pub const SMALL_FIELD: Bounds =
        Bounds { terms: 2, batches: 4, field_max: 2, crashes: 1, is_sealed: true, ..Bounds::ALONE };
    /// The same, with a backup that becomes a cluster.
    pub const BACKUP: Bounds = Bounds { terms: 2, last: 6, has_backup: true, is_sealed: true, ..Bounds::ALONE };
}

#[derive(Clone, Debug)]
pub struct Explored {
    pub rules: Rules,
    pub bounds: Bounds,
}

/// A world, and what may yet happen to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Situation {
    pub world: World,
    crashes: u8,
    backup: Option<Founding>,
    is_restored: bool,
}

impl Model for Explored {
    type State = Situation;
    type Action = Step;

    fn init_states(&self) -> Vec<Situation> {
        let cutover = self.bounds.is_sealed.then_some(0);
        let founding = Founding { last: At::default(), ring: Ring { cutover, ..Ring::bootstrapped() } };
        let mut world = World::new(self.bounds.nodes, self.bounds.nodes / 2 + 1, founding);
        world.field_max = self.bounds.field_max;
        vec![Situation { world, crashes: self.bounds.crashes, backup: None, is_restored: false }]
    }

    fn actions(&self, state: &Situation, steps: &mut Vec<Step>) {
        let nodes = &state.world.nodes;
        for node in 0..nodes.len() {
            // One of several equal nodes is enough.
            if node > 0 && nodes[node] == nodes[node - 1] {
                continue;
            }
            self.elections(state, node, steps);
            if nodes[node].disk != nodes[node].memory {
                steps.push(Step::Persist { node });
            }
            if state.crashes > 0 {
                steps.push(Step::Crash { node });
            }
            if nodes[node].leads {
                self.leading(state, node, steps);
            }
        }
        if self.bounds.has_backup {
            steps.push(if state.backup.is_none() { Step::Backup } else { Step::Restore });
        }
    }

    fn next_state(&self, before: &Situation, step: Step) -> Option<Situation> {
        let mut after = before.clone();
        self.take(&mut after, step)?;
        after.world.nodes.sort();
        Some(after)
    }

    fn properties(&self) -> Vec<Property<Explored>> {
        let mut all = vec![
            Property::always(NONCES, |_: &Explored, state: &Situation| {
                !state.world.wrong.contains(&Wrong::NonceReused)
            }),
            Property::always(N1, |_: &Explored, state: &Situation| !state.world.wrong.contains(&Wrong::VolatileTerm)),
            Property::always(N2, |_: &Explored, state: &Situation| !state.world.wrong.contains(&Wrong::BeforeOpener)),
            Property::always(N3, |_: &Explored, state: &Situation| !state.world.wrong.contains(&Wrong::BehindControl)),
            Property::always(N6, |_: &Explored, state: &Situation| !state.world.wrong.contains(&Wrong::SealedTwice)),
            Property::always(OPENS, |_: &Explored, state: &Situation| state.world.unreadable().is_none()),
            Property::always(ONE_HISTORY, |_: &Explored, state: &Situation| has_one_history(&state.world)),
        ];
        all.extend(self.reached());
        all
    }
}

impl Explored {
    /// What has to be reached: without it the exploration says little.
    fn reached(&self) -> Vec<Property<Explored>> {
        let mut all = vec![
            Property::sometimes("a client's entry is committed sealed", |_: &Explored, state: &Situation| {
                let is_it = |entry: &Entry| entry.kind == Kind::Client && entry.seal.is_some();
                state.world.committed.iter().any(is_it)
            }),
            Property::sometimes("leaders of two terms have entries committed", |_: &Explored, state: &Situation| {
                let terms = state.world.committed.iter().filter(|entry| entry.is_control()).map(|entry| entry.at.term);
                terms.clone().min() != terms.max()
            }),
        ];
        if !self.bounds.is_sealed {
            all.push(Property::sometimes(
                "a cutover is committed behind a client's clear entry",
                |_: &Explored, state: &Situation| {
                    let committed = &state.world.committed;
                    let is_cutover = |entry: &Entry| matches!(entry.kind, Kind::Control(Ask::Cutover { .. }));
                    let cutover = committed.iter().position(is_cutover).unwrap_or_default();
                    committed[..cutover].iter().any(|entry| entry.kind == Kind::Client)
                },
            ));
        }
        if self.bounds.keys > 2 {
            all.push(Property::sometimes(
                "a client's entry is committed under a rotated key",
                |_: &Explored, state: &Situation| {
                    let is_it = |entry: &Entry| matches!(entry.seal, Some(Seal::Leadership { key: 3.., .. }));
                    state.world.committed.iter().any(is_it)
                },
            ));
            all.push(Property::sometimes("a key is retired", |_: &Explored, state: &Situation| {
                state.world.nodes.iter().any(|node| node.ring.deks.iter().any(|dek| dek.1 == Life::Retired))
            }));
        }
        if self.bounds.nodes > 1 {
            all.push(Property::sometimes("an opener is going to be dropped", |_: &Explored, state: &Situation| {
                let committed = &state.world.committed;
                let is_doomed = |entry: &Entry| committed.get(entry.at.index as usize).is_some_and(|it| it != entry);
                let mut all = state.world.nodes.iter().flat_map(|node| &node.memory.log);
                all.any(|entry| matches!(entry.kind, Kind::Control(Ask::Opener { .. })) && is_doomed(entry))
            }));
            all.push(Property::sometimes(
                "a leader inherits a control entry that is not committed",
                |_: &Explored, state: &Situation| {
                    let committed = state.world.committed.len() as u32;
                    let is_inherited = |node: &Node, entry: &Entry| {
                        entry.is_control() && entry.at.term < node.memory.term && entry.at.index >= committed
                    };
                    let mut leaders = state.world.nodes.iter().filter(|node| node.leads);
                    leaders.any(|node| node.memory.log.iter().any(|entry| is_inherited(node, entry)))
                },
            ));
            all.push(Property::sometimes("two nodes lead at once", |_: &Explored, state: &Situation| {
                state.world.nodes.iter().filter(|node| node.leads).count() == 2
            }));
        }
        all
    }

    fn elections(&self, state: &Situation, node: usize, steps: &mut Vec<Step>) {
        let nodes = &state.world.nodes;
        let others: Vec<usize> = (0..nodes.len()).filter(|other| *other != node).collect();
        // The smallest majorities: whoever else votes learns of the term later.
        let needed = state.world.quorum - 1;
        let sets = (0..1_u32 << others.len()).filter(|set| set.count_ones() as usize == needed);
        for set in sets {
            let chosen = others.iter().enumerate().filter(|(at, _)| set & 1 << at != 0).map(|(_, other)| *other);
            let others: Vec<usize> = chosen.collect();
            let is_behind =
                |voter: &usize| nodes[*voter].disk.log.last().expect("the founding entry").at <= nodes[node].last();
            if others.iter().all(is_behind) && self.term_of(state, node, &others) <= self.bounds.terms {
                steps.push(Step::Elect { node, others });
            }
        }
    }

    /// The first term that none of them knows: those between were lost by candidates.
    fn term_of(&self, state: &Situation, node: usize, others: &[usize]) -> u32 {
        let terms = others.iter().chain([&node]).map(|voter| state.world.nodes[*voter].memory.term);
        terms.max().expect("itself") + 1
    }

    fn leading(&self, state: &Situation, node: usize, steps: &mut Vec<Step>) {
        let world = &state.world;
        steps.extend(self.proposals(state, node).into_iter().map(|kind| Step::Propose { node, kind }));
        let others = (0..world.nodes.len()).filter(|to| *to != node);
        steps.extend(others.map(|to| Step::Replicate { from: node, to }));
        if is_committed(world, node, world.nodes[node].applied + 1) {
            steps.push(Step::Apply { node });
        }
        let has_place = world.nodes[node].memory.next_index() <= self.bounds.last;
        let may_send = has_place && world.may_propose(node, Kind::Client, &self.rules).is_ok();
        if !self.rules.place_is_fresh && has_place {
            let is_prepared = world.nodes[node].prepared.is_some();
            steps.extend((may_send && !is_prepared).then_some(Step::Prepare { node }));
            steps.extend(is_prepared.then_some(Step::Place { node }));
        }
        if !self.rules.sealed_once && may_send {
            let is_kept = world.nodes[node].kept.is_some();
            steps.push(if is_kept { Step::ProposeAgain { node } } else { Step::Refuse { node } });
        }
    }

    fn proposals(&self, state: &Situation, node: usize) -> Vec<Kind> {
        let world = &state.world;
        let ring = &world.nodes[node].ring;
        let mut kinds = Vec::new();
        if world.nodes[node].memory.next_index() > self.bounds.last {
            return kinds;
        }
        if world.needs_opener(node, &self.rules) {
            kinds.push(Kind::Control(Ask::Opener { term: world.nodes[node].memory.term }));
        }
        if world.batches < self.bounds.batches {
            kinds.push(Kind::Client);
        }
        if let Some(key) = ring.active(Use::Entries).filter(|_| ring.cutover.is_none()) {
            kinds.push(Kind::Control(Ask::Cutover { key }));
        }
        if ring.next_key() <= self.bounds.keys {
            kinds.push(Kind::Control(Ask::Rotate { key: ring.next_key(), of: Use::Entries }));
        }
        if let Some(at) = ring.deks.iter().position(|dek| *dek == (Use::Entries, Life::OpensOnly)) {
            kinds.push(Kind::Control(Ask::Retire { key: at as u32 + 1 }));
        }
        kinds.retain(|kind| world.may_propose(node, *kind, &self.rules).is_ok());
        kinds
    }

    fn take(&self, state: &mut Situation, step: Step) -> Option<()> {
        let world = &mut state.world;
        match step {
            Step::Elect { node, others } => {
                let term = self.term_of(state, node, &others);
                self.elect(&mut state.world, node, &others, term);
            }
            Step::Propose { node, kind } => {
                let batch = if kind == Kind::Client { world.batches + 1 } else { 0 };
                let entry = world.make(node, kind, batch).ok()?;
                world.append(node, entry);
            }
            Step::Persist { node } => world.nodes[node].disk = world.nodes[node].memory.clone(),
            Step::Replicate { from, to } => replicate(world, from, to)?,
            Step::Apply { node } => world.apply(node).ok()?,
            Step::Crash { node } => {
                state.crashes -= 1;
                world.restart(node);
            }
            Step::Prepare { node } => {
                let entry = world.make(node, Kind::Client, world.batches + 1).ok()?;
                world.nodes[node].prepared = Some(entry);
            }
            Step::Place { node } => {
                let sealed = world.nodes[node].prepared.take()?;
                let at = At { term: world.nodes[node].memory.term, index: world.nodes[node].memory.next_index() };
                world.append(node, Entry { at, ..sealed });
            }
            Step::Refuse { node } => {
                world.make(node, Kind::Client, world.batches + 1).ok()?;
                world.batches += 1;
                world.nodes[node].kept = Some(world.batches);
            }
            Step::ProposeAgain { node } => {
                let batch = world.nodes[node].kept.take()?;
                let entry = world.make(node, Kind::Client, batch).ok()?;
                world.append(node, entry);
            }
            Step::Backup => state.backup = Some(backup(world)),
            Step::Restore => {
                let founding = state.backup.clone().filter(|_| !state.is_restored)?;
                state.is_restored = true;
                restore(world, founding, self.rules.restored_is_new);
            }
        }
        Some(())
    }

    /// Votes are durable before they are given, and requests for them leave when the candidate's own is. A sole voter asks
    /// nobody: it leads before its disk knows of the term.
    fn elect(&self, world: &mut World, node: usize, others: &[usize], term: u32) {
        for voter in others {
            world.learn(*voter, term);
            world.nodes[*voter].disk.term = term;
        }
        if !others.is_empty() {
            world.nodes[node].disk.term = term;
        }
        world.lead(node, term);
    }
}

/// The next entry that `to` lacks, in place of what it has from there on; or the term alone.
fn replicate(world: &mut World, from: usize, to: usize) -> Option<()> {
    let (leader, follower) = (&world.nodes[from], &world.nodes[to]);
    let term = leader.memory.term;
    if follower.memory.term > term || leader.disk.term != term {
        return None;
    }
    let same = leader.memory.log.iter().zip(&follower.memory.log).take_while(|(one, two)| one == two).count();
    let next = leader.memory.log.get(same).copied();
    if next.is_none() && follower.memory.term == term {
        return None;
    }
    world.learn(to, term);
    let follower = &mut world.nodes[to];
    if let Some(next) = next {
        follower.memory.log.truncate(same);
        follower.memory.log.push(next);
    }
    follower.disk = follower.memory.clone();
    Some(())
}

/// Raft's rule: an entry of the leader's own term, from `index` on, is on the disks of a majority.
fn is_committed(world: &World, leader: usize, index: u32) -> bool {
    let node = &world.nodes[leader];
    let above = node.memory.log.get(index as usize..).unwrap_or_default();
    let is_own = |entry: &&Entry| entry.at.term == node.memory.term;
    above.iter().filter(is_own).any(|entry| world.holders(entry) >= world.quorum)
}

fn has_one_history(world: &World) -> bool {
    // Every leader of the newest term has all that is committed.
    let newest = world.nodes.iter().map(|node| node.memory.term).max();
    let mut leaders = world.nodes.iter().filter(|node| node.leads && Some(node.memory.term) == newest);
    leaders.all(|node| node.memory.log.starts_with(&world.committed))
}

fn backup(world: &World) -> Founding {
    let mut ring = world.founding.ring.clone();
    world.committed[world.founding.last.index as usize + 1..].iter().for_each(|entry| ring.apply(entry));
    Founding { last: world.committed.last().expect("the founding entry").at, ring }
}

fn restore(world: &mut World, founding: Founding, is_new: bool) {
    let fresh = World::new(world.nodes.len(), world.quorum, founding);
    (world.nodes, world.founding, world.committed) = (fresh.nodes, fresh.founding, fresh.committed);
    world.cluster += u32::from(is_new);
}

/// A path in lines.
pub fn told(steps: &[Step]) -> String {
    let mut told = String::new();
    steps.iter().for_each(|step| writeln!(told, "  {step:?}").expect("a string takes all"));
    told
}

pub const NONCES: &str = "no key and nonce seal two texts";
pub const N1: &str = "N1: nothing is sealed in a term that is not durable";
pub const N2: &str = "N2: no client's entry is above the cutover in front of its term's opener";
pub const N3: &str = "N3: nothing is behind a control entry that is not applied";
pub const N6: &str = "N6: no batch is sealed twice";
pub const OPENS: &str = "every committed entry opens with the keyring as of its index";
pub const ONE_HISTORY: &str = "a new leader has what is committed";
