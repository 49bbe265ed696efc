//! From what recovery found to a state machine of the library: every check that it would answer with a panic.

use ::raft::RaftState;
use ::raft::RawNode;
use ::raft::eraftpb::Entry;

use crate::ids::Index;
use crate::ids::Term;
use crate::limits::FRAME_BYTES_MAX;
use crate::raft::config::RaftConfig;
use crate::raft::config::StartingPoint;
use crate::raft::convert::to_raft_entry;
use crate::raft::fatal::RaftFatal;
use crate::raft::log::Log;
use crate::raft::logger;
use crate::raft::members_change::to_conf_state;
use crate::wal::HardState;

/// Entries handed to apply in one Ready, in bytes: TiKV's 16 MiB is for many cores.
const COMMITTED_BYTES_PER_READY: u64 = 4 << 20;
/// Appends on their way to one follower: as in etcd and TiKV.
const INFLIGHT_MESSAGES: usize = 256;

/// A state machine and the hard state it began with.
pub(super) struct Started {
    pub(super) node: RawNode<Log>,
    pub(super) hard_state: HardState,
}

/// Checks and builds.
pub(super) fn start(config: &RaftConfig, recovered: &StartingPoint) -> Result<Started, RaftFatal> {
    check(recovered)?;
    let last = recovered.entries.last().map_or(recovered.compacted, |entry| entry.position());
    let hard_state = raise(recovered, last.term, last.index);
    let entries: Vec<Entry> = recovered.entries.iter().map(to_raft_entry).collect();
    let mut hs = ::raft::eraftpb::HardState::default();
    (hs.term, hs.vote, hs.commit) = (hard_state.term.0, hard_state.vote, hard_state.commit.0);
    let initial = RaftState::new(hs, to_conf_state(&recovered.members));
    let trimmed = (recovered.compacted.index.0, recovered.compacted.term.0);
    let terms = std::iter::once(trimmed).chain(recovered.older_terms.iter().map(|(first, term)| (first.0, term.0)));
    let applied = recovered.applied.index.0;
    // The library takes everything above `first_index - 1` as not applied until it has read `applied`.
    let store = Log::new(initial, terms, entries, applied);
    let node = RawNode::new(&library_config(config, applied), store, &logger::forward());
    let mut node = node.map_err(|error| RaftFatal::Library(error.to_string()))?;
    node.mut_store().set_can_fetch(config.can_fetch);
    Ok(Started { node, hard_state })
}

fn check(recovered: &StartingPoint) -> Result<(), RaftFatal> {
    let compacted = recovered.compacted.index;
    let mut expected = compacted;
    for (first, _) in recovered.older_terms.iter().take(1) {
        if *first != expected.next() {
            return Err(RaftFatal::Gap { expected: expected.next(), found: *first });
        }
        // Their runs have no gaps: what follows on them is in memory.
        expected = recovered.entries.first().map_or(expected, |entry| Index(entry.index.0 - 1));
    }
    let in_memory = expected;
    for entry in &recovered.entries {
        expected = expected.next();
        if entry.index != expected {
            return Err(RaftFatal::Gap { expected, found: entry.index });
        }
    }
    let applied = recovered.applied.index;
    if compacted <= applied && in_memory <= applied && applied <= expected {
        Ok(())
    } else {
        Err(RaftFatal::Unfit { compacted: in_memory, applied, last: expected })
    }
}

/// The logged commit may be older than the trim or the state, which only committed entries reach, and newer than a torn end.
/// A term is never below the last entry's: then nothing was voted in it either.
fn raise(recovered: &StartingPoint, last_term: Term, last: Index) -> HardState {
    let logged = recovered.hard_state;
    let commit = logged.commit.max(recovered.compacted.index).max(recovered.applied.index).min(last);
    assert!(recovered.applied.index <= commit, "the library panics at an applied index above commit");
    if logged.term < last_term {
        return HardState { term: last_term, vote: 0, commit };
    }
    HardState { commit, ..logged }
}

fn library_config(config: &RaftConfig, applied: u64) -> ::raft::Config {
    ::raft::Config {
        id: config.node_id.value(),
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        applied,
        max_size_per_msg: FRAME_BYTES_MAX as u64,
        max_inflight_msgs: INFLIGHT_MESSAGES,
        check_quorum: true,
        pre_vote: true,
        batch_append: true,
        max_committed_size_per_ready: COMMITTED_BYTES_PER_READY,
        // The door bounds uncommitted bytes before anything is sealed; the library would drop entries afterwards.
        max_uncommitted_size: ::raft::NO_LIMIT,
        ..::raft::Config::default()
    }
}
