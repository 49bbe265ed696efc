//! Every bound in the program, each with its reason. Nothing here is a guess that a caller may exceed.

use std::time::Duration;

/// Largest Raft entry, in bytes of entry data (frame, envelope, payload): TiKV's entry limit; a log slot holds four.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;
/// Largest log frame that gathers several entries: beyond 1 MiB the device is saturated (findings/wal.md section 1).
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Sealed writes of one entry, because `op` in a value nonce has 16 bits (design 3.4 N4).
pub const ENTRY_WRITES_MAX: usize = 1 << 16;
/// Longest user key: it is copied into AAD and row keys, and lookups compare whole keys.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value of a client, so that command, frame and envelope fit an entry.
pub const VALUE_BYTES_MAX: usize = ENTRY_BYTES_MAX - KEY_BYTES_MAX - 4096;
/// Entries handed to raft in one `MsgPropose` (findings/raft-and-clients.md 1.4: no gain above 256).
pub const PROPOSE_BATCH_ENTRIES_MAX: usize = 256;
/// Bytes handed to raft in one `MsgPropose`; one entry may exceed it alone.
pub const PROPOSE_BATCH_BYTES_MAX: usize = 4 << 20;
/// Longest run that apply takes in one step of the store: bounds the overlay and the time a reader waits.
pub const RUN_ENTRIES_MAX: usize = 4096;
/// Bytes of one run; one entry may exceed it alone.
pub const RUN_BYTES_MAX: usize = 16 << 20;
/// Client requests waiting to be proposed; full means the connection is not read further.
pub const PROPOSE_QUEUE_MAX: usize = 8192;
/// Bytes of entries above applied that are held in memory before the door closes (design 2).
pub const UNAPPLIED_BYTES_MAX: u64 = 256 << 20;
/// Messages waiting for the raft thread.
pub const RAFT_QUEUE_MAX: usize = 65536;
/// Groups waiting for the log thread.
pub const LOG_QUEUE_MAX: usize = 1024;
/// Committed batches waiting for the apply thread.
pub const APPLY_QUEUE_MAX: usize = 1024;
/// DEKs in a keyring over its whole life (design 3.5).
pub const KEYRING_KEYS_MAX: usize = 4096;
/// Bytes of a file of vectors, unpacked: it is held in memory whole, and the largest known has under 1 MiB.
pub const VECTORS_BYTES_MAX: u64 = 64 << 20;
/// How long a descriptor has to give a KEK and its end: a refused start takes less than 5 s (issue 3, "done when").
pub const KEK_DESCRIPTOR_WAIT: Duration = Duration::from_secs(3);
/// Members of a cluster, learners included: quorums of more are no use, and the applied row stays below 64 KiB.
pub const MEMBERS_MAX: usize = 128;
/// Bytes of a membership change in an entry, checked before the library parses them: its decoder recurses for each nested
/// group (RUSTSEC-2024-0437). A change that this program makes has at most 16.
pub const MEMBERS_CHANGE_BYTES_MAX: usize = 64;
/// Longest address of a member: a DNS name has at most 253 bytes, then colon and port.
pub const ADDRESS_BYTES_MAX: usize = 260;
/// Largest payload of an entry: what is left of [`ENTRY_BYTES_MAX`] beside entry frame (9) and envelope (34), rounded down.
pub const PAYLOAD_BYTES_MAX: usize = ENTRY_BYTES_MAX - 64;
/// Bytes of values that the writes of one entry may load or make: 64 of the largest values. Without it a few kilobytes
/// of `SETRANGE key 8000000 x` or `EXPIRE` of large keys would make every replica hold 512 GiB, at every replay again.
pub const ENTRY_VALUE_BYTES_MAX: u64 = 512 << 20;
/// Questions for old entries waiting for the log thread: raft asks once per lagging follower and waits.
pub const LOG_READS_MAX: usize = 64;
/// Slots of a new log: 8 of 64 MiB, three in use while five wait for a flush (design 7).
pub const LOG_SLOTS: u32 = 8;
/// Slots that a log may grow to: 2 GiB of 64 MiB slots; beyond that the door stays closed.
pub const LOG_SLOTS_MAX: u32 = 32;
/// Slots beyond that bound, for a start that finds none free: each holds one process's first segment until it trims.
pub const LOG_SLOTS_SPARE: u32 = 4;
/// Bytes of a slot of a new log.
pub const LOG_SLOT_BYTES: u64 = 64 << 20;
/// Largest slot: recovery reads it in windows, but offsets in messages and indexes stay small.
pub const LOG_SLOT_BYTES_MAX: u64 = 1 << 30;
/// Peers whose marks one frame of the log may hold: far above any cluster's members.
pub const PEER_MARKS_MAX: usize = 64;

