//! A row in memory.
//!
//! A row is made once, when its command runs, and from then on only its pointer moves: from the run's effects into the
//! table, from there to readers and to the flush.
//!
//! ```text
//! count(8) | what wrote it, expiry, key | size(8) | value, space       one block, as large as one of the allocator's sizes
//!                                                                      a large value lies apart
//! ```
//!
//! Where a row is overwritten and nobody else holds it, its block is that of a row that is made later.

use std::cell::RefCell;

use bytes::Bytes;
use triomphe::Arc;
use triomphe::ThinArc;

use crate::fsm::name::RowKey;
use crate::fsm::spares::LARGEST;
use crate::fsm::spares::SizeClass;
use crate::fsm::spares::Spares;
use crate::fsm::user_key::UserKey;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::fsm::value::ValueKind;
use crate::fsm::value::ValueRef;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::limits::SPARE_ROWS_BYTES;

/// What the values of a sealed entry are sealed with.
#[derive(Clone, Copy, Debug)]
pub struct SealedBy {
    /// GCM tag of the entry's envelope.
    pub entry_tag: [u8; 16],
    /// The value DEK that was active at the entry; who holds the row holds the key. `None` = this node cannot unwrap it: the entry
    /// halts if it writes a value.
    pub key_id: Option<KeyId>,
}

/// Without a key: for tests of what is not sealed in the end.
impl From<[u8; 16]> for SealedBy {
    fn from(entry_tag: [u8; 16]) -> SealedBy {
        SealedBy { entry_tag, key_id: None }
    }
}

/// The write that made a value: all that its nonce is made of. Flat, and without a pointer: every row of a table has one.
#[derive(Clone, Copy, Debug)]
pub struct WrittenAt {
    /// The entry.
    pub index: Index,
    /// Which sealed write of the entry, counted from 0 in execution order.
    pub op: u16,
    is_sealed: bool,
    key_id: Option<KeyId>,
    entry_tag: [u8; 16],
}

impl WrittenAt {
    /// The write `op` of the entry at `index`. `None` = the entry was in the clear, and so is the value.
    #[must_use]
    pub fn new(index: Index, op: u16, sealed: Option<SealedBy>) -> WrittenAt {
        let SealedBy { entry_tag, key_id } = sealed.unwrap_or([0; 16].into());
        WrittenAt { index, op, is_sealed: sealed.is_some(), key_id, entry_tag }
    }

    /// That of a row of the base, which does not say what it was sealed with: only the index is true. Such a row is not sealed again, and
    /// its header is nobody's.
    #[must_use]
    pub fn read_back(index: Index) -> WrittenAt {
        WrittenAt::new(index, 0, Some([0; 16].into()))
    }

    /// What the value is sealed with; `None` = it is in the clear.
    #[must_use]
    pub fn sealed(&self) -> Option<SealedBy> {
        self.is_sealed.then_some(SealedBy { entry_tag: self.entry_tag, key_id: self.key_id })
    }

    /// GCM tag of the entry's envelope, if it had one.
    #[must_use]
    pub fn entry_tag(&self) -> Option<[u8; 16]> {
        self.is_sealed.then_some(self.entry_tag)
    }
}

impl PartialEq for WrittenAt {
    fn eq(&self, other: &WrittenAt) -> bool {
        (self.index, self.op, self.entry_tag()) == (other.index, other.op, other.entry_tag())
    }
}

impl Eq for WrittenAt {}

/// A row in plaintext, with the user's key and with all that it will be sealed with. Cheap to clone.
#[derive(Clone)]
pub struct TableRow(ThinArc<RowHead, u8>);

/// What lies in front of a value.
struct RowHead {
    at: WrittenAt,
    expire_at_ms: u64,
    key: UserKey,
    /// Length of the value that lies behind the head. The rest of the block is of a row that was there before.
    len: usize,
    /// A large value; then nothing lies behind the head.
    apart: Option<Box<ApartValue>>,
}

/// A value that is shared, and changed in place, without a copy.
struct ApartValue {
    bytes: Bytes,
    held_bytes: usize,
}

