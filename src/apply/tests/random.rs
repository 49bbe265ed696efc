//! As if one by one: random histories, run in runs of every length on 1 to 16 threads, with crashes on the way and something
//! wrong at a random place, against the twin.
//!
//! Everything that can be told apart from outside is compared: every byte of the store and of the state record, the applied
//! index, what each waiter is told, what became of each control entry, where the log was told of the cutover, and where and
//! why it halted. Then the process ends, another one starts and must halt there again; and when the cause is gone it must
//! come to what a node has that never met it. `scripts/slow apply` makes 100 000 of these.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::apply::halt::HaltClass;
use crate::apply::tests::history::History;
use crate::apply::tests::history::all_keks;
use crate::apply::tests::kit::at;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::no_keks;
use crate::apply::tests::kit::set;
use crate::apply::tests::kit::word;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::apply::tests::node::TestBase;
use crate::apply::tests::one_by_one::Stopped;
use crate::apply::tests::one_by_one::Twin;
use crate::apply::tests::one_by_one::Wanted;
use crate::fsm::command::Reply;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::keys::kek::KekSet;
use crate::keys::rules::RuleError;
use crate::propose::RequestSlot;
use crate::propose::Waiter;
use crate::raft::Committed;
use crate::testing::picture::Picture;
use crate::testing::seed::Seeded;
use crate::testing::seed::seeds;

/// What really happened in all runs together: below [`Tally::is_vacuous`] the test has shown nothing.
#[derive(Debug, Default)]
struct Tally {
    tried: u64,
    halts: BTreeMap<HaltClass, u64>,
    healed: u64,
    crashes: u64,
    entries: u64,
    clear_commands: u64,
    sealed_commands: u64,
    controls: u64,
    refused_controls: u64,
    cutovers: u64,
    memberships: u64,
    answers: u64,
    runs: u64,
    longest_run: u64,
    threads_max: usize,
}

impl Tally {
    /// Least numbers for `tried` histories, well below what they come to.
    fn is_vacuous(&self) -> bool {
        let per = |count: u64, part: u64| count < self.tried / part;
        let halts = HaltClass::ALL.iter().any(|class| per(self.halts.get(class).copied().unwrap_or(0), 200));
        let longest = if self.tried < 4_000 { 64 } else { 4_096 };
        halts
            || per(self.healed, 50)
            || per(self.crashes, 10)
            || per(self.clear_commands, 2)
            || self.sealed_commands < 4 * self.tried
            || per(self.controls, 1)
            || per(self.refused_controls, 4)
            || per(self.cutovers, 3)
            || per(self.memberships, 4)
            || self.answers < self.tried
            || self.runs < 4 * self.tried
            || self.longest_run < longest
            || self.threads_max < 16
    }
}

/// What everybody was told, by index and term of the place where they waited.
type Told = Arc<Mutex<BTreeMap<(u64, u64), Result<Vec<Reply>, &'static str>>>>;

/// One history, and everything drawn about how it is run.
struct Trial {
    history: History,
    chance: Seeded,
    setup: Setup,
    keks: fn() -> KekSet,
    told: Told,
    controls: BTreeMap<u64, Result<(), RuleError>>,
    cutovers: Vec<u64>,
}

/// A stored row before it was damaged on the disk, and after.
struct Damage {
    name: RowName,
    good: Vec<u8>,
    bad: Vec<u8>,
}

impl Trial {
    fn new(seed: u64) -> Trial {
        let history = History::random(seed);
        let chance = Seeded::new(seed ^ 0x5eed);
        let is_long = history.log.len() > 4_096;
        let run_entries = if is_long { 4_096 } else { [1, 2, 3, 7, 17, 300, 4_096][chance.below(7) as usize] };
        let run_bytes = if !is_long && chance.below(6) == 0 { 500 } else { 8 << 20 };
        let overlay_bytes = if !is_long && chance.below(6) == 0 { 500 } else { 8 << 20 };
        let threads = chance.below(16) as usize + 1;
        let keks: fn() -> KekSet = match chance.below(20) {
            0 => no_keks,
            1 => || keks(8),
            2..6 => || keks(7),
            _ => all_keks,
        };
        let table_bytes = if chance.below(3) == 0 { 1 } else { 64 << 20 };
        let setup = Setup { threads, run_entries, run_bytes, overlay_bytes, table_bytes, ..Setup::default() };
        let (controls, cutovers) = (BTreeMap::new(), Vec::new());
        Trial { history, chance, setup, keks, told: Told::default(), controls, cutovers }
    }

