//! What a node remembers of the others, and they of it: so that a node whose directory was lost or put back to an older copy is
//! noticed, and neither votes nor acknowledges.
//!
//! ```text
//! PEERS    off  size  field
//!          0    1     version, 0x02
//!          1    1     1 once this directory has taken part in the cluster
//!          2    16    drawn when the directory was made: two directories of one node are told apart by it
//!          18   2     nodes that were met
//!          20         of each, in the order of numbers: node(8), what its directory drew(16), term(8), index(8)
//!               2     nodes that were taken out of the cluster, then 8 bytes for each
//!          end  4     CRC32C of everything before
//!
//! facts    what is at 0 to the last node that was met
//! ```
//!
//! Term and index are the highest that the node has acknowledged: it voted in that term, or its log reached that index in it.
//! Terms never decrease, and within a term a log only grows, so a node that comes back with less has lost something.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Term;
use crate::keys::file;
use crate::limits::BOOK_NODES_MAX;
use crate::limits::TAKEN_OUT_MAX;
use crate::world::Entropy;
use crate::world::random_array;

/// What a directory drew.
type Drawn = [u8; 16];

/// The highest that a node has acknowledged, or has: terms first.
pub(crate) type Reach = (Term, Index);

/// Something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Operator: the directory of this node is a new one.
    #[error(
        "node {by} knows this node with another directory: what it acknowledged is lost with that, so it must not vote; \
         put the directory back, or take this node out (`sealkv admin member remove`) and join as a node with a new number"
    )]
    Directory {
        /// Who knows it.
        by: NodeId,
    },
    /// Operator: the directory of this node is an older copy.
    #[error(
        "node {by} has seen this node acknowledge index {} of term {}, its log ends at index {} in term {}: this is an older \
         copy; put the newest directory back, or take this node out (`sealkv admin member remove`) and join as a node with a new number",
        seen.1, seen.0, has.1, has.0
    )]
    Newest {
        /// Who has seen it.
        by: NodeId,
        /// What it acknowledged.
        seen: Reach,
        /// What it has.
        has: Reach,
    },
}

/// Why two nodes must not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This node has lost something: it ends.
    Here(Lost),
    /// The other one has.
    There(String),
}

