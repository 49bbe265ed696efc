//! Every bound of the program with its reason, room by room; below each room, how its bounds relate.
//!
//! A caller may rely on them: what is longer is refused, what takes longer is given up.

use std::time::Duration;

mod apply;
mod clients;
mod entries;
mod memory;
mod peers;
mod snapshots;
mod tls;

pub use apply::*;
pub use clients::*;
pub use entries::*;
pub use memory::*;
pub use peers::*;
pub use snapshots::*;
pub use tls::*;

// Members.

/// Members of a cluster, learners included: quorums of more are no use, and the applied row stays below 64 KiB.
pub const MEMBERS_MAX: usize = 128;
/// Bytes of a membership change in an entry, checked before the library parses them: its decoder recurses for each nested
/// group (RUSTSEC-2024-0437). A change that this program makes has an address and less than 64 bytes more.
pub const MEMBERS_CHANGE_BYTES_MAX: usize = ADDRESS_BYTES_MAX + 64;
/// Longest address of a member: a DNS name has at most 253 bytes, then colon and port.
pub const ADDRESS_BYTES_MAX: usize = 260;
/// Entries that a learner may lack when it becomes a voter: what the leader sends in a moment.
pub const PROMOTE_LAG_MAX: u64 = 4096;

const _: () = assert!(MEMBERS_MAX * (ADDRESS_BYTES_MAX + 64) < 64 << 10);

// crypto

/// Bytes of a file of vectors, unpacked: it is held in memory whole, and the largest known has under 1 MiB.
pub const VECTORS_BYTES_MAX: u64 = 64 << 20;

// disk

/// How long the trial write of io_uring may take: a healthy device answers in a millisecond, and io_uring does not help one
/// that needs longer than this.
pub const ENGINE_TRIAL_DEADLINE: Duration = Duration::from_secs(5);

// wal

/// Largest log frame that gathers several entries: measured, beyond 1 MiB the device is saturated.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Groups waiting for the log thread.
pub const LOG_QUEUE_MAX: usize = 1024;
/// Requests for old entries waiting for the log thread: raft asks once per lagging follower and waits.
pub const LOG_READS_MAX: usize = 64;
/// Bytes of entries that one request for old ones gets at most, but for one larger entry: reading them holds up appends.
pub const LOG_READ_BYTES_MAX: usize = 1 << 20;
/// Slots of a new log, if the settings give no number. A flush is due when a quarter of them is above the last one: with 8 every
/// 430 thousand SETs of 256 bytes, with 16 half as often, which is worth 8 % of the SETs where the same keys are overwritten
/// (measured; 32 are worth 2 % more).
pub const LOG_SLOTS: u32 = 16;
/// Fewest slots that a setting may ask for: the newest segment, one to roll into, one for trims while the log is full,
/// and one that waits for a flush.
pub const LOG_SLOTS_SETTING_MIN: u32 = 4;
/// Most slots that a setting may ask for: 64 GiB of [`LOG_SLOT_BYTES`].
pub const LOG_SLOTS_SETTING_MAX: u32 = 1024;
/// Slots that a log grows to without being asked: 2 GiB of [`LOG_SLOT_BYTES`]. A log that was made with more keeps them.
pub const LOG_SLOTS_GROWN_MAX: u32 = 32;
/// Slots beyond that bound, for a start that finds none free: each holds one process's first segment until it trims.
pub const LOG_SLOTS_SPARE: u32 = 4;
/// Bytes of a slot of a new log, if the settings give no number.
pub const LOG_SLOT_BYTES: u64 = 64 << 20;
/// Smallest slot that a setting may ask for: four of the largest entries, and the headers.
pub const LOG_SLOT_BYTES_SETTING_MIN: u64 = 33 << 20;
/// Largest slot: recovery reads it in windows, but offsets in messages and indexes stay small.
pub const LOG_SLOT_BYTES_MAX: u64 = 1 << 30;
/// Largest slot size that the settings take at all: above [`LOG_SLOT_BYTES_MAX`] a first start is refused, and a node that
/// has its log does not look at the setting.
pub const LOG_SLOT_BYTES_SETTING_MAX: u64 = 4 << 30;
/// Frames of the log in flight, if the settings give no number: one is written while the one before is synced.
pub const LOG_FRAMES_IN_FLIGHT: usize = 2;
/// Most frames in flight: measured, more only queue. Their buffers stay below the 8 MiB that a plain user may pin.
pub const LOG_FRAMES_IN_FLIGHT_MAX: usize = 4;
/// Largest term, index, frame and segment number that is read from a disk: half of what the type holds. No log comes near
/// it, and what follows such a number by counting cannot overflow.
pub const LOG_NUMBER_MAX: u64 = u64::MAX / 2;
/// Peers whose marks one frame of the log may hold: far above any cluster's members.
pub const PEER_MARKS_MAX: usize = 64;
/// Idle time after which the log writes a frame that only makes the newest commit durable.
pub const LOG_IDLE: Duration = Duration::from_millis(5);
/// A sync that takes longer is logged.
pub const SLOW_SYNC: Duration = Duration::from_millis(100);
/// A request to the device that takes longer ends the node.
pub const HUNG_SYNC: Duration = Duration::from_secs(10);