    fn last(&self) -> u64 {
        self.history.log.len() as u64 + 1
    }

    /// Registers those who wait above `from` up to `to`.
    fn wait(&self, node: &Node, from: u64, to: u64) {
        for (&(index, term), wanted) in self.history.waiting.range((from + 1, 0)..(to + 1, 0)) {
            let slots = wanted.iter().map(|wanted| match wanted {
                Wanted::Write => RequestSlot::Write(Database::FIRST, set("", "")),
                Wanted::Read(read) => RequestSlot::Read(Database::FIRST, read.clone()),
            });
            let told = Arc::clone(&self.told);
            let done = move |outcome| {
                let word = word(outcome);
                assert!(told.lock().unwrap().insert((index, term), word).is_none(), "told once");
            };
            let waiter = Waiter::new(slots.collect(), Box::new(done));
            node.waiters.register(at(term, index), [waiter], Duration::MAX);
        }
    }

    /// Hands `log` over in random handfuls up to `last` and steps in between.
    fn drive(&mut self, node: &mut Node, log: &[Committed], last: u64, tally: &mut Tally) -> Result<(), Stopped> {
        let at_once = log.len() > 4_096 && self.chance.below(4) > 0;
        let handful = if at_once { 1 << 20 } else { [1, 7, 100, 5_000][self.chance.below(4) as usize] };
        let mut next = node.apply.applied().position.index.0 + 1;
        let outcome = loop {
            let queued = node.apply.queued();
            if next > last && queued == 0 {
                break Ok(());
            }
            if next <= last && (queued == 0 || self.chance.below(2) == 0) {
                let end = last.min(next + self.chance.below(handful)) + 1;
                node.apply.offer(log[entry_at(next)..entry_at(end)].to_vec());
                next = end;
                continue;
            }
            if self.chance.below(8) == 0 {
                node.flusher.ask();
            }
            let before = node.apply.applied().position.index.0;
            let stepped = node.apply.step();
            let length = node.apply.applied().position.index.0 - before;
            tally.runs += 1;
            tally.longest_run = tally.longest_run.max(length);
            if let Err(halt) = stepped {
                assert!(Arc::ptr_eq(&halt, &node.apply.step().unwrap_err()), "it stays halted");
                break Err(Stopped::of(&halt));
            }
        };
        assert_eq!(node.published().index, node.apply.applied().position.index);
        self.controls.extend(node.notes.controls.lock().unwrap().iter().copied());
        for (cutover, state) in node.notes.cutovers.lock().unwrap().iter() {
            assert_eq!(state + 1, *cutover, "durable in the log before it is true in the state");
            self.cutovers.push(*cutover);
        }
        outcome
    }

    /// Changes a stored row of both, as a bad disk or somebody with an editor would.
    fn damage(&self, node: &Node, twin: &mut Twin) -> Option<Damage> {
        let which = self.chance.below(twin.rows.len().max(1) as u64) as usize;
        let (name, good) = twin.rows.iter().nth(which).map(|(name, row)| (*name, row.clone()))?;
        let mut bad = good.clone();
        match self.chance.below(6) {
            0 => bad[0] ^= 1 << self.chance.below(8),
            1 => bad.truncate(self.chance.below(bad.len() as u64) as usize),
            2 if bad.len() > 15 => bad[14] = self.chance.below(7) as u8,
            3 => bad.clone_from(twin.rows.values().next().unwrap()),
            _ => {
                let byte = self.chance.below(bad.len() as u64) as usize;
                bad[byte] ^= 1 << self.chance.below(8);
            }
        }
        twin.rows.insert(name, bad.clone());
        node.base.put(&name, &bad);
        Some(Damage { name, good, bad })
    }

