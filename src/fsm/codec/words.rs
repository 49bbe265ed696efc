//! Lines of this program that came from another node: they are kept for good, as its own are, and few.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::limits::WORDS_MAX;

/// The same text, kept for ever. A node of this program sends only lines that stand in its code, so there are few; one
/// more than that is replaced.
pub(super) fn intern(text: &str) -> &'static str {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(text) {
        return known;
    }
    if words.len() >= WORDS_MAX {
        return "ERR the answer of another node is of another version";
    }
    let kept: &'static str = Box::leak(text.into());
    words.insert(kept);
    kept
}

/// A length (2), and as many bytes.
pub(super) fn put_word(text: &str, out: &mut Vec<u8>) {
    let len = u16::try_from(text.len()).expect("a line of this program is short");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn take_word<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CodecError> {
    let len = usize::from(reader.u16("length of a line")?);
    std::str::from_utf8(reader.slice(len, "line")?).map_err(|_| CodecError::Field { field: "line" })
}