/// The bytes of a value on their way into a row.
pub enum RowBytes<'a> {
    /// These are copied, once.
    Copied(&'a [u8]),
    /// These are taken over, unless they are few.
    Owned {
        /// The value.
        bytes: Bytes,
        /// Bytes of the buffer that holds it: at least its length.
        held_bytes: usize,
    },
}

impl RowBytes<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            RowBytes::Copied(bytes) => bytes.len(),
            RowBytes::Owned { bytes, .. } => bytes.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A buffer that holds nothing else.
impl From<Vec<u8>> for RowBytes<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        RowBytes::Owned { held_bytes: bytes.capacity(), bytes: bytes.into() }
    }
}

debug_fields!(self: RowBytes<'_> { len: self.len() });

impl TableRow {
    /// The row that the write `at` makes. `expire_at_ms` is in ms since 1970, 0 = never.
    #[must_use]
    pub fn new(key: &[u8], bytes: RowBytes<'_>, expire_at_ms: u64, at: WrittenAt) -> TableRow {
        let head = |len, apart| RowHead { at, expire_at_ms, key: key.into(), len, apart };
        let here = |bytes: &[u8]| TableRow::here(head(bytes.len(), None), bytes);
        let apart = |bytes, held_bytes| {
            let apart = Box::new(ApartValue { bytes, held_bytes });
            TableRow(ThinArc::from_header_and_slice(head(0, Some(apart)), &[]))
        };
        match bytes {
            RowBytes::Copied(bytes) if bytes.len() <= VALUE_BYTES_HERE_MAX => here(bytes),
            RowBytes::Copied(bytes) => apart(Bytes::copy_from_slice(bytes), bytes.len()),
            RowBytes::Owned { bytes, .. } if bytes.len() <= VALUE_BYTES_HERE_MAX => here(&bytes),
            RowBytes::Owned { bytes, held_bytes } => apart(bytes, held_bytes),
        }
    }

    /// In a block that this thread has left, or in a new one.
    fn here(head: RowHead, bytes: &[u8]) -> TableRow {
        let size = SizeClass::of(ROW_BYTES + bytes.len());
        let (mut row, head) = match SPARE_ROWS.with_borrow_mut(|spares| spares.take(size)) {
            Some(row) => (row, Some(head)),
            None => (TableRow(ThinArc::from_header_and_slice(head, &ZEROS[..size.bytes() - ROW_BYTES])), None),
        };
        row.0.with_arc_mut(|block| {
            let block = Arc::get_mut(block).expect("nobody else holds a row that is being made");
            head.into_iter().for_each(|head| *block.header_mut() = head);
            block.slice_mut()[..bytes.len()].copy_from_slice(bytes);
        });
        row
    }

    /// Nobody needs it here any more. If nobody else does, the next row of its size that this thread makes has its block.
    pub(crate) fn give_back(self) {
        if self.head().apart.is_none() && ThinArc::strong_count(&self.0) == 1 {
            let size = SizeClass::of(self.block_bytes());
            SPARE_ROWS.with_borrow_mut(|spares| spares.give(size, self));
        }
    }

    /// The user's key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.head().key
    }

    /// What wrote it.
    #[must_use]
    pub fn at(&self) -> &WrittenAt {
        &self.head().at
    }

    /// Its value.
    #[must_use]
    pub fn value(&self) -> ValueRef<'_> {
        let RowHead { at, expire_at_ms, len, apart, .. } = self.head();
        let bytes = apart.as_ref().map_or(&self.0.slice[..*len], |apart| &apart.bytes);
        ValueRef { kind: ValueKind::String, last_change: at.index, expire_at_ms: *expire_at_ms, bytes }
    }

    /// Its value, which outlives it; a large one is not copied.
    #[must_use]
    pub fn to_value(&self) -> Value {
        match &self.head().apart {
            None => self.value().to_value(),
            Some(apart) => {
                let ValueRef { kind, last_change, expire_at_ms, .. } = self.value();
                Value { kind, last_change, expire_at_ms, bytes: apart.bytes.clone() }
            }
        }
    }

    /// The row itself, for who asks for this key.
    ///
    /// # Errors
    /// [`ValueError::OtherKey`]: two keys have one name.
    pub fn asked_for(&self, asked: RowKey<'_>) -> Result<&TableRow, ValueError> {
        if asked.is_of(self.key()) { Ok(self) } else { Err(ValueError::OtherKey) }
    }

    /// The header that its row in the base has.
    #[must_use]
    pub fn header(&self) -> Header {
        let state = if self.at().sealed().is_some() { BodyState::Sealed } else { BodyState::Clear };
        self.value().header(state)
    }

    /// Whether the key is gone at `now_ms` (the deadline itself is past).
    #[must_use]
    pub fn is_past_due(&self, now_ms: u64) -> bool {
        self.value().is_past_due(now_ms)
    }

    /// Length of what [`TableRow::encode_body`] appends.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.value().body_len(self.key())
    }

    /// Appends the body that its row in the base has.
    pub fn encode_body(&self, out: &mut Vec<u8>) {
        self.value().encode_body(self.key(), out);
    }

    /// Appends its row in the base, if it is not sealed.
    pub fn encode_clear(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.header().encode());
        self.encode_body(out);
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let RowHead { key, apart, .. } = self.head();
        let apart = apart.as_ref().map_or(0, |apart| size_of::<ApartValue>() + apart.held_bytes);
        (self.block_bytes() + key.heap_bytes() + apart) as u64
    }

    fn block_bytes(&self) -> usize {
        ROW_BYTES + self.0.slice.len()
    }

    fn head(&self) -> &RowHead {
        &self.0.header.header
    }
}

