//! The bounds of clients and of what they may ask.

use std::time::Duration;

use crate::limits::entries::ENTRY_BYTES_MAX;
use crate::limits::entries::ENTRY_CONDITIONS_MAX;
use crate::limits::entries::ENTRY_VALUE_BYTES_MAX;
use crate::limits::entries::ENTRY_WRITES_MAX;
use crate::limits::entries::KEY_BYTES_MAX;
use crate::limits::entries::PAYLOAD_BYTES_MAX;
use crate::limits::entries::VALUE_BYTES_MAX;

// resp: one command

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
/// Longest name that a client gives itself or its library.
pub const CLIENT_NAME_BYTES_MAX: usize = 1024;
/// Bytes of values in the replies of one request: what [`OUTPUT_BYTES_MAX`] leaves beside the lines around the values of the
/// longest MGET. A read that would bring more is answered with an error; without it one MGET could load 1 TiB.
pub const REPLY_BYTES_MAX: usize = 60 << 20;

/// Longest pattern of names (KEYS, SCAN, CONFIG GET, COMMAND LIST): matching takes at most pattern times key steps, with this
/// 64 million for one key.
pub const PATTERN_BYTES_MAX: usize = 1 << 10;
/// Patterns of one CONFIG GET: each is held against every name, on the thread of many clients.
pub const CONFIG_PATTERNS_MAX: usize = 64;
/// Cells of the table of LCS, one for each pair of bytes: 64 MiB and some 30 ms. The sixteenth of it inside a transaction.
pub const LCS_CELLS_MAX: usize = 1 << 24;
/// Rows that one SCAN looks at, deleted ones included: each is opened for its key, which takes about 20 ms for all.
pub const SCAN_ROWS_MAX: u64 = 1 << 14;
/// Bytes of rows that one SCAN opens before it ends: some 10 ms, and as much for the row that exceeds it.
pub const SCAN_BYTES_MAX: usize = 16 << 20;
/// Steps of matching before one SCAN ends: some 20 ms.
pub const SCAN_STEPS_MAX: u64 = 1 << 24;
/// The same for KEYS, which then answers an error: some seconds, of which two run at once.
pub const KEYS_STEPS_MAX: u64 = 1 << 32;