const _: () = assert!(PAYLOAD_BYTES_MAX >= VALUE_BYTES_MAX + KEY_BYTES_MAX + 64);
const _: () = assert!(ENTRY_VALUE_BYTES_MAX >= 2 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(VALUE_BYTES_MAX + KEY_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= ENTRY_BYTES_MAX);
/// Applied entries that stay in memory for followers that lag a little; none where nobody listens.
pub const LOG_CACHE_BYTES_MAX: u64 = 32 << 20;
/// Inputs that the raft thread takes in one step, so that its ticks and answers are never far apart.
pub const RAFT_STEP_INPUTS_MAX: usize = 4096;
/// Client batches stepped in one step of the raft loop: then messages and persisted groups are looked at again.
pub const RAFT_STEP_BATCHES_MAX: usize = 32;
/// Groups handed to the log and not yet durable before the door closes: half of the log's queue, the rest is for votes
/// and trims, so that the raft thread never waits for a place in that queue.
pub const LOG_GROUPS_UNPERSISTED_MAX: usize = LOG_QUEUE_MAX / 2;
/// Client reads that share one ReadIndex, or wait for the next.
pub const READS_WAITING_MAX: usize = 65536;
/// ReadIndex batches under way at once; more reads wait and share the next.
pub const READ_BATCHES_MAX: usize = 64;
/// Messages waiting for one peer in memory; full drops and counts, raft sends again.
pub const PEER_QUEUE_MAX: usize = 4096;
/// Plaintext held by one run before it is cut between two entries; one entry may exceed it alone.
pub const OVERLAY_BYTES_MAX: u64 = 64 << 20;
/// Bytes of requests waiting to be proposed: sixteen of the largest batches; one request may exceed it alone.
pub const PROPOSE_QUEUE_BYTES_MAX: usize = 64 << 20;

/// Arguments of one client command: an MSET of as many pairs as an entry may hold, and its name.
pub const ARGUMENTS_MAX: usize = 2 * ENTRY_WRITES_MAX + 1;
/// Longest bulk string that is received at all: twice an entry, so that a value that is only somewhat too long gets an
/// error that names the limit instead of a closed connection.
pub const BULK_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;
/// Bytes of one client command while it is received.
pub const QUERY_BYTES_MAX: usize = 2 * BULK_BYTES_MAX;
/// Longest line: an inline command, or a length (Redis 7, PROTO_INLINE_MAX_SIZE).
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Arguments of a command before AUTH (Redis 7): HELLO with all its options fits.
pub const UNAUTHENTICATED_ARGUMENTS_MAX: usize = 10;
/// Longest bulk string before AUTH (Redis 7).
pub const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 << 10;
/// Bytes read from one client before what they hold is run: what was ready becomes one entry, up to here.
pub const READ_BATCH_BYTES_MAX: usize = 256 << 10;
/// Commands of one client that are taken up together.
pub const READ_BATCH_COMMANDS_MAX: usize = 4096;
/// Bytes of a group of commands of one client that become one entry; a larger command is a group alone.
pub const GROUP_BYTES_MAX: usize = 1 << 20;
/// Writes of such a group: far below what an entry may hold, so that one client's pipeline does not hold up apply.
pub const GROUP_WRITES_MAX: usize = 4096;
/// Writes of such a group that load the value they change: all may be of the largest values.
pub const GROUP_LOADS_MAX: usize = 64;
/// Keys of the reads that ride with a group: their answers are made on the apply thread and held together.
pub const GROUP_READ_KEYS_MAX: usize = 1024;
/// Replies of one client that are gathered before they are written.
pub const WRITE_BATCH_BYTES: usize = 256 << 10;
/// Largest reply, and most bytes of replies that one client may have waiting; beyond it is closed.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// Connections of clients at once (Redis 7).
pub const CLIENTS_MAX: usize = 10_000;
/// Connections that may wait for their AUTH at once, where a password is set: a tenth, the rest is for those that have it.
pub const UNAUTHENTICATED_CLIENTS_MAX: usize = 1_000;
/// Bytes that all clients together may hold in buffers.
pub const CLIENT_MEMORY_BYTES_MAX: usize = 512 << 20;
/// Longest name that a client gives itself or its library.
pub const CLIENT_NAME_BYTES_MAX: usize = 1024;

const _: () = assert!(BULK_BYTES_MAX > VALUE_BYTES_MAX);
const _: () = assert!(OUTPUT_BYTES_MAX > VALUE_BYTES_MAX);
const _: () = assert!(QUERY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(GROUP_WRITES_MAX < ENTRY_WRITES_MAX);
const _: () = assert!(GROUP_BYTES_MAX + GROUP_WRITES_MAX * 64 < ENTRY_BYTES_MAX);
const _: () = assert!(LOG_SLOT_BYTES >= 4 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(LOG_SLOT_BYTES <= LOG_SLOT_BYTES_MAX);
const _: () = assert!(LOG_SLOTS <= LOG_SLOTS_MAX);
const _: () = assert!((GROUP_LOADS_MAX * VALUE_BYTES_MAX + GROUP_BYTES_MAX) as u64 <= ENTRY_VALUE_BYTES_MAX);
/// Bytes of values in the replies of one request: what [`OUTPUT_BYTES_MAX`] leaves beside the lines around the values of the
/// longest MGET. A read that would bring more is answered with an error; without it one MGET could load 1 TiB.
pub const REPLY_BYTES_MAX: usize = 60 << 20;
/// Keys whose rows are fetched from the store at once: with the largest values no more than a reply holds.
pub const FETCH_KEYS_MAX: usize = 7;

const _: () = assert!(REPLY_BYTES_MAX + (ARGUMENTS_MAX * 24) < OUTPUT_BYTES_MAX);
const _: () = assert!(FETCH_KEYS_MAX * VALUE_BYTES_MAX <= REPLY_BYTES_MAX);
/// Requests of operators (cutover, rotation) that wait for the leader's gate: they hold clients back, so few.
pub const CONTROL_QUEUE_MAX: usize = 16;
/// Outcomes of control entries that are remembered for whoever proposed them: one is under way at a time.
pub const CONTROL_OUTCOMES_MAX: usize = 64;
/// Stored values that a group may have opened on the apply thread, by its writes and the reads that ride with them: one of
/// the largest takes milliseconds, and other clients' entries wait behind the group.
pub const GROUP_OPENS_MAX: usize = 256;
/// Bytes of values that the writes of a group may make out of nothing (SETRANGE names an offset, not the bytes before it):
/// apply holds each as a value, as a row and as the store's batch at once. Eight of the largest; one may be alone.
pub const GROUP_MADE_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(GROUP_MADE_BYTES_MAX >= VALUE_BYTES_MAX);
