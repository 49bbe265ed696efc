//! Requests: arrays of bulk strings, or inline lines, taken from the receive buffer without copying a value.
//!
//! ```text
//! *<count>\r\n  then count times  $<length>\r\n<length bytes>\r\n        or        word word "quoted word"\r\n
//! ```
//!
//! The parser keeps its place between reads, so a command that arrives byte by byte costs no more than one that
//! arrives whole, and every bound is checked on the announced number, before anything is allocated for it (BOUNDED).
//! What it accepts, and the words it refuses with, are those of Redis 7; they do not depend on how the input is split.

use bytes::Bytes;
use bytes::BytesMut;

use crate::limits::ARGUMENTS_MAX;
use crate::limits::BULK_BYTES_MAX;
use crate::limits::LINE_BYTES_MAX;
use crate::limits::QUERY_BYTES_MAX;
use crate::limits::READ_BATCH_BYTES_MAX;
use crate::limits::READ_BATCH_COMMANDS_MAX;
use crate::limits::UNAUTHENTICATED_ARGUMENTS_MAX;
use crate::limits::UNAUTHENTICATED_BULK_BYTES_MAX;
use crate::resp::codec::arguments::CommandSpans;
use crate::resp::codec::arguments::Oversize;
use crate::resp::codec::arguments::Received;
use crate::resp::codec::arguments::Span;
use crate::resp::codec::arguments::span;
use crate::resp::codec::inline::split_words;

/// What a client must not send; its connection is closed after the answer, since the stream has lost its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The count after `*` is no number, or above the bound.
    #[error("Protocol error: invalid multibulk length")]
    MultibulkLength,
    /// More arguments than a client may send before AUTH.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// No line end where the count should be.
    #[error("Protocol error: too big mbulk count string")]
    MultibulkLine,
    /// The length after `$` is no number, negative, or above the bound.
    #[error("Protocol error: invalid bulk length")]
    BulkLength,
    /// A longer argument than a client may send before AUTH.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// No line end where the length should be.
    #[error("Protocol error: too big bulk count string")]
    BulkLine,
    /// Something else where an argument should begin.
    #[error("Protocol error: expected '$', got '{}'", printable(*got))]
    ExpectedBulk {
        /// The byte found.
        got: u8,
    },
    /// An inline command without an end.
    #[error("Protocol error: too big inline request")]
    InlineLine,
    /// An inline command whose quotes do not close.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// Who is sending, since that decides the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// Has no right to anything yet: small bounds, one command at a time (the next may have others).
    Unauthenticated,
    /// May do what it likes within the limits.
    Authenticated,
}

/// Where the parser is in the command that has begun to arrive.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// First byte of the command in the receive buffer.
    start: usize,
    /// First byte not looked at.
    cursor: usize,
    /// Arguments still to come of the array that has begun; 0 between commands.
    arguments_left: usize,
    /// Length of the argument whose bytes are arriving.
    bulk_len: Option<usize>,
    /// Arguments that are complete.
    spans: Vec<Span>,
    /// Why the command that has begun is dropped as it arrives, to be answered with an error at its end.
    dropped: Option<Oversize>,
    stopped_at_bound: bool,
}

enum Taken {
    NeedMore,
    Nothing,
    Command { words: Option<Bytes> },
}

impl Parser {
    /// True if the last parse stopped at a bound and not for want of bytes.
    pub(crate) fn may_have_more(&self, inbox: &BytesMut) -> bool {
        self.stopped_at_bound && !inbox.is_empty()
    }

    /// Bytes that are still to come of the argument that is arriving; 0 if nobody knows how many.
    pub(crate) fn missing(&self, inbox: &BytesMut) -> usize {
        let wanted = self.bulk_len.filter(|_| self.dropped.is_none()).map_or(0, |len| self.cursor + len + 2);
        wanted.saturating_sub(inbox.len())
    }

    /// There is no memory for the command that is arriving: the rest of it is dropped, and it is answered with an error.
    pub(crate) fn give_up(&mut self) {
        if self.arguments_left > 0 && self.dropped.is_none() {
            self.begin_dropping(Oversize::Memory);
        }
    }