const _: () = assert!(FRAME_BYTES_MAX <= ENTRY_BYTES_MAX);
const _: () = assert!(LOG_FRAMES_IN_FLIGHT <= LOG_FRAMES_IN_FLIGHT_MAX);
const _: () = assert!(LOG_FRAMES_IN_FLIGHT_MAX * FRAME_BYTES_MAX < 8 << 20);
const _: () = assert!(LOG_SLOT_BYTES_SETTING_MIN > 4 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(LOG_SLOT_BYTES >= LOG_SLOT_BYTES_SETTING_MIN);
const _: () = assert!(LOG_SLOT_BYTES <= LOG_SLOT_BYTES_MAX);
const _: () = assert!(LOG_SLOT_BYTES_MAX <= LOG_SLOT_BYTES_SETTING_MAX);
const _: () = assert!(LOG_SLOTS >= LOG_SLOTS_SETTING_MIN);
const _: () = assert!(LOG_SLOTS <= LOG_SLOTS_GROWN_MAX);
const _: () = assert!(LOG_SLOTS_GROWN_MAX <= LOG_SLOTS_SETTING_MAX);
const _: () = assert!(is_shorter(LOG_IDLE, SLOW_SYNC));
const _: () = assert!(is_shorter(SLOW_SYNC, HUNG_SYNC));
const _: () = assert!(is_shorter(ENGINE_TRIAL_DEADLINE, HUNG_SYNC));

// keys

/// DEKs in a keyring over its whole life: each takes 90 bytes of its record, which is read whole.
pub const KEYRING_KEYS_MAX: usize = 4096;
/// Of these, keys that an operator's rotations leave for the renewals that the node makes by itself.
pub const KEYRING_KEYS_KEPT_BACK: usize = 256;
/// Age at which an operator may rotate the active key: in a loop, rotations would use up a keyring in seconds.
pub const ROTATION_AGE_MIN: Duration = Duration::from_secs(60);
/// How long a descriptor has to give a KEK and its end: a refused start takes less than [`REFUSED_START_DEADLINE`].
pub const KEK_DESCRIPTOR_WAIT: Duration = Duration::from_secs(3);
/// How long a start may take that is refused for its settings or keys: an operator waits for it.
pub const REFUSED_START_DEADLINE: Duration = Duration::from_secs(5);

const _: () = assert!(KEYRING_KEYS_KEPT_BACK < KEYRING_KEYS_MAX);
const _: () = assert!(is_shorter(KEK_DESCRIPTOR_WAIT, REFUSED_START_DEADLINE));

// fsm

/// Lines of answers that came from other nodes and are kept: those of this program are fewer than two hundred.
pub const WORDS_MAX: usize = 1024;
/// Keys whose rows are fetched from the store at once: with the largest values no more than a reply holds.
pub const FETCH_KEYS_MAX: usize = 7;
/// Rows that are fetched at once if those before were small: RocksDB's own batch. With the largest rows it is 256 MiB once.
pub const FETCH_BATCH_ROWS_MAX: usize = 32;
/// RocksDB's cache of blocks, for who opens a state without a plan for its memory.
pub const BLOCK_CACHE_BYTES: usize = 256 << 20;
/// Smallest and largest cache that a setting may ask for: below 1 MiB not even the index blocks of one table fit, above
/// 16 TiB it is a typing error.
pub const BLOCK_CACHE_BYTES_MIN: usize = 1 << 20;
/// See [`BLOCK_CACHE_BYTES_MIN`].
pub const BLOCK_CACHE_BYTES_MAX: usize = 1 << 44;

/// Ingested files from which on RocksDB merges them.
pub const LEVEL0_FILES_MERGED: u64 = 8;
/// Ingested files that are not merged yet, from which on no flush begins: each costs every miss and every walk a look, and
/// RocksDB itself does not hold an ingest back.
pub const LEVEL0_FILES_MAX: u64 = 2 * LEVEL0_FILES_MERGED;
/// Bytes that compaction may be behind before no flush begins: RocksDB's own bound for slowing writers down.
pub const PENDING_COMPACTION_BYTES_MAX: u64 = 64 << 30;

const _: () = assert!(FETCH_KEYS_MAX * VALUE_BYTES_MAX <= REPLY_BYTES_MAX);
const _: () = assert!(FETCH_KEYS_MAX <= FETCH_BATCH_ROWS_MAX);
const _: () = assert!(FETCH_BATCH_ROWS_MAX * VALUE_BYTES_MAX <= 256 << 20);
const _: () = assert!(BLOCK_CACHE_BYTES_MIN <= BLOCK_CACHE_BYTES);
const _: () = assert!(BLOCK_CACHE_BYTES <= BLOCK_CACHE_BYTES_MAX);

/// Rows that a count of a database looks at: about a tenth of a second. With more rows than these it is an estimate, whose error is
/// about 0.4 % (one in the square root of them).
pub const COUNT_ROWS_MAX: u64 = 65_536;

// raft

/// Messages waiting for the raft thread.
pub const RAFT_QUEUE_MAX: usize = 65536;
/// Inputs that the raft thread takes in one step, so that its ticks and answers are never far apart.
pub const RAFT_STEP_INPUTS_MAX: usize = 4096;
/// Client batches stepped in one step of the raft loop: then messages and persisted groups are looked at again.
pub const RAFT_STEP_BATCHES_MAX: usize = 32;
/// Most bytes of entries above applied that are held in memory before raft takes no more proposals.
pub const UNAPPLIED_BYTES_MAX: u64 = 256 << 20;
/// Groups handed to the log and not yet durable before raft takes no more proposals: half of the log's queue, the rest is
/// for votes and trims, so that the raft thread never waits for a place in that queue.
pub const LOG_GROUPS_UNPERSISTED_MAX: usize = LOG_QUEUE_MAX / 2;
/// Most bytes of applied entries that stay in memory for followers that lag a little; none in a cluster of one.
pub const LOG_CACHE_BYTES_MAX: u64 = 32 << 20;
/// ReadIndex batches under way at once; more reads wait and share the next.
pub const READ_BATCHES_MAX: usize = 64;
/// Messages waiting for one peer in memory; full drops and counts, raft sends again.
pub const PEER_QUEUE_MAX: usize = 4096;
/// Time between two ticks of raft: etcd's heartbeat.
pub const RAFT_TICK: Duration = Duration::from_millis(100);
/// Ticks without a leader before a node asks for votes; up to twice as many, at random: 1 to 2 s, as etcd and TiKV.
pub const ELECTION_TICKS: u32 = 10;
/// A ReadIndex that no quorum has confirmed by then is given up.
pub const READ_INDEX_DEADLINE: Duration = Duration::from_secs(5);

/// A voter that has heard a leader, or begins, votes for nobody else for that long; a leader's lease is shorter. Half of an election
/// timeout: a node that campaigns has heard nobody for longer, so no election waits for it.
pub const LEASE: Duration = RAFT_TICK.saturating_mul(ELECTION_TICKS / 2);
/// Rounds of a lease that may be without an answer: one each tick, until they are too old to be of use.
pub const LEASE_ROUNDS_MAX: usize = ELECTION_TICKS as usize;

const _: () = assert!(UNAPPLIED_BYTES_MAX >= 2 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(ELECTION_TICKS > 1);
// Two ticks may come at once, and the first right behind what a node has heard.
const _: () =
    assert!(is_shorter(LEASE, RAFT_TICK.saturating_mul(ELECTION_TICKS - 2)), "no node campaigns within a lease");
const _: () = assert!(is_shorter(ELECTION_MAX, READ_INDEX_DEADLINE));

// propose

/// Client requests waiting to be proposed; full means the connection is not read further.
pub const PROPOSE_QUEUE_MAX: usize = 8192;
/// Bytes of requests waiting to be proposed: sixteen of the largest batches; one request may exceed it alone.
pub const PROPOSE_QUEUE_BYTES_MAX: usize = 64 << 20;
/// Entries handed to raft in one `MsgPropose`: measured, no gain above 256.
pub const PROPOSE_BATCH_ENTRIES_MAX: usize = 256;
/// Bytes handed to raft in one `MsgPropose`; one entry may exceed it alone.
pub const PROPOSE_BATCH_BYTES_MAX: usize = 4 << 20;
/// Client reads that share one ReadIndex, or wait for the next.
pub const READS_WAITING_MAX: usize = 65536;
/// Requests of operators (cutover, rotation) that wait for their turn: they hold clients back, so few.
pub const CONTROL_QUEUE_MAX: usize = 16;
/// Outcomes of control entries that are remembered for the proposer: one is under way at a time.
pub const CONTROL_OUTCOMES_MAX: usize = 64;
/// How long a request waits in the queue before its client gets `-TRYAGAIN`.
pub const PROPOSE_QUEUE_DEADLINE: Duration = Duration::from_secs(5);
/// A proposed request that is not applied by then has an unknown outcome.
pub const PROPOSE_ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Bundles of requests that are under way to the leader at once: each holds up to [`PROPOSE_BATCH_ENTRIES_MAX`] requests.
pub const FORWARDS_MAX: usize = 256;
/// Bytes of values that the riding reads of a forwarded request may answer with: there is space beside them for what
/// its writes answer.
pub const FORWARD_REPLY_BYTES_MAX: usize = REPLY_BYTES_MAX / 2;
/// Before requests are forwarded again after the leader could not be reached, or led no more.
pub const FORWARD_PAUSE: Duration = Duration::from_millis(50);

/// How often the wall clock is looked at: at least once in a tick.
pub const CLOCK_LOOK_EVERY: Duration = Duration::from_millis(50);
/// A wall clock that is ahead of the clock of the stamps by no more than this is followed at once: a correction by NTP is
/// smaller, a wrong date is larger.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(10);
/// A wall clock that is further ahead is followed once it has stayed so for this long: stamps cannot go back.
pub const CLOCK_JUMP_FOLLOWED_AFTER: Duration = Duration::from_secs(60);
/// The lead over the wall clock that counts as one: below it, absolute times are exact enough as they are.
pub const CLOCK_LEAD_MIN: Duration = Duration::from_secs(1);

/// Rows whose headers one step of the walk for expired keys looks at: about a millisecond.
pub const EXPIRY_STEP_ROWS: usize = 4096;
/// Bytes of rows from which a step looks at no more: RocksDB reads a row whole, and checks it, for its first bytes. Eight values of
/// 8 MB, which nobody touched, took a third of a core (2026-11-29). Of common rows it takes as many as by their number.
pub const EXPIRY_STEP_BYTES: usize = 4 << 20;
/// Names of expired keys in one entry: each replica opens their rows, which takes about 4 ms. One such entry is under way at a
/// time, and takes less than 20 KiB of the log.
pub const EXPIRY_NAMES_MAX: usize = 1024;
/// Bytes of expired rows from which no more go into that entry: of the largest rows it has two at most, of medium ones so
/// many that opening them takes some 10 ms, which other clients' entries wait.
pub const EXPIRY_BYTES: usize = 8 << 20;
/// Between two steps of that walk: 40,000 rows a second, a few percent of a core.
pub const EXPIRY_PAUSE: Duration = Duration::from_millis(100);
/// The same where no row has a deadline, and between two walks: with few rows a walk is mostly looking at empty databases.
pub const EXPIRY_PAUSE_IDLE: Duration = Duration::from_secs(1);
/// What a step may take for these pauses to be right: behind one that took longer the pause is as many times longer.
pub const EXPIRY_STEP_TIME: Duration = Duration::from_millis(10);
/// Before the walk begins again after a row could not be read.
pub const EXPIRY_PAUSE_DAMAGED: Duration = Duration::from_secs(60);

const _: () = assert!(EXPIRY_NAMES_MAX <= EXPIRY_STEP_ROWS && EXPIRY_NAMES_MAX <= ENTRY_WRITES_MAX);
const _: () = assert!(is_shorter(EXPIRY_PAUSE, EXPIRY_PAUSE_IDLE));
const _: () = assert!(is_shorter(CLOCK_LOOK_EVERY, CLOCK_LEAD_MIN));
const _: () = assert!(PROPOSE_QUEUE_BYTES_MAX >= 16 * PROPOSE_BATCH_BYTES_MAX);
const _: () = assert!(is_shorter(PROPOSE_QUEUE_DEADLINE, PROPOSE_ANSWER_DEADLINE));
// A request outlives two elections in the queue.
const _: () = assert!(is_shorter(ELECTION_MAX.saturating_mul(2), PROPOSE_QUEUE_DEADLINE));

// resp: its deadlines outlast those of the rooms below it.

const _: () = assert!(is_shorter(PROPOSE_ANSWER_DEADLINE, OUTCOME_DEADLINE));
const _: () = assert!(is_shorter(CUTOVER_DEADLINE, OUTCOME_DEADLINE));
const _: () = assert!(is_shorter(READ_INDEX_DEADLINE, READ_DEADLINE));

// node

/// Flushes that the log's retention remembers, at least: the steps in which it drops what it kept for members that lag.
pub const RETENTION_MARKS_MAX: usize = 32;
/// How long a node that ends waits until another one leads: raft gives a hand-over up after an election timeout.
pub const HAND_OVER_DEADLINE: Duration = RAFT_TICK.saturating_mul(ELECTION_TICKS);
/// Before a leader that cannot write its state tries again to hand over.
pub const HAND_OVER_PAUSE: Duration = Duration::from_secs(10);
/// Nodes that a book tells of: their lines fit the hello.
pub const BOOK_NODES_MAX: usize = MEMBERS_MAX;
/// Nodes that were taken out of the cluster, as a node remembers them: the newest ones. Their certificates end some day.
pub const TAKEN_OUT_MAX: usize = 1024;
/// How often it is written what the others have acknowledged.
pub const BOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a change of the members may take: an election, and what is applied after it.
pub const MEMBER_CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// Threads that open large runs: beyond 8 the apply thread is the bound, whatever the cores; a setting may ask for more.
pub const OPEN_THREADS_MAX: usize = 8;
/// Most such threads that a setting may ask for.
pub const OPEN_THREADS_SETTING_MAX: usize = 256;
/// Highest number of a descriptor that the KEK may come from: Linux' own bound of a process by default.
pub const DESCRIPTOR_MAX: u64 = 1 << 20;
/// Names of a directory that a start looks at: a data directory has eight, one that has more and no IDENTITY is foreign.
pub const DIRECTORY_NAMES_MAX: usize = 1024;
/// Bytes of a password file: one line.
pub const PASSWORD_FILE_BYTES_MAX: usize = 512;
/// Connections that the kernel keeps until they are accepted; it takes less where its own bound is lower.
pub const BACKLOG: u32 = 1024;
/// Connections to the admin listener at once: scrapers and probes are few, and a newcomer displaces who asks nothing.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long such a connection may take to send a request, or to take a part of the answer.
pub const ADMIN_DEADLINE: Duration = Duration::from_secs(10);
/// How long the answer to a request may take to begin: the longest profile, and some more.
pub const ADMIN_ANSWER_DEADLINE: Duration = Duration::from_secs(75);
/// Descriptors of the node beside its clients': tables of the state that are held open (512), slots of the log, connections
/// to the admin listener, threads' and listeners' own, rounded up.
pub const OWN_DESCRIPTORS: u64 = 704;
/// Tables of the state that are held open so that their space goes back slowly, where the limit of descriptors leaves so many: the
/// newest 64 GiB. Of a larger state that is what merges of new files replace, by far the most at once.
pub const DROPPED_FILES_HELD_MAX: usize = 1024;
/// By how much a file that merging has replaced is made shorter at once: the disk is busy for about 1 ms.
pub const DROPPED_PIECE_BYTES: u64 = 4 << 20;
/// Within which time what merging has replaced goes back to the disk: about as long as it takes to write as much anew.
pub const DROPPED_FILES_GO_WITHIN: Duration = Duration::from_secs(10);
/// Free space that this takes: with less, merging needs at once what it has replaced.
pub const HELD_FILES_NEED_FREE_BYTES: u64 = 4 << 30;
/// Bytes that a start writes into `state/` and removes before the store is opened for writing: what opening writes, rounded up.
pub const TRIAL_BYTES: usize = 256 << 10;
/// Threads of a node beside those that open entries: log, raft, apply, flush, growth, log lines, watch, probe and give-back, up to 8
/// for the network, 3 of RocksDB, and some that come and go.
pub const THREADS_OWN: usize = 24;
/// Largest stack that is tried for a thread; without a limit RocksDB's threads get less.
pub const THREAD_STACK_BYTES_MAX: u64 = 8 << 20;
/// How often the node looks whether it still moves.
pub const WATCH_EVERY: Duration = Duration::from_millis(500);
/// How often it asks the disk of the state, as long as clients ask something of it.
pub const PROBE_EVERY: Duration = Duration::from_secs(2);
/// A part that has not moved for this long makes the node not ready.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);
/// Free space below which a disk is called nearly full: what a start and a few flushes of 64 MiB take.
pub const DISK_FREE_BYTES_LOW: u64 = 512 << 20;
/// Free space that a slot by which the log grows must leave. What makes slots free is a flush of the state, which needs space itself.
pub const LOG_GROWTH_LEAVES_BYTES: u64 = DISK_FREE_BYTES_LOW;
/// Free space below which the node is not ready: a flush has no space.
pub const DISK_FREE_BYTES_NONE: u64 = 4 << 20;
/// How often a disk that is nearly full is said again.
pub const DISK_LOW_EVERY: Duration = Duration::from_secs(60);
/// Log lines that wait to be written: a burst that a slow disk takes in a second. With the longest lines and [`AUDIT_LINES_MAX`] they hold 24 MiB.
pub const LOG_LINES_MAX: usize = 2048;
/// Log lines of operators and of guesses at passwords that wait beside them: no flood of other lines takes their places.
pub const AUDIT_LINES_MAX: usize = 1024;
/// Bytes of a filter of log lines that a client sets: a level for each of some forty rooms.
pub const LOG_FILTER_BYTES_MAX: usize = 1024;
/// Longest log line: ours hold no client's bytes, and RocksDB's are cut far below.
pub const LOG_LINE_BYTES_MAX: usize = 8 << 10;
/// How long an end waits for the last log lines to be written.
pub const LOG_LINES_DEADLINE: Duration = Duration::from_millis(500);
/// How long any other thread may take to end at a stop: it waits for nothing, so one that takes longer hangs on the disk.
pub const THREAD_END_DEADLINE: Duration = Duration::from_secs(10);
/// Reasons to end that are kept until the main thread looks: log, raft, apply, flush and two signals at once.
pub const ENDS_MAX: usize = 8;

const _: () = assert!(OPEN_THREADS_MAX <= OPEN_THREADS_SETTING_MAX);
const _: () =
    assert!(OWN_DESCRIPTORS > 512 + (LOG_SLOTS_GROWN_MAX + LOG_SLOTS_SPARE) as u64 + ADMIN_CONNECTIONS_MAX as u64);

/// The longest time without a leader after which a node asks for votes.
const ELECTION_MAX: Duration = RAFT_TICK.saturating_mul(2 * ELECTION_TICKS);

/// [`Duration`]s cannot be compared in a constant.
const fn is_shorter(one: Duration, other: Duration) -> bool {
    one.as_nanos() < other.as_nanos()
}
