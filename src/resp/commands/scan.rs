//! SCAN, KEYS and RANDOMKEY.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::fsm::command::ReadCommand;
use crate::resp::commands::Action;
use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::SYNTAX;

pub(super) fn scan(call: &Call<'_>) -> ActionResult {
    let mut cursor = parse_cursor(call.slice(1)).ok_or(ErrorLine::fixed("ERR invalid cursor"))?;
    let (mut count, mut pattern) = (10, None);
    for position in (2..call.len()).step_by(2) {
        if position + 1 >= call.len() {
            return Err(SYNTAX);
        }
        match () {
            () if call.is_word(position, "count") => {
                count = u64::try_from(call.integer(position + 1)?).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
            }
            () if call.is_word(position, "match") => pattern = Some(call.pattern(position + 1)?),
            () if call.is_word(position, "type") => {
                if !call.is_word(position + 1, "string") {
                    // No key is of another type: behind this cursor there is nothing.
                    cursor = u64::MAX;
                }
            }
            () => return Err(SYNTAX),
        }
    }
    Ok(Action::Read(ReadCommand::Scan { cursor, count, pattern: pattern.filter(|pattern| pattern != "*") }))
}

pub(super) fn keys(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Keys { pattern: call.pattern(1)? }))
}

pub(super) fn random_key(_call: &Call<'_>) -> ActionResult {
    // The standard library's hashers begin with a random state each.
    Ok(Action::Read(ReadCommand::RandomKey { place: RandomState::new().hash_one(()) }))
}

/// As C's `strtoul` takes it: a sign is allowed, and a negative number is one above all cursors.
fn parse_cursor(text: &[u8]) -> Option<u64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(if is_negative { number.wrapping_neg() } else { number })
}