/// A node that was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MetNode {
    drawn: Drawn,
    reach: Reach,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pages {
    has_joined: bool,
    drawn: Drawn,
    known: BTreeMap<NodeId, MetNode>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Book {
    path: PathBuf,
    node: NodeId,
    /// What this node's log had when it started.
    has: Reach,
    /// Whom a new directory has to meet before it takes part: they could know of one before it. Nobody by name for a node that
    /// joins: it has to meet most of those whom it hears of.
    to_meet: Vec<NodeId>,
    pages: Mutex<OpenPages>,
    /// Held while the file is written, so that nobody waits for the disk who only looks into the pages.
    writing: Mutex<()>,
}

/// The pages, and what this process knows of them.
#[derive(Debug)]
struct OpenPages {
    pages: Pages,
    /// Nodes that were taken out, newest last. They are heard no more, though their certificates are good for a while.
    taken_out: Vec<NodeId>,
    /// The file has everything.
    is_saved: bool,
    /// Met since this process began: what they see this node acknowledge from then on is no loss.
    met: BTreeSet<NodeId>,
    /// Nodes that those have met.
    heard: BTreeSet<NodeId>,
}

impl Book {
    /// Opens the book of a data directory, or begins it. `has_taken_part`: its log shows that it did.
    ///
    /// # Errors
    /// It cannot be read or written, or is damaged.
    pub(crate) fn open(
        directory: &Path,
        node: NodeId,
        has: Reach,
        has_taken_part: bool,
        to_meet: Vec<NodeId>,
        entropy: &dyn Entropy,
    ) -> io::Result<Book> {
        let path = directory.join("PEERS");
        let (pages, taken_out) = match fs::read(&path) {
            Ok(bytes) => decode_file(&bytes).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("PEERS {error}: put it back with the whole directory"),
                )
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let drawn = random_array(entropy);
                (Pages { has_joined: has_taken_part, drawn, known: BTreeMap::new() }, Vec::new())
            }
            Err(error) => return Err(error),
        };
        let to_meet = to_meet.into_iter().filter(|other| *other != node).collect();
        let (met, heard) = (BTreeSet::new(), BTreeSet::new());
        let pages = Mutex::new(OpenPages { pages, taken_out, is_saved: false, met, heard });
        let book = Book { path, node, has, to_meet, pages, writing: Mutex::default() };
        book.save()?;
        Ok(book)
    }

    /// Whether this node may take part: vote, acknowledge, campaign.
    pub(crate) fn is_open(&self) -> bool {
        self.pages().pages.has_joined
    }

    /// What this node shows to the others.
    pub(crate) fn facts(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_pages(&self.pages().pages, &mut out);
        out
    }

    /// What another node shows. It is remembered durably before this returns, if the node `is_member`. True if this node may take
    /// part from now on. What somebody says who is no member ends no node that takes part.
    ///
    /// # Errors
    /// [`Refused`], and nothing is remembered.
    pub(crate) fn meet(
        &self,
        node: NodeId,
        reader: &mut Reader<'_>,
        is_member: impl Fn(NodeId) -> bool,
    ) -> Result<bool, Refused> {
        let malformed = |error: CodecError| Refused::There(format!("what node {node} shows of itself {error}"));
        let theirs = take_pages(reader).map_err(malformed)?;
        let mut open = self.pages();
        let is_first = !open.met.contains(&node);
        let mut is_new = false;
        let OpenPages { pages, is_saved, met, heard, .. } = &mut *open;
        let is_heard = is_member(node) || !pages.has_joined;
        if let Some(of_us) = theirs.known.get(&self.node).filter(|_| is_heard) {
            if of_us.drawn != pages.drawn {
                return Err(Refused::Here(Lost::Directory { by: node }));
            }
            if of_us.reach > self.has && is_first {
                return Err(Refused::Here(Lost::Newest { by: node, seen: of_us.reach, has: self.has }));
            }
        }
        if let Some(known) = pages.known.get(&node) {
            if known.drawn != theirs.drawn {
                return Err(Refused::There(format!("node {node} was met with another directory: {LOST}")));
            }
        } else if is_member(node) {
            // Those who were taken out make place for others.
            if pages.known.len() >= BOOK_NODES_MAX {
                pages.known.retain(|known, _| is_member(*known));
            }
            if pages.known.len() >= BOOK_NODES_MAX {
                return Err(Refused::There(format!("this node knows {BOOK_NODES_MAX} others already")));
            }
            pages.known.insert(node, MetNode { drawn: theirs.drawn, reach: (Term(0), Index(0)) });
            (*is_saved, is_new) = (false, true);
        }
        if met.len() < BOOK_NODES_MAX {
            met.insert(node);
        }
        if !pages.has_joined {
            heard.extend(theirs.known.keys().chain([&node]).filter(|other| **other != self.node).take(BOOK_NODES_MAX));
            let has_met_most = 2 * met.intersection(heard).count() > heard.len();
            let has_met_named = self.to_meet.iter().all(|other| pages.known.contains_key(other));
            if has_met_named && (has_met_most || !self.to_meet.is_empty()) {
                pages.has_joined = true;
                (*is_saved, is_new) = (false, true);
            }
        }
        let has_joined = pages.has_joined;
        drop(open);
        if !is_new {
            return Ok(has_joined);
        }
        match self.save() {
            Ok(()) => Ok(has_joined),
            Err(error) => Err(Refused::There(format!("this node cannot remember whom it met: {error}"))),
        }
    }

    /// These were taken out of the cluster. Durable when this returns.
    ///
    /// # Errors
    /// The disk's; then it is written at the next [`Book::save`].
    pub(crate) fn take_out(&self, nodes: &[NodeId]) -> io::Result<()> {
        let mut open = self.pages();
        let new: Vec<NodeId> = nodes.iter().copied().filter(|node| !open.taken_out.contains(node)).collect();
        if new.is_empty() {
            return Ok(());
        }
        open.taken_out.extend(new);
        let first = open.taken_out.len().saturating_sub(TAKEN_OUT_MAX);
        open.taken_out.drain(..first);
        open.is_saved = false;
        drop(open);
        self.save()
    }

    /// The members are these, and whoever else was met was taken out: a snapshot stands for the entries that said so.
    ///
    /// # Errors
    /// As [`Book::take_out`].
    pub(crate) fn keep_only(&self, members: &[NodeId]) -> io::Result<()> {
        let gone: Vec<NodeId> =
            self.pages().pages.known.keys().copied().filter(|node| !members.contains(node)).collect();
        self.take_out(&gone)
    }

    /// Whether that node was taken out of the cluster once.
    pub(crate) fn has_taken_out(&self, node: NodeId) -> bool {
        self.pages().taken_out.contains(&node)
    }

    /// `node` has acknowledged that. Durable at the next [`Book::save`].
    pub(crate) fn acknowledged(&self, node: NodeId, reach: Reach) {
        let mut open = self.pages();
        if let Some(known) = open.pages.known.get_mut(&node).filter(|known| known.reach < reach) {
            known.reach = reach;
            open.is_saved = false;
        }
    }

    /// Writes what is new.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn save(&self) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = Vec::new();
        {
            let mut open = self.pages();
            // What comes meanwhile sets it back.
            if std::mem::replace(&mut open.is_saved, true) {
                return Ok(());
            }
            put_pages(&open.pages, &mut bytes);
            put_taken_out(&open.taken_out, &mut bytes);
        }
        let written = self.write(bytes);
        if written.is_err() {
            self.pages().is_saved = false;
        }
        written
    }

    fn write(&self, mut bytes: Vec<u8>) -> io::Result<()> {
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_be_bytes());
        let new = self.path.with_extension("new");
        file::unless_absent(fs::remove_file(&new))?;
        file::write_new(&new, &bytes)?;
        fs::rename(&new, &self.path)?;
        file::sync_parent(&self.path)
    }

    fn pages(&self) -> MutexGuard<'_, OpenPages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put_pages(pages: &Pages, out: &mut Vec<u8>) {
    out.extend_from_slice(&[VERSION, u8::from(pages.has_joined)]);
    out.extend_from_slice(&pages.drawn);
    let shown = pages.known.iter().take(BOOK_NODES_MAX);
    out.extend_from_slice(&u16::try_from(shown.len()).expect("a few nodes").to_be_bytes());
    for (node, known) in shown {
        out.extend_from_slice(&node.value().to_be_bytes());
        out.extend_from_slice(&known.drawn);
        out.extend_from_slice(&known.reach.0.0.to_be_bytes());
        out.extend_from_slice(&known.reach.1.0.to_be_bytes());
    }
}

