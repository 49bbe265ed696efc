//! What the log is asked to do while the power may go or the disk may fail at any moment.

use sealkv::ids::Index;
use sealkv::testing::log::LogRig;
use sealkv::testing::seed::Seeded;
use sealkv::wal::Append;
use sealkv::wal::WalError;

use crate::log_life::Life;

/// One kind of work, and the log that it is done on.
pub struct Workload {
    pub name: &'static str,
    pub work: fn(&mut Life<'_>) -> Result<(), WalError>,
    log: Log,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    Sealed,
    Clear,
    /// Every write is durable when it completes.
    Plain,
    /// Requests in flight complete in any order.
    Disordered,
    /// The pool may not grow.
    Small,
}

impl Workload {
    /// The smallest log there can be: a slot holds two headers and six blocks of frames.
    pub fn rig(&self, seed: u64) -> LogRig {
        let mut rig = if self.log == Log::Clear { LogRig::clear(seed) } else { LogRig::new(seed) };
        rig.config.slot_bytes = 32 << 10;
        rig.config.entry_bytes_max = ENTRY_BYTES_MAX;
        rig.config.slots_max = if self.log == Log::Small { 4 } else { 8 };
        match self.log {
            Log::Plain => rig.platters.sync_by_flag(),
            Log::Disordered => rig.platters.disorder(Seeded::new(seed)),
            Log::Sealed | Log::Clear | Log::Small => {}
        }
        rig
    }
}

pub const WORKLOADS: &[Workload] = &[
    Workload { name: "append", work: append, log: Log::Sealed },
    Workload { name: "group", work: group, log: Log::Sealed },
    Workload { name: "roll", work: roll, log: Log::Sealed },
    Workload { name: "recycle", work: recycle, log: Log::Sealed },
    Workload { name: "overwrite a suffix", work: overwrite, log: Log::Sealed },
    Workload { name: "hard state only", work: hard_state, log: Log::Sealed },
    Workload { name: "compaction", work: compaction, log: Log::Sealed },
    Workload { name: "pool full", work: pool_full, log: Log::Small },
    Workload { name: "growth", work: growth, log: Log::Sealed },
    Workload { name: "idle frames", work: idle_frames, log: Log::Sealed },
    Workload { name: "reopen and go on", work: reopen, log: Log::Sealed },
    Workload { name: "two reopens", work: two_reopens, log: Log::Sealed },
    Workload { name: "killed in flight", work: killed_in_flight, log: Log::Sealed },
    Workload { name: "forced plain engine", work: mixed, log: Log::Plain },
    Workload { name: "forced plain engine, killed", work: killed_in_flight, log: Log::Plain },
    Workload { name: "frames in flight", work: in_flight, log: Log::Disordered },
    Workload { name: "snapshot", work: snapshot, log: Log::Sealed },
    Workload { name: "cutover", work: cutover, log: Log::Sealed },
    Workload { name: "entries of several frames", work: several_frames, log: Log::Sealed },
    Workload { name: "mixed, without a key", work: mixed, log: Log::Clear },
    Workload { name: "mixed, in any order", work: mixed, log: Log::Disordered },
];

/// For faults at each of its requests in turn.
pub const STEADY: Workload = Workload { name: "steady", work: steady, log: Log::Sealed };

/// Everything that a log does but reopening, settled at the end.
pub fn steady(life: &mut Life<'_>) -> Result<(), WalError> {
    for round in 0..16 {
        life.make_space();
        match round % 8 {
            0 => {
                let vote = life.voted();
                life.offer(vote);
            }
            3 => life.offer(life.rewritten(1, 2, 300)),
            5 => life.trimmed(2).into_iter().for_each(|trim| life.offer(trim)),
            6 => life.idle()?,
            _ => life.offer(life.appended(1, len(life))),
        }
        life.settle()?;
    }
    Ok(())
}

fn len(life: &Life<'_>) -> usize {
    life.chance.pick(&[0, 10, 300, 700, 2000, 3900])
}

fn write(life: &mut Life<'_>, append: Append) -> Result<(), WalError> {
    life.offer(append);
    life.settle()
}

fn append(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..8 {
        write(life, life.appended(1, len(life)))?;
    }
    Ok(())
}

fn group(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..5 {
        for _ in 0..1 + life.chance.below(4) {
            life.offer(life.appended(1 + life.chance.below(3), 100));
        }
        life.settle()?;
    }
    Ok(())
}

fn roll(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..9 {
        write(life, life.appended(1, 3500 + life.chance.index(500)))?;
    }
    Ok(())
}

fn recycle(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..14 {
        write(life, life.appended(1, 3500 + life.chance.index(500)))?;
        if let Some(trim) = life.trimmed(2) {
            write(life, trim)?;
        }
    }
    Ok(())
}

fn overwrite(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..5 {
        write(life, life.appended(2, 300))?;
        let vote = life.voted();
        write(life, vote)?;
        write(life, life.rewritten(1 + life.chance.below(3), 1 + life.chance.below(2), len(life)))?;
    }
    Ok(())
}

fn hard_state(life: &mut Life<'_>) -> Result<(), WalError> {
    write(life, life.appended(1, 50))?;
    for _ in 0..8 {
        let vote = life.voted();
        life.offer(vote);
        if life.chance.one_in(3) {
            life.offer(life.committed());
        }
        life.settle()?;
    }
    Ok(())
}

fn compaction(life: &mut Life<'_>) -> Result<(), WalError> {
    for round in 0..5 {
        write(life, life.appended(3, len(life)))?;
        if let Some(trim) = life.trimmed(round % 3) {
            life.offer(trim);
            life.offer(life.appended(1, 10));
        }
        life.settle()?;
    }
    Ok(())
}

fn pool_full(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..2 {
        for _ in 0..14 {
            life.offer(life.appended(1, 3900));
        }
        life.settle()?;
        for keep in [4, 2, 0] {
            if let Some(trim) = life.trimmed(keep) {
                write(life, trim)?;
            }
        }
        let vote = life.voted();
        write(life, vote)?;
    }
    Ok(())
}

fn growth(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..12 {
        write(life, life.appended(1, 3900))?;
    }
    if let Some(trim) = life.trimmed(1) {
        write(life, trim)?;
    }
    Ok(())
}

fn idle_frames(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..5 {
        write(life, life.appended(1, len(life)))?;
        life.offer(life.committed());
        life.idle()?;
    }
    Ok(())
}

fn reopen(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..5 {
        write(life, life.appended(2, len(life)))?;
        life.idle()?;
        life.reopen();
        life.make_space();
        life.settle()?;
    }
    Ok(())
}

fn two_reopens(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..4 {
        write(life, life.appended(1, len(life)))?;
        life.offer(life.appended(1, 700));
        life.step()?;
        life.reopen();
        life.reopen();
        life.make_space();
        life.settle()?;
    }
    Ok(())
}

fn killed_in_flight(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..6 {
        let steps = life.chance.below(6);
        life.offer(life.appended(1, len(life)));
        let vote = life.voted();
        life.offer(vote);
        for _ in 0..steps {
            life.step()?;
            life.offer(life.appended(1, 300));
        }
        life.reopen();
        life.make_space();
        life.settle()?;
    }
    Ok(())
}

fn in_flight(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..24 {
        life.offer(life.appended(1, len(life)));
        life.step()?;
        if life.model().is_settled() {
            life.make_space();
        }
    }
    life.settle()
}

fn snapshot(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..3 {
        write(life, life.appended(3, len(life)))?;
        life.offer(life.appended(1, 300));
        life.offer(life.reset(4));
        life.offer(life.appended(1, len(life)));
        life.settle()?;
    }
    Ok(())
}

fn cutover(life: &mut Life<'_>) -> Result<(), WalError> {
    write(life, life.appended(2, 100))?;
    let cutover = Some(Index(life.model().acknowledged().last()));
    write(life, Append { cutover, ..Append::default() })?;
    recycle(life)
}

fn several_frames(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..4 {
        let vote = life.voted();
        let append = Append { hard_state: vote.hard_state, ..life.appended(3, 3900) };
        life.offer(append);
        life.offer(life.rewritten(1, 3, 2000));
        life.settle()?;
        if let Some(trim) = life.trimmed(1) {
            write(life, trim)?;
        }
    }
    Ok(())
}

/// Anything, in any order.
pub fn mixed(life: &mut Life<'_>) -> Result<(), WalError> {
    for _ in 0..16 {
        life.make_space();
        match life.chance.below(10) {
            0 => {
                let vote = life.voted();
                life.offer(vote);
            }
            1 => life.offer(life.committed()),
            2 => life.offer(life.rewritten(life.chance.below(3), 1, len(life))),
            3 => life.trimmed(1).into_iter().for_each(|trim| life.offer(trim)),
            4 => life.idle()?,
            5 => life.reopen(),
            _ => life.offer(life.appended(1 + life.chance.below(2), len(life))),
        }
        if life.chance.one_in(2) {
            life.settle()?;
        } else {
            life.step()?;
        }
    }
    life.settle()
}

const ENTRY_BYTES_MAX: usize = 4096;
