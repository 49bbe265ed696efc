//! SCAN, KEYS and RANDOMKEY: walks over keys in the order of their names.
//!
//! Names are the same on every replica, in memory and on disk, so a cursor is a place in that order: the first 53 bits of
//! a name, which every client's numbers can hold. It costs the server nothing, and holds across flushes, restarts and
//! other leaders. A key that is there from the first call to the last is met; rows that share their 53 bits come with one
//! call. Keys that are past due are left out. Rows that were deleted lately count as looked at, so that no walk is longer
//! than its bound.

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
use crate::limits::TRANSACTION_SCAN_STEPS_MAX;

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
    /// SCAN: the next cursor, and keys. Where many rows were deleted it ends with few keys or none, and the cursor of where
    /// it got to.
    pub(super) fn scan(&self, cursor: u64, count: u64, pattern: Option<&[u8]>) -> Result<Reply, ReadError> {
        let (looks_max, steps_max) = (self.rows_max(SCAN_ROWS_MAX), self.steps_max(SCAN_STEPS_MAX));
        let rows_max = count.min(looks_max);
        let match_max = self.steps_max(u64::MAX);
        let glob = pattern.map(|pattern| Glob::new(pattern, LetterCase::Exact));
        let (mut keys, mut next, mut refusal) = (Vec::new(), 0, None);
        let (mut looks, mut rows, mut bytes, mut steps, mut last) = (0, 0, 0, 0, None);
        let bytes_left = self.bytes_left;
        self.walk(cursor_to_name(self.database, cursor), rows_max, &mut |met| {
            let place = cursor_of(&met.name);
            let has_more = rows < rows_max && looks < looks_max && bytes < SCAN_BYTES_MAX && steps < steps_max;
            if !has_more && last != Some(place) {
                next = place;
                return false;
            }
            looks += 1;
            if let Some(key) = met.key {
                let matches = glob.map_or(Some(true), |glob| glob.matches_within(key, &mut steps, match_max));
                match matches {
                    // Its match begins anew with the next call, if it was not the first of this one.
                    None if last.is_some_and(|last| last != place) => next = place,
                    None => refusal = Some(words::PATTERN_SLOW),
                    Some(true) => keys.push(Reply::Bulk(Bytes::copy_from_slice(key))),
                    Some(false) => {}
                }
                if matches.is_none() {
                    return false;
                }
                rows += 1;
            }
            (last, bytes) = (Some(place), bytes + met.bytes);
            // Only names that somebody made to share their first bits bring so much at once.
            if bytes > bytes_left {
                refusal = Some(words::REPLY_LARGE);
            }
            refusal.is_none()
        })?;
        Ok(refusal.map_or_else(|| scanned(next, keys), Reply::Error))
    }

    /// KEYS: all that match.
    pub(super) fn keys(&self, pattern: &[u8]) -> Result<Reply, ReadError> {
        let glob = Glob::new(pattern, LetterCase::Exact);
        let (looks_max, steps_max) = (self.rows_max(u64::MAX), self.steps_max(KEYS_STEPS_MAX));
        let (mut keys, mut bytes, mut looks, mut steps, mut refusal) = (Vec::new(), 0, 0, 0, None);
        self.walk(None, SCAN_ROWS_MAX, &mut |met| {
            looks += 1;
            let matches = met.key.map_or(Some(false), |key| glob.matches_within(key, &mut steps, steps_max));
            if let Some(key) = met.key
                && matches == Some(true)
            {
                bytes += key.len() + KEY_OVERHEAD;
                keys.push(Reply::Bulk(Bytes::copy_from_slice(key)));
            }
            refusal = match () {
                () if bytes > self.bytes_left => Some(words::REPLY_LARGE),
                () if matches.is_none() => Some(words::PATTERN_SLOW),
                () if looks > looks_max => Some(words::KEYS_MANY),
                () => None,
            };
            refusal.is_none()
        })?;
        Ok(refusal.map_or(Reply::Array(keys), Reply::Error))
    }

    /// RANDOMKEY: the first key at or behind a place in the order of names, which `place` gives; from the beginning if
    /// there is none. Where it meets only rows that were deleted it draws again, a few times.
    pub(super) fn random_key(&self, place: u64) -> Result<Reply, ReadError> {
        let looks_max = self.rows_max(SCAN_ROWS_MAX) / DRAWS;
        let (mut found, mut place) = (None, place);
        for _ in 0..DRAWS {
            let mut looks = 0;
            for behind in [cursor_to_name(self.database, place >> UNUSED_BITS), None] {
                if looks < looks_max {
                    self.walk(behind, FEW_ROWS, &mut |met| {
                        looks += 1;
                        found = met.key.map(Bytes::copy_from_slice);
                        found.is_none() && looks < looks_max
                    })?;
                }
                if found.is_some() {
                    break;
                }
            }
            // All were looked at.
            if found.is_some() || looks < looks_max {
                break;
            }
            place = place.wrapping_mul(NEXT_PLACE).rotate_left(32).wrapping_add(1);
        }
        Ok(found.map_or(Reply::Null, Reply::Bulk))
    }

    fn rows_max(&self, aside: u64) -> u64 {
        if self.place == WalkPlace::Aside { aside } else { aside.min(TRANSACTION_SCAN_ROWS_MAX) }
    }

    fn steps_max(&self, aside: u64) -> u64 {
        if self.place == WalkPlace::Aside { aside } else { TRANSACTION_SCAN_STEPS_MAX }
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
/// Rows of a table that are copied at once where few are wanted: all rows of the shard are looked at for each piece.
const FEW_ROWS: u64 = 1024;
/// What a key takes in a reply beside its bytes: its allocation, and its place in a list that doubles.
const KEY_OVERHEAD: usize = 96;
/// How often RANDOMKEY draws.
const DRAWS: u64 = 4;
/// Odd, with bits all over it (the golden ratio): draws lie far apart.
const NEXT_PLACE: u64 = 0x9e37_79b9_7f4a_7c15;
const _: () = assert!(2 * size_of::<Reply>() <= KEY_OVERHEAD - 16);
