//! Inline commands: a line of words, split as Redis' `sdssplitargs` does it.
//!
//! Words are parted by white space. `"..."` knows `\n \r \t \b \a \xHH` and takes any other escaped byte as it is;
//! `'...'` knows only `\'`. A closing quote must be followed by white space or the end.

/// Quotes that do not close, or that close inside a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnbalancedQuotes;

/// Splits `line` (without its newline) into words: their bytes one after another, and where each ends.
///
/// A zero byte ends the line, as it does in Redis.
///
/// # Errors
/// [`UnbalancedQuotes`].
pub(crate) fn split_words(line: &[u8]) -> Result<(Vec<u8>, Vec<usize>), UnbalancedQuotes> {
    let line = &line[..memchr::memchr(0, line).unwrap_or(line.len())];
    let mut words = Vec::with_capacity(line.len());
    let mut ends = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        // `trim_ascii_start` leaves the vertical tab, which C's isspace counts.
        while let [0x0b, tail @ ..] = rest {
            rest = tail.trim_ascii_start();
        }
        if rest.is_empty() {
            return Ok((words, ends));
        }
        rest = take_word(rest, &mut words)?;
        ends.push(words.len());
    }
}

/// Appends one word to `words` and returns what follows it.
fn take_word<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [] => return Ok(rest),
            [b' ' | b'\n' | b'\r' | b'\t', tail @ ..] => return Ok(tail),
            [b'"', tail @ ..] => return after_quote(take_double_quoted(tail, words)?),
            [b'\'', tail @ ..] => return after_quote(take_single_quoted(tail, words)?),
            [byte, tail @ ..] => {
                words.push(*byte);
                rest = tail;
            }
        }
    }
}

fn after_quote(rest: &[u8]) -> Result<&[u8], UnbalancedQuotes> {
    match rest {
        [] => Ok(rest),
        [byte, ..] if byte.is_ascii_whitespace() || *byte == 0x0b => Ok(rest),
        _ => Err(UnbalancedQuotes),
    }
}

fn take_double_quoted<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [] => return Err(UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                words.push(hex_digit(*high) << 4 | hex_digit(*low));
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                words.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] => {
                words.push(*byte);
                rest = tail;
            }
        }
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], words: &mut Vec<u8>) -> Result<&'a [u8], UnbalancedQuotes> {
    loop {
        match rest {
            [] => return Err(UnbalancedQuotes),
            [b'\\', b'\'', tail @ ..] => {
                words.push(b'\'');
                rest = tail;
            }
            [b'\'', tail @ ..] => return Ok(tail),
            [byte, tail @ ..] => {
                words.push(*byte);
                rest = tail;
            }
        }
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.to_ascii_uppercase() - b'A' + 10,
    }
}