const _: () = assert!(BULK_BYTES_MAX > VALUE_BYTES_MAX);
const _: () = assert!(QUERY_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(REPLY_BYTES_MAX + (ARGUMENTS_MAX * 24) < OUTPUT_BYTES_MAX);

// resp: a group of commands that becomes one entry

/// Bytes read from one client before the commands in them are run: what was ready becomes one entry, up to here.
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
/// Stored values that a group may have opened on the apply thread, by its writes and the reads that ride with them: one of
/// the largest takes milliseconds, and other clients' entries wait behind the group.
pub const GROUP_OPENS_MAX: usize = 256;
/// Bytes of values that the writes of a group may make out of nothing (SETRANGE names an offset, not the bytes before it):
/// apply holds each as a value, as a row and as the store's batch at once. Eight of the largest; one may be alone.
pub const GROUP_MADE_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(GROUP_WRITES_MAX < ENTRY_WRITES_MAX);
const _: () = assert!(GROUP_BYTES_MAX + GROUP_WRITES_MAX * 64 < ENTRY_BYTES_MAX);
const _: () = assert!((GROUP_LOADS_MAX * VALUE_BYTES_MAX + GROUP_BYTES_MAX) as u64 <= ENTRY_VALUE_BYTES_MAX);
const _: () = assert!(GROUP_MADE_BYTES_MAX >= VALUE_BYTES_MAX);

// resp: a transaction, which is one entry whatever it costs

/// Commands between MULTI and EXEC.
pub const TRANSACTION_COMMANDS_MAX: usize = 1 << 16;
/// Bytes of its writes in the entry: what an entry holds. With many watched keys EXEC may still find that it is too much.
pub const TRANSACTION_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;
/// Bytes of these commands while they wait: twice the largest entry, for small commands take more than their bytes.
pub const TRANSACTION_MEMORY_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;
/// Bytes of values that they may make out of nothing, see [`GROUP_MADE_BYTES_MAX`].
pub const TRANSACTION_MADE_BYTES_MAX: usize = GROUP_MADE_BYTES_MAX;
/// Keys that they may read; apply stops them at [`ENTRY_VALUE_BYTES_MAX`] of opened values too.
pub const TRANSACTION_READ_KEYS_MAX: usize = 1 << 16;
/// Reads that take long (DBSIZE, KEYS, LCS, RANDOMKEY, SCAN): each takes up to some 10 ms of the apply thread.
pub const TRANSACTION_LONG_READS_MAX: usize = 16;
/// Rows that each walk among them looks at.
pub const TRANSACTION_SCAN_ROWS_MAX: u64 = 1 << 12;
/// Steps of matching of each walk among them, so that all together take those of one SCAN.
pub const TRANSACTION_SCAN_STEPS_MAX: u64 = SCAN_STEPS_MAX / TRANSACTION_LONG_READS_MAX as u64;
/// Bytes of the keys that one client may watch: 1 KiB for each of [`ENTRY_CONDITIONS_MAX`].
pub const WATCHED_BYTES_MAX: usize = 1 << 20;

const _: () = assert!(TRANSACTION_SCAN_ROWS_MAX <= SCAN_ROWS_MAX);
const _: () = assert!(TRANSACTION_MEMORY_BYTES_MAX > VALUE_BYTES_MAX);
const _: () = assert!(TRANSACTION_BYTES_MAX >= VALUE_BYTES_MAX + KEY_BYTES_MAX);
const _: () = assert!(WATCHED_BYTES_MAX >= ENTRY_CONDITIONS_MAX * 1024);

// resp: connections

/// Connections of clients at once, if the settings give no number (Redis 7).
pub const CLIENTS_MAX: usize = 10_000;
/// Most connections that a setting may ask for: the descriptors that one Linux process may have by default.
pub const CLIENTS_SETTING_MAX: u32 = 1_000_000;
/// Connections that may wait for their AUTH at once, where a password is set: a tenth, the rest is for those that have it.
pub const UNAUTHENTICATED_CLIENTS_MAX: usize = 1_000;
/// Silence after which the kernel asks whether a client is still there, and the time between two such questions (Redis 7:
/// 300 s, and a third of it).
pub const CLIENT_KEEPALIVE: Duration = Duration::from_secs(300);
/// Bytes that all clients together may make a server hold, if it is told no number: requests, replies, and what is fetched for
/// them. Everything above [`CLIENT_HOLD_FREE_BYTES`] a client is taken from here before it is there.
pub const CLIENT_MEMORY_BYTES_MAX: usize = 512 << 20;
/// What one client may hold for as long as it likes, whoever waits for memory: buffers of an ordinary pipeline. It is counted,
/// but never waited for, so 10,000 clients can be 160 MiB above their bound.
pub const CLIENT_HOLD_FREE_BYTES: usize = 16 << 10;
/// What a read of many values may need beside its reply: sealed rows of one batch, and the values of the largest reply. As much is
/// kept back.
pub const CLIENT_READ_BYTES: usize = 2 * REPLY_BYTES_MAX;
/// Least that a setting may ask for: beside what is kept back, one client must be able to ask for the largest reply.
pub const CLIENT_MEMORY_BYTES_MIN: usize = 3 * OUTPUT_BYTES_MAX;
/// Most that a setting may ask for: above it is a typing error.
pub const CLIENT_MEMORY_BYTES_SETTING_MAX: u64 = 1 << 40;
/// Replies of one client that are gathered before they are written.
pub const WRITE_BATCH_BYTES: usize = 256 << 10;
/// Largest reply, and most bytes of replies that one client may have waiting; beyond it is closed.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// A client that has not authenticated by then is closed.
pub const AUTH_DEADLINE: Duration = Duration::from_secs(10);
/// A command that has begun to arrive must be complete by then.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(120);
/// Replies must be taken by then, and a second later for every 64 KiB.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How long a request waits for space in the proposer's queue before its client gets `-TRYAGAIN`.
pub const CLIENT_QUEUE_DEADLINE: Duration = Duration::from_secs(5);
/// A request without an outcome by then has an unknown one: the last resort behind the proposer's own deadlines.
pub const OUTCOME_DEADLINE: Duration = Duration::from_secs(60);
/// A read that is not served by then is to be tried again.
pub const READ_DEADLINE: Duration = Duration::from_secs(10);
/// How long an operator's command may read rows (SEALKV DIGEST, SEALKV ENCRYPTION SCAN): some hundred million of them.
pub const OPERATOR_WALK_DEADLINE: Duration = Duration::from_secs(600);
/// How long connections with commands under way may take to finish when the node stops, if the settings give no number:
/// with a flush it must stay below the 10 s after which containers are killed.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

const _: () = assert!(OUTPUT_BYTES_MAX > VALUE_BYTES_MAX);
const _: () = assert!(CLIENT_MEMORY_BYTES_MIN <= CLIENT_MEMORY_BYTES_MAX);
const _: () = assert!(CLIENT_READ_BYTES + OUTPUT_BYTES_MAX <= CLIENT_MEMORY_BYTES_MIN);
const _: () = assert!(CLIENT_HOLD_FREE_BYTES < READ_BATCH_BYTES_MAX);
const _: () = assert!(UNAUTHENTICATED_CLIENTS_MAX < CLIENTS_MAX);
const _: () = assert!(CLIENTS_MAX <= CLIENTS_SETTING_MAX as usize);
