//! Which arguments of a command are keys, and what happens to them, in the words of Redis 7: COMMAND INFO and GETKEYSANDFLAGS.
//!
//! Proxies and cluster clients route by this: it says more than the command does, never less.

use crate::resp::codec::arguments::Arguments;

/// Some keys of a command that are used alike: first and last position (negative: from the end) and the distance between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpec {
    pub(crate) first: i32,
    pub(crate) last: i32,
    pub(crate) step: i32,
    /// One of `RO`, `RW`, `OW` (overwritten) and `RM`, then what the client gets of the value or does to it.
    pub(crate) flags: &'static [&'static str],
    /// Why, where Redis says so.
    pub(crate) notes: Option<&'static str>,
    /// Tells more than `flags` once the arguments are known.
    pub(crate) narrow: Option<fn(Arguments<'_>) -> &'static [&'static str]>,
}

impl KeySpec {
    /// Positions among so many arguments.
    pub(crate) fn positions(&self, arguments: usize) -> impl Iterator<Item = usize> + use<> {
        let count = i32::try_from(arguments).unwrap_or(i32::MAX);
        let last = if self.last < 0 { count + self.last } else { self.last.min(count - 1) };
        (self.first..=last).step_by(self.step.unsigned_abs() as usize).map(|position| position.unsigned_abs() as usize)
    }

    /// What happens to the keys of this call.
    pub(crate) fn flags_of(&self, arguments: Arguments<'_>) -> &'static [&'static str] {
        self.narrow.map_or(self.flags, |narrow| narrow(arguments))
    }
}

/// First, last and step of all keys together, as COMMAND has shown them since Redis 2.8; zeros without keys.
pub(crate) fn range_of(specs: &[KeySpec]) -> (i32, i32, i32) {
    match (specs.first(), specs.last()) {
        (Some(first), Some(last)) => (first.first, last.last, first.step),
        _ => (0, 0, 0),
    }
}

pub(super) const NONE: &[KeySpec] = &[];
/// The value, or something that is worked out from it, is told.
pub(super) const READ: &[KeySpec] = &[key(1, READS)];
/// Only whether the key is there, or facts about its value, are told.
pub(super) const LOOK: &[KeySpec] = &[key(1, LOOKS)];
pub(super) const READ_ALL: &[KeySpec] = &[keys(1, -1, 1, READS)];
pub(super) const LOOK_AT_ALL: &[KeySpec] = &[keys(1, -1, 1, LOOKS)];
pub(super) const READ_TWO: &[KeySpec] = &[keys(1, 2, 1, READS)];
/// OBJECT and MEMORY: behind the subcommand.
pub(super) const LOOK_AT_SECOND: &[KeySpec] = &[key(2, LOOKS)];
/// Something is told of the value, and it changes.
pub(super) const CHANGE: &[KeySpec] = &[key(1, CHANGES)];
/// It changes, and nothing of it is told.
pub(super) const UPDATE: &[KeySpec] = &[key(1, &["RW", "update"])];
pub(super) const EXTEND: &[KeySpec] = &[key(1, &["RW", "insert"])];
pub(super) const OVERWRITE: &[KeySpec] = &[key(1, OVERWRITES)];
pub(super) const OVERWRITE_PAIRS: &[KeySpec] = &[keys(1, -1, 2, OVERWRITES)];
pub(super) const INSERT: &[KeySpec] = &[key(1, INSERTS)];
pub(super) const INSERT_PAIRS: &[KeySpec] = &[keys(1, -1, 2, INSERTS)];
pub(super) const REMOVE_ALL: &[KeySpec] = &[keys(1, -1, 1, REMOVES)];
pub(super) const TAKE: &[KeySpec] = &[key(1, TAKES)];
/// DELIFEQ, which is of Valkey 9: the value decides, nothing of it is told.
pub(super) const REMOVE_IF: &[KeySpec] = &[key(1, REMOVES_IF)];
pub(super) const COPY: &[KeySpec] = &[key(1, READS), key(2, OVERWRITES)];
pub(super) const RENAME: &[KeySpec] = &[key(1, TAKES), key(2, OVERWRITES)];
pub(super) const RENAME_NEW: &[KeySpec] = &[key(1, TAKES), key(2, INSERTS)];
pub(super) const BITOP: &[KeySpec] = &[key(2, OVERWRITES), keys(3, -1, 1, READS)];
pub(super) const GETEX: &[KeySpec] =
    &[KeySpec { notes: Some("RW and UPDATE because it changes the TTL"), ..key(1, CHANGES) }];
pub(super) const SET: &[KeySpec] = &[KeySpec {
    notes: Some("RW and ACCESS due to the optional `GET` argument"),
    narrow: Some(of_set),
    ..key(1, &["RW", "access", "update", "variable_flags"])
}];
pub(super) const BITFIELD: &[KeySpec] = &[KeySpec {
    notes: Some("This command allows both access and modification of the key"),
    narrow: Some(of_bitfield),
    ..key(1, &["RW", "access", "update", "variable_flags"])
}];
pub(super) const DELEX: &[KeySpec] =
    &[KeySpec { narrow: Some(of_delex), ..key(1, &["RW", "delete", "variable_flags"]) }];

const LOOKS: &[&str] = &["RO"];
const READS: &[&str] = &["RO", "access"];
const CHANGES: &[&str] = &["RW", "access", "update"];
const OVERWRITES: &[&str] = &["OW", "update"];
const INSERTS: &[&str] = &["OW", "insert"];
const TAKES: &[&str] = &["RW", "access", "delete"];
const REMOVES: &[&str] = &["RM", "delete"];
const REMOVES_IF: &[&str] = &["RW", "delete"];

const fn key(at: i32, flags: &'static [&'static str]) -> KeySpec {
    keys(at, at, 1, flags)
}

const fn keys(first: i32, last: i32, step: i32, flags: &'static [&'static str]) -> KeySpec {
    KeySpec { first, last, step, flags, notes: None, narrow: None }
}

/// SET tells the older value only where it is asked for.
fn of_set(arguments: Arguments<'_>) -> &'static [&'static str] {
    let has_get = arguments.slices_from(3).any(|word| word.eq_ignore_ascii_case(b"get"));
    if has_get { CHANGES } else { OVERWRITES }
}

/// BITFIELD with GET alone only reads; what is no sentence of its grammar is taken for a write.
fn of_bitfield(arguments: Arguments<'_>) -> &'static [&'static str] {
    let words: Vec<&[u8]> = arguments.slices_from(2).collect();
    let mut at = 0;
    while at < words.len() {
        let is = |name: &[u8]| words[at].eq_ignore_ascii_case(name);
        let behind = words.len() - at - 1;
        at += match () {
            () if is(b"get") && behind >= 2 => 3,
            () if is(b"overflow") && behind >= 1 => 2,
            () => return CHANGES,
        };
    }
    READS
}

/// DELEX without a condition is DEL of one key.
fn of_delex(arguments: Arguments<'_>) -> &'static [&'static str] {
    if arguments.len() > 2 { REMOVES_IF } else { REMOVES }
}
