//! The last command of a dump: an ECHO that says how many rows the dump has and how many things it lacks. Without it a dump
//! that was cut between two commands, or an empty one, would look like a whole one.

use crate::cli::request;

/// The command, for a dump of `rows` rows that lacks `troubles` things.
pub(super) fn encode(rows: u64, troubles: u64) -> Vec<u8> {
    request::command(&[b"ECHO", format!("{BEGIN}{rows}{MIDDLE}{troubles}{END}").as_bytes()])
}

/// Rows and troubles, if `command` is the end of a dump.
pub(super) fn decode(command: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(command).ok()?;
    let words = text.strip_suffix("\r\n")?.lines().last()?;
    let (rows, troubles) = words.strip_prefix(BEGIN)?.strip_suffix(END)?.split_once(MIDDLE)?;
    let found = (rows.parse().ok()?, troubles.parse().ok()?);
    (encode(found.0, found.1) == command).then_some(found)
}

const BEGIN: &str = "the end of a sealkv dump of ";
const MIDDLE: &str = " rows, ";
const END: &str = " things could not be read";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_last_command_of_a_dump_is_its_end() {
        let end = encode(7, 1);
        assert_eq!(decode(&end), Some((7, 1)));
        for len in 0..end.len() {
            assert_eq!(decode(&end[..len]), None, "{len}");
        }
        let set = String::from_utf8(end).unwrap().replace("*2\r\n$4\r\nECHO", "*3\r\n$3\r\nSET\r\n$1\r\nk");
        assert_eq!(decode(set.as_bytes()), None, "a value may be the same text");
    }
}