    fn run(mut self, tally: &mut Tally) {
        let log = std::mem::take(&mut self.history.log);
        self.history.log.clone_from(&log);
        let mut twin = Twin::new((self.keks)(), self.history.waiting.clone());
        let mut node = Node::start(TestBase::founded(), (self.keks)(), &self.setup);
        let middle = 1 + self.chance.below(self.last().min(200));
        self.wait(&node, 1, middle);
        let mut expected = twin.run(&log[..entry_at(middle + 1)]);
        let mut outcome = self.drive(&mut node, &log, middle, tally);
        assert_eq!(outcome, expected);
        assert_same(&node, &twin);
        let mut damage = None;
        if outcome.is_err() {
            self.wait(&node, middle, self.last());
        } else {
            if self.chance.below(3) == 0 {
                // A crash: some of the newest steps are lost and made again from the log, byte for byte.
                tally.crashes += 1;
                node = node.crash_and_restart((self.keks)(), &self.setup);
                assert_eq!(self.drive(&mut node, &log, middle, tally), Ok(()));
                assert_same(&node, &twin);
            }
            if self.history.poisoned_at.is_none_or(|index| index <= middle) && self.chance.below(3) == 0 {
                // Damage is on the disk; a table above would hide it.
                node.apply.flush().unwrap();
                node = node.crash_and_restart((self.keks)(), &self.setup);
                damage = self.damage(&node, &mut twin);
            }
            self.wait(&node, middle, self.last());
            expected = twin.run(&log);
            let last = self.last();
            outcome = self.drive(&mut node, &log, last, tally);
            assert_eq!(outcome, expected);
            assert_same(&node, &twin);
        }
        self.count(&twin, &log, expected.as_ref().err(), tally);
        self.cutovers.dedup();
        assert_eq!((&self.controls, &self.cutovers), (&twin.controls, &twin.cutovers));
        self.judge_answers(&twin, expected.as_ref().err(), false);
        let Err(stopped) = expected else {
            return;
        };
        let mut node = node.crash_and_restart((self.keks)(), &self.setup);
        self.judge_answers(&twin, Some(&stopped), true);
        let last = self.last();
        assert_eq!(self.drive(&mut node, &log, last, tally), Err(stopped.clone()), "a restart halts there again");
        assert_same(&node, &twin);
        self.heal(node, &stopped, damage.as_ref(), tally);
    }

    /// Takes the cause away. What was applied before the halt must be as good as if it had never been.
    fn heal(&mut self, node: Node, stopped: &Stopped, damage: Option<&Damage>, tally: &mut Tally) {
        let index = stopped.at.index.0;
        let was_misled = self.history.poisoned_at.is_some_and(|poisoned_at| poisoned_at < index);
        // A changed row in the clear is one that somebody may have relied on.
        let was_clear = damage.is_some_and(|damage| damage.good[0] == 0);
        if was_misled || was_clear {
            return;
        }
        if let Some(Damage { name, good, bad }) = damage
            && Picture::of_base(&node.base.memory).rows.get(name) == Some(bad)
        {
            node.base.put(name, good);
        }
        tally.healed += 1;
        let mut node = node.crash_and_restart(all_keks(), &self.setup);
        let good = std::mem::take(&mut self.history.good);
        let last = self.last();
        assert_eq!(self.drive(&mut node, &good, last, tally), Ok(()), "it goes on");
        let mut never_halted = Twin::new(all_keks(), BTreeMap::new());
        assert_eq!(never_halted.run(&good), Ok(()));
        // Without loss.
        assert_same(&node, &never_halted);
    }