    /// Bytes that it holds beside the inbox.
    pub(crate) fn held_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>()
    }

    /// Lets go of what it does not need before the next command.
    pub(crate) fn rest(&mut self) {
        if self.arguments_left == 0 {
            self.spans.shrink_to(SPANS_KEPT);
        }
    }

    /// Takes the complete commands off the front of `inbox` into `batch`, up to the bounds of a batch.
    ///
    /// With an error `batch` holds the commands before it, which are to be run; nothing can be parsed after it.
    ///
    /// # Errors
    /// [`ProtocolError`], the same however the input was split.
    pub(crate) fn parse(
        &mut self,
        inbox: &mut BytesMut,
        sender: Sender,
        batch: &mut Received,
    ) -> Result<(), ProtocolError> {
        batch.clear();
        let commands_max = match sender {
            Sender::Unauthenticated => 1,
            Sender::Authenticated => READ_BATCH_COMMANDS_MAX,
        };
        let mut result = Ok(());
        self.stopped_at_bound = true;
        while batch.commands.len() < commands_max && self.start < READ_BATCH_BYTES_MAX {
            match self.take_command(inbox, sender) {
                Ok(Taken::NeedMore) => {
                    self.stopped_at_bound = false;
                    break;
                }
                Ok(Taken::Nothing) => {}
                Ok(Taken::Command { words }) => {
                    let first_span = batch.spans.len();
                    batch.spans.append(&mut self.spans);
                    batch.commands.push(CommandSpans { first_span, oversize: self.dropped.take(), words });
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.split_off(inbox, batch);
        result
    }

    /// Cuts what is complete off the buffer; positions count from its front again.
    fn split_off(&mut self, inbox: &mut BytesMut, batch: &mut Received) {
        let taken = std::mem::take(&mut self.start);
        if taken > 0 {
            // With all of it goes the buffer: its empty end would hold it as long as it is the inbox.
            let frame = if taken == inbox.len() { std::mem::take(inbox) } else { inbox.split_to(taken) };
            batch.frame = frame.freeze();
            self.cursor -= taken;
            let shift = u32::try_from(taken).expect("a batch is far below 4 GiB");
            for span in &mut self.spans {
                span.start -= shift;
            }
        }
    }

    fn take_command(&mut self, buffer: &[u8], sender: Sender) -> Result<Taken, ProtocolError> {
        if self.arguments_left == 0 {
            match buffer.get(self.cursor) {
                None => return Ok(Taken::NeedMore),
                Some(b'*') => match self.begin_array(buffer, sender)? {
                    Taken::Command { .. } => {}
                    other => return Ok(other),
                },
                Some(_) => return self.take_inline(buffer),
            }
        }
        while self.arguments_left > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match self.begin_bulk(buffer, sender)? {
                    Some(len) => len,
                    None => return Ok(Taken::NeedMore),
                },
            };
            let arrived = buffer.len() - self.cursor;
            if arrived < len + 2 {
                self.bulk_len = Some(len);
                if self.dropped.is_some() {
                    self.bulk_len = Some(self.drop_part(len, arrived));
                }
                return Ok(Taken::NeedMore);
            }
            if self.dropped.is_none() {
                self.spans.push(span(self.cursor, len));
            }
            self.cursor += len + 2;
            self.bulk_len = None;
            self.arguments_left -= 1;
            if self.dropped.is_some() {
                self.start = self.cursor;
                if self.start >= READ_BATCH_BYTES_MAX && self.arguments_left > 0 {
                    return Ok(Taken::Nothing);
                }
            }
        }
        self.start = self.cursor;
        Ok(Taken::Command { words: None })
    }

    /// Lets go of what has arrived of an argument, but for its last two bytes. What is still to come of it.
    fn drop_part(&mut self, len: usize, arrived: usize) -> usize {
        let dropped = arrived.min(len);
        self.cursor += dropped;
        self.start = self.cursor;
        len - dropped
    }

    /// From here on the command that has begun is dropped as it arrives.
    fn begin_dropping(&mut self, why: Oversize) {
        self.dropped = Some(why);
        self.spans.clear();
        self.start = self.cursor;
    }

    /// The count of an array. `Command` here means: its arguments come next.
    fn begin_array(&mut self, buffer: &[u8], sender: Sender) -> Result<Taken, ProtocolError> {
        let errors = (ProtocolError::MultibulkLine, ProtocolError::MultibulkLength);
        let Some((count, digits)) = take_number(&buffer[self.cursor + 1..], errors)? else {
            return Ok(Taken::NeedMore);
        };
        if count > REDIS_ARGUMENTS_MAX {
            return Err(ProtocolError::MultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGUMENTS_MAX as i64 && sender == Sender::Unauthenticated {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.cursor += 1 + digits + 2;
        if count <= 0 {
            self.start = self.cursor;
            return Ok(Taken::Nothing);
        }
        self.arguments_left = usize::try_from(count).expect("checked: between 1 and REDIS_ARGUMENTS_MAX");
        if self.arguments_left > ARGUMENTS_MAX {
            self.begin_dropping(Oversize::Arguments);
        }
        Ok(Taken::Command { words: None })
    }

    /// The length of an argument, or `None` if its line is not complete.
    fn begin_bulk(&mut self, buffer: &[u8], sender: Sender) -> Result<Option<usize>, ProtocolError> {
        let Some(&first) = buffer.get(self.cursor) else {
            return Ok(None);
        };
        if first != b'$' {
            return Err(ProtocolError::ExpectedBulk { got: first });
        }
        let errors = (ProtocolError::BulkLine, ProtocolError::BulkLength);
        let Some((announced, digits)) = take_number(&buffer[self.cursor + 1..], errors)? else {
            return Ok(None);
        };
        let len = usize::try_from(announced).map_err(|_| ProtocolError::BulkLength)?;
        // In this order in Redis, whose own bound is higher than ours.
        let is_stranger = sender == Sender::Unauthenticated;
        if is_stranger && (UNAUTHENTICATED_BULK_BYTES_MAX + 1..=REDIS_BULK_BYTES_MAX).contains(&len) {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        if len > BULK_BYTES_MAX {
            return Err(ProtocolError::BulkLength);
        }
        let body = self.cursor + 1 + digits + 2;
        let is_large = body - self.start + len + 2 > QUERY_BYTES_MAX;
        self.cursor = body;
        if is_large && self.dropped.is_none() {
            self.begin_dropping(Oversize::Bytes);
        }
        Ok(Some(len))
    }

    fn take_inline(&mut self, buffer: &[u8]) -> Result<Taken, ProtocolError> {
        let rest = &buffer[self.cursor..];
        let looked_at = &rest[..rest.len().min(LINE_BYTES_MAX + 1)];
        let Some(newline) = memchr::memchr(b'\n', looked_at) else {
            if rest.len() > LINE_BYTES_MAX {
                return Err(ProtocolError::InlineLine);
            }
            return Ok(Taken::NeedMore);
        };
        let line = rest[..newline].strip_suffix(b"\r").unwrap_or(&rest[..newline]);
        let (words, ends) = split_words(line).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        self.cursor += newline + 1;
        self.start = self.cursor;
        if ends.is_empty() {
            return Ok(Taken::Nothing);
        }
        let mut start = 0;
        for end in ends {
            self.spans.push(span(start, end - start));
            start = end;
        }
        Ok(Taken::Command { words: Some(Bytes::from(words)) })
    }
}

/// The number on a line and the bytes that it has there, if all of the line has arrived.
fn take_number(
    rest: &[u8],
    (too_long, no_number): (ProtocolError, ProtocolError),
) -> Result<Option<(i64, usize)>, ProtocolError> {
    if let Some(short) = short_number(rest) {
        return Ok(Some(short));
    }
    let Some(line) = take_line(rest, too_long)? else { return Ok(None) };
    let number = parse_integer(line).ok_or(no_number)?;
    Ok(Some((number, line.len())))
}

/// [`take_number`] of a few digits, which is what nearly every count and length has; `None` for whatever else there is.
fn short_number(rest: &[u8]) -> Option<(i64, usize)> {
    let mut number = 0;
    for (at, byte) in rest.iter().take(SHORT_LINE_BYTES).enumerate() {
        match byte {
            b'0'..=b'9' => number = number * 10 + i64::from(byte - b'0'),
            b'\r' if at > 0 && at + 1 < rest.len() && (at == 1 || rest[0] != b'0') => return Some((number, at)),
            _ => return None,
        }
    }
    None
}

/// The bytes up to the next carriage return, if that and the byte after it have arrived.
fn take_line(rest: &[u8], too_long: ProtocolError) -> Result<Option<&[u8]>, ProtocolError> {
    let looked_at = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match memchr::memchr(b'\r', looked_at) {
        Some(end) if end + 1 < rest.len() => Ok(Some(&rest[..end])),
        Some(_) => Ok(None),
        None if rest.len() >= LINE_BYTES_MAX => Err(too_long),
        None => Ok(None),
    }
}

/// A decimal number as Redis' `string2ll` takes it: no plus, no leading zero, no blanks, nothing outside i64.
pub(crate) fn parse_integer(digits: &[u8]) -> Option<i64> {
    let (is_negative, magnitude) = match digits {
        [b'0'] => return Some(0),
        [b'-', rest @ ..] => (true, rest),
        _ => (false, digits),
    };
    if magnitude.is_empty() || magnitude.len() > 19 || magnitude[0] == b'0' {
        return None;
    }
    let mut number: u64 = 0;
    for &digit in magnitude {
        if !digit.is_ascii_digit() {
            return None;
        }
        // 19 digits are below 10^19, which is below 2^64: this cannot overflow.
        number = number * 10 + u64::from(digit - b'0');
    }
    if is_negative { 0_i64.checked_sub_unsigned(number) } else { i64::try_from(number).ok() }
}

const SPANS_KEPT: usize = 64;
/// Up to seven digits.
const SHORT_LINE_BYTES: usize = 8;
/// Redis' own most arguments: 2^31 - 1.
const REDIS_ARGUMENTS_MAX: i64 = i32::MAX as i64;
/// Redis' own longest bulk string (`proto-max-bulk-len`), for the order of its errors.
const REDIS_BULK_BYTES_MAX: usize = 512 << 20;

fn printable(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' { char::from(byte) } else { '?' }
}
