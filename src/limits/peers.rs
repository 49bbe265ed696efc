//! The bounds between the members of a cluster: what one may make another allocate, wait for or keep.

use std::time::Duration;

use crate::limits::FRAME_BYTES_MAX;
use crate::limits::PEER_QUEUE_MAX;
use crate::limits::clients::REPLY_BYTES_MAX;
use crate::limits::entries::ENTRY_BYTES_MAX;

/// Body of a frame with a message or a request: the entries of one append, or one larger entry, with their heads.
pub const PEER_FRAME_BYTES_MAX: usize = ENTRY_BYTES_MAX + 8 * FRAME_BYTES_MAX;
/// Body of a frame before the peer has said who it is: a hello.
pub const PEER_HELLO_BYTES_MAX: usize = 16 << 10;
/// What a node adds to its hello, such as the ids of its KEKs.
pub const PEER_FACTS_BYTES_MAX: usize = 8 << 10;
/// Words with which a peer is refused.
pub const PEER_WORDS_BYTES_MAX: usize = 512;
/// Entries of one append: raft gathers [`FRAME_BYTES_MAX`], and entries of commands have more than 8 bytes each.
pub const PEER_MESSAGE_ENTRIES_MAX: usize = FRAME_BYTES_MAX / 8;
/// Context of a message: raft's own are 24 bytes long.
pub const PEER_CONTEXT_BYTES_MAX: usize = 256;
/// Request that a node has another one answer: one entry's commands.
pub const PEER_REQUEST_BYTES_MAX: usize = ENTRY_BYTES_MAX + FRAME_BYTES_MAX;
/// Answer to such a request: the replies to one entry's commands.
pub const PEER_ANSWER_BYTES_MAX: usize = REPLY_BYTES_MAX + FRAME_BYTES_MAX;
/// Most that waits for one connection to a peer, however much memory there is; full drops and counts, raft sends again.
pub const PEER_QUEUE_BYTES_MAX: usize = 80 << 20;
/// Least that may wait: the largest entry in its frame. One that is longer, a large answer, passes an empty queue.
pub const PEER_QUEUE_BYTES_MIN: usize = PEER_FRAME_BYTES_MAX;
/// Part of the memory for entries that may wait for one connection: messages share their entries with the log, most of the time.
pub const PEER_QUEUE_PART: u64 = 4;
/// Requests to one peer that wait for their answers.
pub const PEER_CALLS_MAX: usize = 8192;
/// Requests of one peer that are under way here: more than these are refused unheard.
pub const PEER_CALLS_RUNNING_MAX: usize = PEER_CALLS_MAX;
/// Messages that are written by one call: beyond this the kernel's buffer is the bound.
pub const PEER_WRITE_ITEMS_MAX: usize = 256;
/// An entry's bytes from this length on are written from where they are; shorter ones are cheaper to copy.
pub const PEER_COPY_BYTES_MAX: usize = 1 << 10;
/// Bytes that are read at once, and by which the buffer of a long frame grows as its bytes come in.
pub const PEER_READ_BYTES: usize = 256 << 10;
/// Connections that have not said who they are: each member makes two, and strangers must not keep them out.
pub const PEER_STRANGERS_MAX: usize = 256;
/// Of them from one address: one machine alone must not take all places.
pub const PEER_STRANGERS_OF_ADDRESS_MAX: usize = 32;
/// How long a connection may take to be made, resolving of the name included.
pub const PEER_CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// How long it may take until both sides know each other.
pub const PEER_HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Written bytes that the other side's kernel has not taken note of for so long end the connection: as long as raft
/// waits for a leader at most.
pub const PEER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// First pause before a peer is tried again; it doubles, and half of it is chance.
pub const PEER_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest such pause: an election is not much longer.
pub const PEER_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often waiting requests are looked at for their deadlines.
pub const PEER_CALLS_LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often a member is asked for nothing, to learn how long the way to it and back takes.
pub const PEER_PING_EVERY: Duration = Duration::from_secs(1);
/// How often the same refusal of a connection is logged: a wrong peer tries again every second.
pub const PEER_REFUSAL_EVERY: Duration = Duration::from_secs(10);
/// How long the end of all connections may take at a stop.
pub const PEERS_END_DEADLINE: Duration = Duration::from_secs(5);

const _: () = assert!(PEER_FACTS_BYTES_MAX + 256 < PEER_HELLO_BYTES_MAX);
const _: () = assert!(PEER_REQUEST_BYTES_MAX < PEER_FRAME_BYTES_MAX);
const _: () = assert!(PEER_MESSAGE_ENTRIES_MAX * 32 + ENTRY_BYTES_MAX < PEER_FRAME_BYTES_MAX);
const _: () = assert!(PEER_QUEUE_BYTES_MAX > 64 * FRAME_BYTES_MAX && PEER_QUEUE_BYTES_MAX > PEER_QUEUE_BYTES_MIN);
const _: () = assert!(PEER_WRITE_ITEMS_MAX <= PEER_QUEUE_MAX);