    /// Each waiter is told what the twin says, or nothing from a halt on: never that it failed.
    fn judge_answers(&self, twin: &Twin, stopped: Option<&Stopped>, has_ended: bool) {
        let told = self.told.lock().unwrap();
        let applied = twin.applied.position.index.0;
        for place in self.history.waiting.keys() {
            let told = told.get(place);
            match (twin.answers.get(place), stopped) {
                (Some(replies), _) => assert_eq!(told, Some(&Ok(replies.clone())), "{place:?}"),
                (None, _) if place.0 <= applied => assert_eq!(told, Some(&Err("try again")), "{place:?}"),
                // Another entry is committed at its place: whether it was told so before the end is a matter of luck.
                (None, Some(halt)) if place.0 == halt.at.index.0 && place.1 != halt.at.term.0 => {
                    let is_true = matches!(told, None | Some(Err("try again" | "unknown")));
                    assert!(is_true, "{place:?} {told:?}");
                }
                (None, _) => assert_eq!(told, has_ended.then_some(&Err("unknown")), "{place:?}"),
            }
        }
    }

    fn count(&self, twin: &Twin, log: &[Committed], stopped: Option<&Stopped>, tally: &mut Tally) {
        let applied = twin.applied.position.index.0;
        let is_member_change = |committed: &&Committed| committed.members.is_some();
        if let Some(stopped) = stopped {
            *tally.halts.entry(stopped.class).or_default() += 1;
        }
        tally.entries += applied - 1;
        tally.clear_commands += twin.commands[0];
        tally.sealed_commands += twin.commands[1];
        tally.controls += twin.controls.len() as u64;
        tally.refused_controls += twin.controls.values().filter(|outcome| outcome.is_err()).count() as u64;
        tally.cutovers += twin.cutovers.len() as u64;
        tally.memberships += log[..entry_at(applied + 1)].iter().filter(is_member_change).count() as u64;
        tally.answers += twin.answers.len() as u64;
        tally.threads_max = tally.threads_max.max(self.setup.threads);
    }
}

/// Byte for byte: rows, state record, keyring.
fn assert_same(node: &Node, twin: &Twin) {
    let (node, twin) = (node.picture(), twin.picture());
    let differs = node.rows.iter().find(|(name, row)| twin.rows.get(name) != Some(row)).map(|(name, _)| name);
    assert!(node.rows == twin.rows, "rows differ, first {differs:?}");
    assert_eq!(node.applied, twin.applied);
    assert_eq!(node.keyring, twin.keyring);
}

/// Logs of these tests begin at index 2.
fn entry_at(index: u64) -> usize {
    usize::try_from(index - 2).unwrap()
}

#[test]
fn as_if_one_by_one_for_random_histories_runs_and_threads() {
    let seeds = seeds(CI_RUNS);
    eprintln!("seeds {} to {}; one alone: SEALKV_SEED=N", seeds[0], seeds[seeds.len() - 1]);
    let mut tally = Tally::default();
    let mut failed = 0;
    for &seed in &seeds {
        tally.tried += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| Trial::new(seed).run(&mut tally)));
        if outcome.is_err() {
            eprintln!("failed: SEALKV_SEED={seed}");
            failed += 1;
        }
    }
    eprintln!("{tally:?}");
    eprintln!("{} tried, {failed} failed", tally.tried);
    assert_eq!(failed, 0);
    assert!(seeds.len() == 1 || !tally.is_vacuous(), "too little happened for this to mean anything: {tally:?}");
}

#[test]
fn the_twin_shares_no_code_with_what_it_judges() {
    let judged =
        ["apply::", "crypto::open", "crypto::seal", "crypto::stored", "crypto::envelope", "keys::node_keys::NodeKeys"];
    let harmless = ["apply::halt::", "apply::tests::kit::", "apply::tests::node::Picture", "apply::tests::plain"];
    for source in [include_str!("one_by_one.rs"), include_str!("plain.rs")] {
        for path in source.lines().filter_map(|line| line.strip_prefix("use crate::")) {
            let is_judged = judged.iter().any(|room| path.starts_with(room));
            assert!(!is_judged || harmless.iter().any(|part| path.starts_with(part)), "the twin uses {path}");
        }
        let is_past_the_head =
            |line: &str| line.contains("crate::") && !line.starts_with("use crate::") && !line.starts_with("//!");
        assert!(!source.lines().any(is_past_the_head), "nothing is named past the list at the head");
    }
}

/// Without `SEALKV_RUNS`: a few seconds.
const CI_RUNS: u64 = 4_000;
