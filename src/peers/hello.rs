//! How a connection begins: each side says who it is, and judges the other. The body of a hello and of a welcome, big-endian:
//!
//! ```text
//! off   size  field
//! 0     8     "sealkv p"
//! 8     2     wire version, 2
//! 10    1     lane: 1 fast, 2 bulk
//! 11    1     zero
//! 12    16    cluster
//! 28    8     the node that sends it
//! 36    8     the node that it is for
//! 44    2     length of the facts
//! 46          facts: what the node says of itself
//! ```
//!
//! Who refuses sends its words in a frame of their own, so that both operators read the same.

use std::fmt;

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::PEER_FACTS_BYTES_MAX;
use crate::limits::PEER_WORDS_BYTES_MAX;

const MAGIC: [u8; 8] = *b"sealkv p";
/// The only version that this program speaks.
pub(super) const WIRE_VERSION: u16 = 2;

/// Which of a peer's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Votes, heartbeats, answers, reads, requests: short, and never late.
    Fast = 1,
    /// Entries and snapshots.
    Bulk = 2,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Fast => "fast",
            Lane::Bulk => "bulk",
        })
    }
}

/// What a side says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) lane: Lane,
    pub(super) cluster: ClusterId,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) facts: Bytes,
}

/// Why the other side is not believed, or not wanted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloRefused {
    /// Operator: update the node with the older program first.
    #[error("it speaks version {found} of the protocol of peers, this node speaks {WIRE_VERSION}")]
    Version { found: u16 },
    /// Not what a node writes.
    #[error("its hello {0}")]
    Malformed(#[from] CodecError),
    /// Operator: an address leads to another cluster.
    #[error("it is of cluster {theirs}, this node is of {ours}")]
    Cluster { theirs: ClusterId, ours: ClusterId },
    /// Operator: an address leads to another node.
    #[error("it looks for node {wanted}, this is node {node}")]
    NotForThis { wanted: NodeId, node: NodeId },
    /// Operator: an address leads to another node.
    #[error("it is node {found}, not node {expected}")]
    AnotherNode { found: NodeId, expected: NodeId },
    /// Operator: two nodes have one id.
    #[error("it says that it is node {node}, which this node is itself")]
    SameNode { node: NodeId },
    /// Operator: a certificate of another node, or of no node.
    #[error("{0}")]
    Certificate(String),
    /// What the node behind says.
    #[error("{0}")]
    Unwanted(String),
}

impl Hello {
    /// The bytes drawn above.
    ///
    /// # Panics
    /// If the facts are longer than [`PEER_FACTS_BYTES_MAX`].
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        assert!(self.facts.len() <= PEER_FACTS_BYTES_MAX, "BOUNDED: {} bytes of facts", self.facts.len());
        let mut out = Vec::with_capacity(46 + self.facts.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&WIRE_VERSION.to_be_bytes());
        out.extend_from_slice(&[self.lane as u8, 0]);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.from.value().to_be_bytes());
        out.extend_from_slice(&self.to.value().to_be_bytes());
        out.extend_from_slice(&u16::try_from(self.facts.len()).expect("checked above").to_be_bytes());
        out.extend_from_slice(&self.facts);
        out
    }

    /// Reads them. The version is judged before anything that could look different in another one.
    ///
    /// # Errors
    /// [`HelloRefused::Version`] and [`HelloRefused::Malformed`].
    pub(super) fn read(bytes: &Bytes) -> Result<Hello, HelloRefused> {
        let mut reader = Reader::new(bytes);
        if reader.array("magic")? != MAGIC {
            return Err(CodecError::Field { field: "magic" }.into());
        }
        let found = reader.u16("version")?;
        if found != WIRE_VERSION {
            return Err(HelloRefused::Version { found });
        }
        let lane = match reader.array("lane")? {
            [1, 0] => Lane::Fast,
            [2, 0] => Lane::Bulk,
            _ => return Err(CodecError::Field { field: "lane" }.into()),
        };
        let cluster = ClusterId(reader.array("cluster")?);
        let from = read_node(&mut reader, "sender")?;
        let to = read_node(&mut reader, "receiver")?;
        let length = usize::from(reader.u16("length of the facts")?);
        if length > PEER_FACTS_BYTES_MAX {
            return Err(CodecError::Field { field: "length of the facts" }.into());
        }
        let facts = bytes.slice_ref(reader.slice(length, "facts")?);
        reader.end()?;
        Ok(Hello { lane, cluster, from, to, facts })
    }

    /// Judges who dials `node` of `cluster`.
    ///
    /// # Errors
    /// [`HelloRefused`].
    pub(super) fn may_enter(&self, node: NodeId, cluster: ClusterId) -> Result<(), HelloRefused> {
        if self.cluster != cluster {
            return Err(HelloRefused::Cluster { theirs: self.cluster, ours: cluster });
        }
        if self.to != node {
            return Err(HelloRefused::NotForThis { wanted: self.to, node });
        }
        if self.from == node {
            return Err(HelloRefused::SameNode { node });
        }
        Ok(())
    }

    /// Judges the welcome to `hello`.
    ///
    /// # Errors
    /// [`HelloRefused`].
    pub(super) fn answers(&self, hello: &Hello) -> Result<(), HelloRefused> {
        if self.cluster != hello.cluster {
            return Err(HelloRefused::Cluster { theirs: self.cluster, ours: hello.cluster });
        }
        if self.from != hello.to {
            return Err(HelloRefused::AnotherNode { found: self.from, expected: hello.to });
        }
        if self.to != hello.from {
            return Err(HelloRefused::NotForThis { wanted: self.to, node: hello.from });
        }
        if self.lane == hello.lane { Ok(()) } else { Err(CodecError::Field { field: "lane" }.into()) }
    }
}