impl PartialEq for TableRow {
    fn eq(&self, other: &TableRow) -> bool {
        let facts = |row: &TableRow| (row.head().at, row.head().expire_at_ms);
        facts(self) == facts(other) && self.key() == other.key() && self.value().bytes == other.value().bytes
    }
}

impl Eq for TableRow {}

debug_fields!(self: TableRow { key: self.key(), at: self.at(), value: self.value() });

/// Reads a little of each row, so that the memory of all of them comes at the same time: whoever reads them one by one waits for
/// each, and where they are many that is most of what a read costs.
pub(crate) fn warm<'r>(rows: impl Iterator<Item = &'r TableRow> + Clone) {
    // Nothing in these loops waits for what it reads but the sums.
    let heads: usize = rows.clone().map(|row| row.key().len() ^ row.value().bytes.len()).fold(0, |all, len| all ^ len);
    let lines = |row: &'r TableRow| row.value().bytes.iter().step_by(CACHE_LINE).take(WARM_LINES);
    let bodies = rows.flat_map(|row| row.key().first().into_iter().chain(lines(row))).fold(0, |all, byte| all ^ byte);
    std::hint::black_box((heads, bodies));
}

/// The same for what is asked of rows that are about to be replaced.
pub(crate) fn warm_heads<'r>(rows: impl Iterator<Item = &'r TableRow>) {
    std::hint::black_box(rows.map(TableRow::memory_bytes).fold(0, |all, bytes| all ^ bytes));
}

const CACHE_LINE: usize = 64;
/// Lines of a value that are worth it: the CPU fetches what follows by itself.
const WARM_LINES: usize = 8;

thread_local! {
    /// What the thread that applies has overwritten.
    static SPARE_ROWS: RefCell<Spares<TableRow>> = const { RefCell::new(Spares::new(SPARE_ROWS_BYTES)) };
}

/// A row without its value: the head, the count of pointers to it, the size of what lies behind it.
const ROW_BYTES: usize = size_of::<RowHead>() + 2 * size_of::<usize>();
const _: () = assert!(SizeClass::of(ROW_BYTES).bytes() == ROW_BYTES);
const _: () = assert!(ROW_BYTES + VALUE_BYTES_HERE_MAX <= LARGEST);

/// What a new block holds.
static ZEROS: [u8; LARGEST] = [0; LARGEST];

