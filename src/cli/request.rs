//! What a command of Redis is made of: its bytes, and the password that a file holds.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write;
use std::path::Path;

use crate::limits::PASSWORD_FILE_BYTES_MAX;

/// Appends a command of these words, as RESP has it.
pub(super) fn put(words: &[&[u8]], out: &mut impl Write) -> io::Result<()> {
    write!(out, "*{}\r\n", words.len())?;
    words.iter().try_for_each(|word| {
        write!(out, "${}\r\n", word.len())?;
        out.write_all(word)?;
        out.write_all(b"\r\n")
    })
}

/// The bytes of a command of these words.
pub(super) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(words, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// The first line of a file, without its end.
pub(super) fn first_line(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(PASSWORD_FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    bytes.truncate(end);
    Ok(bytes)
}