fn read_node(reader: &mut Reader<'_>, field: &'static str) -> Result<NodeId, CodecError> {
    NodeId::new(reader.u64(field)?).ok_or(CodecError::Field { field })
}

/// The words of a refusal as they fit a frame.
pub(super) fn words_to_bytes(words: &str) -> &[u8] {
    let mut end = words.len().min(PEER_WORDS_BYTES_MAX);
    while !words.is_char_boundary(end) {
        end -= 1;
    }
    &words.as_bytes()[..end]
}

/// A peer's words, as they may stand in a log line.
pub(super) fn words_from_bytes(bytes: &[u8]) -> String {
    let printable = |character: char| if character.is_control() { ' ' } else { character };
    String::from_utf8_lossy(bytes).chars().map(printable).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::testing::mutator::Mutator;
    use crate::testing::seed::Seeded;
    use crate::testing::seed::runs;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn hello() -> Hello {
        let facts = Bytes::from_static(b"kek 7");
        Hello { lane: Lane::Bulk, cluster: ClusterId([3; 16]), from: node(1), to: node(2), facts }
    }

    #[test]
    fn a_hello_comes_back_as_it_was() {
        assert_eq!(Hello::read(&hello().to_bytes().into()), Ok(hello()));
    }

    #[test]
    fn a_newer_version_is_refused_with_words_whatever_follows() {
        let mut bytes = hello().to_bytes();
        bytes[9] = 3;
        bytes.truncate(12);
        let refused = Hello::read(&bytes.into()).unwrap_err();
        assert_eq!(refused.to_string(), "it speaks version 3 of the protocol of peers, this node speaks 2");
    }

    #[test]
    fn who_is_of_another_cluster_or_node_does_not_enter() {
        let cluster = ClusterId([3; 16]);
        assert_eq!(hello().may_enter(node(2), cluster), Ok(()));
        let words = |node: NodeId, cluster| hello().may_enter(node, cluster).unwrap_err().to_string();
        assert_eq!(words(node(3), cluster), "it looks for node 2, this is node 3");
        let zeros = "00".repeat(16);
        let threes = "03".repeat(16);
        let other = format!("it is of cluster {threes}, this node is of {zeros}");
        assert_eq!(words(node(2), ClusterId([0; 16])), other);
        let own = Hello { from: node(2), ..hello() };
        assert_eq!(own.may_enter(node(2), cluster), Err(HelloRefused::SameNode { node: node(2) }));
    }

    #[test]
    fn a_welcome_is_of_the_node_that_was_dialled() {
        let welcome = Hello { from: node(2), to: node(1), ..hello() };
        assert_eq!(welcome.answers(&hello()), Ok(()));
        let other = Hello { from: node(3), ..welcome.clone() };
        assert_eq!(other.answers(&hello()).unwrap_err().to_string(), "it is node 3, not node 2");
        assert!(Hello { cluster: ClusterId([4; 16]), ..welcome.clone() }.answers(&hello()).is_err());
        assert!(Hello { lane: Lane::Fast, ..welcome }.answers(&hello()).is_err());
    }

    // Whatever comes, it is refused by the name of a field, or it is what would be written: nothing is read in two ways.
    #[test]
    fn any_bytes_are_refused_or_are_another_hello() {
        let with = |facts: usize| Hello { lane: Lane::Fast, facts: vec![7; facts].into(), ..hello() }.to_bytes();
        let mut older = with(9);
        older[9] = 1;
        let good = [hello().to_bytes(), with(0), with(300), older];
        let mut inputs = Mutator::new(Seeded::fresh(), &good, 2048);
        let mut came_to: BTreeMap<String, u64> = BTreeMap::new();
        for _ in 0..runs(20_000) {
            let bytes = inputs.next_input();
            let end = match Hello::read(&bytes.clone().into()) {
                Ok(read) => {
                    assert_eq!(read.to_bytes(), bytes);
                    // Whatever it says of itself can be judged.
                    let entered = read.may_enter(node(2), ClusterId([3; 16]));
                    let answered = read.answers(&hello());
                    assert!(entered.is_err() || answered.is_err(), "it comes from one side only");
                    if entered.is_ok() { "enters".to_owned() } else { "is another".to_owned() }
                }
                Err(HelloRefused::Version { found }) => {
                    assert_ne!(found, WIRE_VERSION);
                    "version".to_owned()
                }
                Err(HelloRefused::Malformed(error)) => error.to_string(),
                Err(other) => panic!("{other:?} is not for who reads"),
            };
            *came_to.entry(end).or_default() += 1;
        }
        println!("{came_to:?}");
        let fields = ["magic", "lane", "sender", "receiver", "facts"];
        for end in ["enters", "is another", "version", "too many"].into_iter().chain(fields) {
            assert!(came_to.keys().any(|came| came.contains(end)), "none came to {end}");
        }
    }

    #[test]
    fn words_are_cut_between_letters_and_show_no_control_characters() {
        let words = "ö".repeat(400);
        assert_eq!(words_to_bytes(&words).len(), PEER_WORDS_BYTES_MAX);
        assert_eq!(words_from_bytes(b"a\nb\x1b[31m"), "a b [31m");
    }
}