/// A larger value lies apart. To copy so much takes less time than to ask for memory.
const VALUE_BYTES_HERE_MAX: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> WrittenAt {
        WrittenAt::new(Index(7), 3, Some([1; 16].into()))
    }

    // Goal: a row shows what it was made of, wherever its value lies and whoever made it.
    #[test]
    fn a_row_shows_what_it_was_made_of_whatever_its_length() {
        for len in [0, 1, VALUE_BYTES_HERE_MAX, VALUE_BYTES_HERE_MAX + 1, 1 << 20] {
            let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let owned = RowBytes::Owned { bytes: bytes.clone().into(), held_bytes: 2 * len };
            for made in [RowBytes::Copied(&bytes), owned] {
                let held_bytes = if matches!(made, RowBytes::Owned { .. }) { 2 * len } else { len };
                let row = TableRow::new(b"a key", made, 9, at());
                let value = row.value();
                assert_eq!((row.key(), *row.at(), value.bytes), (&b"a key"[..], at(), &bytes[..]));
                assert_eq!((value.last_change, value.expire_at_ms), (Index(7), 9));
                assert_eq!(row.to_value().bytes, bytes);
                assert!(row.is_past_due(9) && !row.is_past_due(8));
                let (block, apart) = match len > VALUE_BYTES_HERE_MAX {
                    true => (ROW_BYTES, held_bytes + size_of::<ApartValue>()),
                    false => (SizeClass::of(ROW_BYTES + len).bytes(), 0),
                };
                assert_eq!(row.memory_bytes(), (block + apart) as u64);
            }
        }
    }

    #[test]
    fn a_large_value_is_taken_over_and_shared_and_a_small_one_pins_nothing() {
        let large = Bytes::from(vec![5; VALUE_BYTES_HERE_MAX + 1]);
        let row = TableRow::new(b"k", RowBytes::Owned { bytes: large.clone(), held_bytes: large.len() }, 0, at());
        assert_eq!(row.to_value().bytes.as_ptr(), large.as_ptr());
        let buffer = Bytes::from(vec![5; 1 << 20]);
        let row = TableRow::new(b"k", RowBytes::Owned { bytes: buffer.slice(..9), held_bytes: 1 << 20 }, 0, at());
        assert!(buffer.try_into_mut().is_ok(), "nobody else holds it");
        assert_eq!((row.value().bytes, row.memory_bytes()), (&[5; 9][..], 112));
    }

    fn of_bytes(bytes: &[u8]) -> TableRow {
        TableRow::new(b"k", RowBytes::Copied(bytes), 0, at())
    }

    // Goal: a block is used again for a row of its size, shows nothing of the row before, and never while somebody holds that.
    #[test]
    fn the_block_of_a_row_that_nobody_holds_is_that_of_the_next_one() {
        let place = |row: &TableRow| row.0.as_ptr();
        let first = of_bytes(&[1; 100]);
        let (block, held) = (place(&first), first.clone());
        first.give_back();
        let second = of_bytes(&[2; 100]);
        assert_ne!(place(&second), block, "a reader holds it");
        assert_eq!(held.value().bytes, [1; 100]);
        held.give_back();
        let larger = of_bytes(&[3; 200]);
        let third = TableRow::new(b"another", RowBytes::Copied(&[4; 99]), 5, at());
        assert_eq!(place(&third), block);
        assert_ne!(place(&larger), block);
        assert_eq!((third.key(), third.value().bytes, third.value().expire_at_ms), (&b"another"[..], &[4; 99][..], 5));
        assert_eq!(third, TableRow::new(b"another", RowBytes::Copied(&[4; 99]), 5, at()), "whatever lies behind it");
        assert_ne!(third, of_bytes(&[4; 99]));
    }

    #[test]
    fn debug_never_shows_the_bytes_of_a_row() {
        let row = TableRow::new(b"k", RowBytes::Copied(b"secret"), 0, at());
        assert!(!format!("{row:?}").contains("secret"));
    }
}
