//! Replies in RESP2 and RESP3, written straight into the output buffer.
//!
//! | value | RESP2 | RESP3 |
//! | --- | --- | --- |
//! | status, error, number | `+OK` `-ERR ...` `:1` | the same |
//! | string | `$3\r\nabc` | the same |
//! | null | `$-1` | `_` |
//! | array of n | `*n` | the same |
//! | map of n pairs | `*2n` | `%n` |
//! | text for people | `$3\r\nabc` | `=7\r\ntxt:abc` |

use crate::fsm::command::KeyReply;
use crate::fsm::command::Reply;

/// Which form a client asked for with HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// 2 or 3, as HELLO and CLIENT LIST say it.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// Appends replies of one protocol to a buffer.
#[derive(Debug)]
pub(crate) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    protocol: Protocol,
}

impl<'a> Encoder<'a> {
    /// Writes to the end of `out`.
    pub(crate) fn new(out: &'a mut Vec<u8>, protocol: Protocol) -> Encoder<'a> {
        Encoder { out, protocol }
    }

    /// An answer of the state machine.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Ok => self.out.extend_from_slice(b"+OK\r\n"),
            Reply::Simple(word) => self.simple(word),
            Reply::Error(line) => self.error(line),
            Reply::Integer(number) => self.integer(*number),
            Reply::Bulk(bytes) => self.bulk(bytes),
            Reply::Null => self.null(),
            Reply::Array(members) => {
                self.array(members.len());
                for member in members {
                    self.reply(member);
                }
            }
            Reply::Map(pairs) => {
                self.map(pairs.len());
                for (key, value) in pairs {
                    self.reply(key);
                    self.reply(value);
                }
            }
        }
    }

    /// The answer to a read of one key.
    pub(crate) fn key_reply(&mut self, reply: KeyReply<'_>) {
        match reply {
            KeyReply::Simple(word) => self.simple(word),
            KeyReply::Error(line) => self.error(line),
            KeyReply::Integer(number) => self.integer(number),
            KeyReply::Bulk(bytes) => self.bulk(bytes),
            KeyReply::Null => self.null(),
        }
    }

    /// `+word`.
    pub(crate) fn simple(&mut self, word: &str) {
        self.out.push(b'+');
        self.line(word.as_bytes());
    }

    /// `-line`. Line ends inside, which a client may have sent us, become blanks: they would end the reply.
    pub(crate) fn error(&mut self, line: &str) {
        self.out.push(b'-');
        let start = self.out.len();
        self.line(line.as_bytes());
        let end = self.out.len() - 2;
        for byte in &mut self.out[start..end] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// `:number`.
    pub(crate) fn integer(&mut self, number: i64) {
        self.prefixed(b':', number);
    }

    /// A string of any bytes.
    pub(crate) fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + BULK_LINES_BYTES);
        self.length(b'$', bytes.len());
        self.line(bytes);
    }

    /// What stands in front of a string of so many bytes; a line end follows them.
    pub(crate) fn bulk_head(&mut self, len: usize) {
        self.length(b'$', len);
    }

    /// Text for people.
    pub(crate) fn text(&mut self, text: &str) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text.as_bytes()),
            Protocol::Resp3 => {
                self.length(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.line(text.as_bytes());
            }
        }
    }

    /// No value.
    pub(crate) fn null(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"$-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// No array, where one was asked for.
    pub(crate) fn null_array(&mut self) {
        self.out.extend_from_slice(match self.protocol {
            Protocol::Resp2 => b"*-1\r\n",
            Protocol::Resp3 => b"_\r\n",
        });
    }

    /// The head of an array; its members follow.
    pub(crate) fn array(&mut self, count: usize) {
        self.length(b'*', count);
    }

    /// The head of a set of distinct members.
    pub(crate) fn set(&mut self, count: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', count),
            Protocol::Resp3 => self.length(b'~', count),
        }
    }

    /// The head of a map; key, value, key, value follow.
    pub(crate) fn map(&mut self, pairs: usize) {
        match self.protocol {
            Protocol::Resp2 => self.length(b'*', pairs * 2),
            Protocol::Resp3 => self.length(b'%', pairs),
        }
    }

    fn length(&mut self, kind: u8, length: usize) {
        self.prefixed(kind, i64::try_from(length).expect("a length in memory fits i64"));
    }

    fn prefixed(&mut self, kind: u8, number: i64) {
        self.out.push(kind);
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number);
        self.line(digits.as_bytes());
    }

    fn line(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The lines around a string, at most.
const BULK_LINES_BYTES: usize = 24;

/// About the bytes that a reply takes up when it is encoded; for bounds.
pub(crate) fn reply_bytes(reply: &Reply) -> usize {
    match reply {
        Reply::Bulk(bytes) => bytes.len() + 16,
        Reply::Array(members) => 16 + members.iter().map(reply_bytes).sum::<usize>(),
        Reply::Map(pairs) => 16 + pairs.iter().map(|(key, value)| reply_bytes(key) + reply_bytes(value)).sum::<usize>(),
        Reply::Simple(text) | Reply::Error(text) => text.len() + 3,
        Reply::Ok | Reply::Integer(_) | Reply::Null => 24,
    }
}