fn put_taken_out(nodes: &[NodeId], out: &mut Vec<u8>) {
    out.extend_from_slice(&u16::try_from(nodes.len()).expect("at most TAKEN_OUT_MAX").to_be_bytes());
    nodes.iter().for_each(|node| out.extend_from_slice(&node.value().to_be_bytes()));
}

fn take_taken_out(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, CodecError> {
    let count = usize::from(reader.u16("count of nodes taken out")?);
    if count > TAKEN_OUT_MAX {
        return Err(CodecError::Field { field: "count of nodes taken out" });
    }
    let node = |id: u64| NodeId::new(id).ok_or(CodecError::Field { field: "node taken out" });
    (0..count).map(|_| reader.u64("node taken out").and_then(node)).collect()
}

fn take_pages(reader: &mut Reader<'_>) -> Result<Pages, CodecError> {
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(CodecError::Version { found: version.into(), expected: VERSION.into() });
    }
    let (has_joined, drawn) = (reader.flag("taken part")?, reader.array("drawn")?);
    let count = usize::from(reader.u16("count of nodes")?);
    if count > BOOK_NODES_MAX {
        return Err(CodecError::Field { field: "count of nodes" });
    }
    let mut known = BTreeMap::new();
    for _ in 0..count {
        let node = NodeId::new(reader.u64("node")?).ok_or(CodecError::Field { field: "node" })?;
        if known.last_key_value().is_some_and(|(before, _)| *before >= node) {
            return Err(CodecError::Field { field: "node" });
        }
        let drawn = reader.array("drawn")?;
        let reach = (Term(reader.u64("term")?), Index(reader.u64("index")?));
        known.insert(node, MetNode { drawn, reach });
    }
    Ok(Pages { has_joined, drawn, known })
}

