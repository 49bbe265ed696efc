//! SCAN, KEYS and RANDOMKEY: walks over keys in the order of their names.
//!
//! Names are the same on every replica, in memory and on disk, so a cursor is a place in that order: the first 53 bits of
//! a name, which every client's numbers can hold. It costs the server nothing, and holds across flushes, restarts and
//! other leaders. A key that is there from the first call to the last is met; rows that share their 53 bits come with one
//! call. Keys that are past due are left out.

use bytes::Bytes;

use crate::fsm::command::Reply;
use crate::fsm::glob::Glob;
use crate::fsm::glob::LetterCase;
use crate::fsm::kv::words;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::limits::KEYS_STEPS_MAX;
use crate::limits::SCAN_BYTES_MAX;
use crate::limits::SCAN_ROWS_MAX;
use crate::limits::SCAN_STEPS_MAX;
use crate::limits::TRANSACTION_SCAN_ROWS_MAX;

/// Where a walk runs, which says how far it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkPlace {
    /// Beside the thread that applies.
    Aside,
    /// On it, inside a transaction: others wait.
    Riding,
}

/// What every walk of a read goes by.
pub(super) struct WalkRun<'a, B: ?Sized> {
    pub(super) view: &'a B,
    pub(super) database: Database,
    pub(super) now_ms: u64,
    pub(super) place: WalkPlace,
    /// Bytes of keys that the reply may hold.
    pub(super) bytes_left: usize,
}

impl<B: Base + ?Sized> WalkRun<'_, B> {
    /// SCAN: the next cursor, and keys.
    pub(super) fn scan(&self, cursor: u64, count: u64, pattern: Option<&[u8]>) -> Result<Reply, ReadError> {
        let rows_max = count.min(self.rows_max(SCAN_ROWS_MAX));
        let glob = pattern.map(|pattern| Glob::new(pattern, LetterCase::Exact));
        let (mut keys, mut next) = (Vec::new(), 0);
        let (mut rows, mut bytes, mut steps, mut last) = (0, 0, 0, None);
        let bytes_left = self.bytes_left;
        self.walk(cursor_to_name(self.database, cursor), rows_max, &mut |met| {
            let place = cursor_of(&met.name);
            if (rows >= rows_max || bytes >= SCAN_BYTES_MAX || steps >= SCAN_STEPS_MAX) && last != Some(place) {
                next = place;
                return false;
            }
            (last, rows, bytes) = (Some(place), rows + 1, bytes + met.bytes);
            if let Some(key) = met.key
                && glob.is_none_or(|glob| glob.matches_counting(key, &mut steps))
            {
                keys.push(Reply::Bulk(Bytes::copy_from_slice(key)));
            }
            // Only names that somebody made to share their first bits bring so much at once.
            bytes <= bytes_left
        })?;
        Ok(if bytes > bytes_left { Reply::Error(words::REPLY_LARGE) } else { scanned(next, keys) })
    }

    /// KEYS: all that match.
    pub(super) fn keys(&self, pattern: &[u8]) -> Result<Reply, ReadError> {
        let glob = Glob::new(pattern, LetterCase::Exact);
        let rows_max = self.rows_max(u64::MAX);
        let steps_max = if self.place == WalkPlace::Aside { KEYS_STEPS_MAX } else { SCAN_STEPS_MAX };
        let (mut keys, mut bytes, mut rows, mut steps, mut refusal) = (Vec::new(), 0, 0, 0, None);
        self.walk(None, SCAN_ROWS_MAX, &mut |met| {
            rows += 1;
            if let Some(key) = met.key
                && glob.matches_counting(key, &mut steps)
            {
                bytes += key.len() + KEY_OVERHEAD;
                keys.push(Reply::Bulk(Bytes::copy_from_slice(key)));
            }
            refusal = match () {
                () if bytes > self.bytes_left => Some(words::REPLY_LARGE),
                () if steps > steps_max => Some(words::PATTERN_SLOW),
                () if rows > rows_max => Some(words::KEYS_MANY),
                () => None,
            };
            refusal.is_none()
        })?;
        Ok(refusal.map_or(Reply::Array(keys), Reply::Error))
    }

    /// RANDOMKEY: the first key at or behind a place in the order of names, which `place` gives; from the beginning if
    /// there is none.
    pub(super) fn random_key(&self, place: u64) -> Result<Reply, ReadError> {
        let start = cursor_to_name(self.database, place >> UNUSED_BITS);
        let (mut found, mut rows) = (None, 0);
        let rows_max = self.rows_max(SCAN_ROWS_MAX);
        for behind in [start, None] {
            self.walk(behind, FEW_ROWS, &mut |met| {
                rows += 1;
                found = met.key.map(Bytes::copy_from_slice);
                found.is_none() && rows < rows_max
            })?;
            if found.is_some() || rows >= rows_max {
                break;
            }
        }
        Ok(found.map_or(Reply::Null, Reply::Bulk))
    }

    fn rows_max(&self, aside: u64) -> u64 {
        if self.place == WalkPlace::Aside { aside } else { aside.min(TRANSACTION_SCAN_ROWS_MAX) }
    }

    fn walk(
        &self,
        behind: Option<RowName>,
        most: u64,
        visit: &mut dyn FnMut(MetKey<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let most = usize::try_from(most.clamp(FEW_ROWS, SCAN_ROWS_MAX)).expect("a few thousand");
        let WalkRun { database, now_ms, .. } = *self;
        self.view.walk_keys(KeyWalk { database, behind, most, now_ms }, visit)
    }
}

/// The reply of SCAN.
pub(super) fn scanned(next: u64, keys: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::Bulk(next.to_string().into()), Reply::Array(keys)])
}

/// Whether there is any name at or behind a cursor.
pub(super) fn is_cursor(cursor: u64) -> bool {
    cursor >> CURSOR_BITS == 0
}

/// The name before the first one of a cursor; `None` at the beginning.
fn cursor_to_name(database: Database, cursor: u64) -> Option<RowName> {
    let first = u128::from(cursor) << (128 - CURSOR_BITS);
    first.checked_sub(1).map(|before| RowName::new(database, before.to_be_bytes()))
}

/// The cursor at which a name is met.
fn cursor_of(name: &RowName) -> u64 {
    let first = name.name().first_chunk().expect("a name has 16 bytes");
    u64::from_be_bytes(*first) >> UNUSED_BITS
}

/// What every client's numbers can hold, those of JavaScript too.
const CURSOR_BITS: u32 = 53;
const UNUSED_BITS: u32 = u64::BITS - CURSOR_BITS;
/// Rows of a table that are copied at once where few are wanted.
const FEW_ROWS: u64 = 16;
/// What a short key takes in a reply beside its bytes.
const KEY_OVERHEAD: usize = 16;