fn decode_file(bytes: &[u8]) -> Result<(Pages, Vec<NodeId>), CodecError> {
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(CodecError::Field { field: "checksum" })?;
    if crc32c::crc32c(body).to_be_bytes() != *checksum {
        return Err(CodecError::Field { field: "checksum" });
    }
    let mut reader = Reader::new(body);
    let read = (take_pages(&mut reader)?, take_taken_out(&mut reader)?);
    reader.end()?;
    Ok(read)
}

const VERSION: u8 = 0x02;
const LOST: &str = "what it acknowledged is lost, it must not take part under its number";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mutator::Mutator;
    use crate::testing::seed::Seeded;
    use crate::testing::seed::runs;
    use crate::world::KernelEntropy;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn at(term: u64, index: u64) -> Reach {
        (Term(term), Index(index))
    }

    fn open(dir: &Path, id: u64, has: Reach) -> Book {
        fs::create_dir_all(dir).unwrap();
        Book::open(dir, node(id), has, false, [1, 2, 3].map(node).to_vec(), &KernelEntropy).unwrap()
    }

    fn meet(one: &Book, id: u64, other: &Book) -> Result<bool, Refused> {
        one.meet(node(id), &mut Reader::new(&other.facts()), |_| true)
    }

    #[test]
    fn a_node_that_joins_takes_part_once_it_has_met_most_of_those_it_hears_of() {
        let dir = tempfile::tempdir().unwrap();
        let place = |id: u64| dir.path().join(id.to_string());
        let books: Vec<Book> = (1..=3).map(|id| open(&place(id), id, at(1, 1))).collect();
        for (one, id) in [(0, 2), (0, 3), (1, 1), (1, 3), (2, 1), (2, 2)] {
            meet(&books[one], id, &books[id as usize - 1]).unwrap();
        }
        let joiner = |name: &str| {
            fs::create_dir_all(place(4).join(name)).unwrap();
            Book::open(&place(4).join(name), node(4), at(0, 0), false, Vec::new(), &KernelEntropy).unwrap()
        };
        let before = joiner("before");
        assert_eq!(meet(&before, 1, &books[0]), Ok(false), "two more could know a directory before this one");
        assert_eq!(meet(&before, 2, &books[1]), Ok(true));
        meet(&books[1], 4, &before).unwrap();
        let lost = joiner("lost");
        assert_eq!(meet(&lost, 1, &books[0]), Ok(false), "it has not met the one before");
        assert!(!lost.is_open());
        assert_eq!(meet(&lost, 2, &books[1]), Err(Refused::Here(Lost::Directory { by: node(2) })));
    }

    #[test]
    fn what_is_said_by_no_member_is_not_remembered_and_ends_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let one = open(&dir.path().join("1"), 1, at(1, 1));
        let others: Vec<Book> = (2..=3).map(|id| open(&dir.path().join(id.to_string()), id, at(1, 1))).collect();
        assert_eq!(meet(&one, 2, &others[0]), Ok(false));
        assert_eq!(meet(&one, 3, &others[1]), Ok(true));
        let odd = open(&dir.path().join("9"), 9, at(1, 1));
        meet(&odd, 1, &open(&dir.path().join("another 1"), 1, at(1, 1))).unwrap();
        let met = one.meet(node(9), &mut Reader::new(&odd.facts()), |_| false);
        assert_eq!(met, Ok(true), "it claims that this node had another directory");
        assert!(!one.pages().pages.known.contains_key(&node(9)));
        assert!(matches!(meet(&one, 9, &odd), Err(Refused::Here(_))), "a member would be believed");
    }

    #[test]
    fn a_new_directory_takes_part_once_it_has_met_all_founders_and_remembers_that() {
        let dir = tempfile::tempdir().unwrap();
        let place = |id: u64| dir.path().join(id.to_string());
        let books: Vec<Book> = (1..=3).map(|id| open(&place(id), id, at(1, 1))).collect();
        assert!(!books[0].is_open());
        assert_eq!(meet(&books[0], 2, &books[1]), Ok(false));
        assert_eq!(meet(&books[0], 3, &books[2]), Ok(true));
        assert!(books[0].is_open());
        drop(books);
        assert!(open(&place(1), 1, at(4, 9)).is_open());
        let mut bytes = fs::read(place(1).join("PEERS")).unwrap();
        bytes[5] ^= 1;
        fs::write(place(1).join("PEERS"), bytes).unwrap();
        let damaged = Book::open(&place(1), node(1), at(4, 9), true, Vec::new(), &KernelEntropy);
        assert!(damaged.unwrap_err().to_string().contains("checksum"));
    }

    #[test]
    fn who_was_taken_out_is_remembered_across_restarts_within_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let book = open(dir.path(), 1, at(1, 1));
        book.take_out(&[node(7), node(8)]).unwrap();
        book.take_out(&[node(8)]).unwrap();
        drop(book);
        let book = open(dir.path(), 1, at(1, 1));
        assert!(book.has_taken_out(node(7)) && book.has_taken_out(node(8)) && !book.has_taken_out(node(9)));
        book.take_out(&(100..100 + TAKEN_OUT_MAX as u64).map(node).collect::<Vec<_>>()).unwrap();
        drop(book);
        let book = open(dir.path(), 1, at(1, 1));
        assert!(!book.has_taken_out(node(7)) && book.has_taken_out(node(100)));
    }

    #[test]
    fn a_snapshot_says_who_was_taken_out_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let one = open(&dir.path().join("1"), 1, at(1, 1));
        for id in 2..=3 {
            meet(&one, id, &open(&dir.path().join(id.to_string()), id, at(1, 1))).unwrap();
        }
        one.keep_only(&[1, 3, 4].map(node)).unwrap();
        assert!(one.has_taken_out(node(2)) && !one.has_taken_out(node(3)) && !one.has_taken_out(node(4)));
    }

    #[test]
    fn a_directory_that_was_lost_is_noticed_at_both_ends() {
        let dir = tempfile::tempdir().unwrap();
        let one = open(&dir.path().join("1"), 1, at(1, 1));
        let before = open(&dir.path().join("2"), 2, at(1, 1));
        assert_eq!(meet(&one, 2, &before), Ok(false));
        let blank = open(&dir.path().join("new"), 2, at(1, 1));
        assert_eq!(meet(&blank, 1, &one), Err(Refused::Here(Lost::Directory { by: node(1) })));
        assert!(matches!(meet(&one, 2, &blank), Err(Refused::There(_))));
        assert_eq!(meet(&one, 2, &before), Ok(false), "the right one may go on");
    }

    #[test]
    fn an_older_copy_is_noticed_by_what_it_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let one = open(&dir.path().join("1"), 1, at(1, 1));
        let two = open(&dir.path().join("2"), 2, at(1, 1));
        meet(&one, 2, &two).unwrap();
        one.acknowledged(node(2), at(3, 100));
        one.acknowledged(node(2), at(3, 90));
        one.save().unwrap();
        let back = |has| meet(&open(&dir.path().join("2"), 2, has), 1, &open(&dir.path().join("1"), 1, at(3, 100)));
        assert_eq!(back(at(3, 100)), Ok(false));
        assert_eq!(back(at(4, 50)), Ok(false), "a later leader cut what nobody had committed");
        for has in [at(3, 99), at(2, 500)] {
            assert_eq!(back(has), Err(Refused::Here(Lost::Newest { by: node(1), seen: at(3, 100), has })));
        }
    }

    // As a hello shows them or a disk gives them back: nothing is read in two ways.
    #[test]
    fn any_bytes_are_refused_or_are_the_pages_that_would_be_written() {
        let met = |id: u64| (node(id), MetNode { drawn: [id as u8; 16], reach: at(id, 9) });
        let with = |nodes: u64| {
            let mut out = Vec::new();
            let pages = Pages { has_joined: nodes != 1, drawn: [7; 16], known: (1..=nodes).map(met).collect() };
            put_pages(&pages, &mut out);
            out
        };
        let mut inputs = Mutator::new(Seeded::fresh(), &[with(0), with(1), with(4)], 1024);
        let (mut read, mut out_of_order) = (0, 0);
        for _ in 0..runs(20_000) {
            let bytes = inputs.next_input();
            let mut reader = Reader::new(&bytes);
            match take_pages(&mut reader) {
                Ok(pages) => {
                    let mut again = Vec::new();
                    put_pages(&pages, &mut again);
                    assert_eq!(again, bytes[..bytes.len() - reader.remaining()]);
                    read += 1;
                }
                Err(error) => out_of_order += u64::from(error == CodecError::Field { field: "node" }),
            }
        }
        assert!(read > 0 && out_of_order > 0, "{read} read, {out_of_order} with a node that is out of order");
    }
}
