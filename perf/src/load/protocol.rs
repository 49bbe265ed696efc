//! The two protocols that the load generator speaks: that of Redis, and JSON over HTTP, as etcd's gateway takes it.

use std::io;
use std::io::Write as _;

/// How requests are written and replies are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2.
    Redis,
    /// HTTP/1.1 that stays open, with `/v3/kv/put` and `/v3/kv/range`.
    Etcd,
}

/// The first whole reply of what has arrived.
pub struct Reply {
    pub length: usize,
    pub is_error: bool,
}

impl Protocol {
    /// Appends a request: of a value to write it, without one to read.
    pub fn request(self, key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
        match self {
            Protocol::Redis => {
                out.extend_from_slice(if value.is_some() { b"*3\r\n$3\r\nSET\r\n" } else { b"*2\r\n$3\r\nGET\r\n" });
                for word in [Some(key), value].into_iter().flatten() {
                    write!(out, "${}\r\n", word.len()).expect("a Vec takes all");
                    out.extend_from_slice(word);
                    out.extend_from_slice(b"\r\n");
                }
            }
            Protocol::Etcd => {
                let value = value.map(|value| format!(",\"value\":\"{}\"", base64(value)));
                let method = if value.is_some() { "put" } else { "range" };
                let body = format!("{{\"key\":\"{}\"{}}}", base64(key), value.unwrap_or_default());
                let length = body.len();
                write!(out, "POST /v3/kv/{method} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}")
                    .expect("a Vec takes all");
            }
        }
    }

    /// `None` if it is not there as a whole.
    pub fn reply(self, input: &[u8]) -> io::Result<Option<Reply>> {
        match self {
            Protocol::Redis => redis(input),
            Protocol::Etcd => http(input),
        }
    }
}

/// A line, or a string with its length in front.
fn redis(input: &[u8]) -> io::Result<Option<Reply>> {
    let Some(line) = input.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let line_length = line + 1;
    let length = match input[0] {
        b'+' | b'-' | b':' | b'_' => line_length,
        b'$' => {
            let digits = std::str::from_utf8(&input[1..line]).map_err(|_| strange("a length that is no number"))?;
            let length: i64 = digits.trim_end().parse().map_err(|_| strange("a length that is no number"))?;
            usize::try_from(length).map_or(line_length, |length| line_length + length + 2)
        }
        _ => return Err(strange("a reply of a kind that SET and GET never have")),
    };
    Ok((input.len() >= length).then_some(Reply { length, is_error: input[0] == b'-' }))
}

/// A head, then as many bytes as it says, or chunks up to an empty one.
fn http(input: &[u8]) -> io::Result<Option<Reply>> {
    let Some(head_length) = find(input, b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&input[..head_length]).to_ascii_lowercase();
    let is_error = !head.starts_with("http/1.1 200");
    let length = match head.split("content-length:").nth(1) {
        Some(rest) => {
            let digits = rest.lines().next().unwrap_or_default().trim();
            head_length + digits.parse::<usize>().map_err(|_| strange("a length that is no number"))?
        }
        None => match find(&input[head_length..], b"0\r\n\r\n") {
            Some(at) => head_length + at + 5,
            None => return Ok(None),
        },
    };
    Ok((input.len() >= length).then_some(Reply { length, is_error }))
}

fn find(input: &[u8], wanted: &[u8]) -> Option<usize> {
    input.windows(wanted.len()).position(|window| window == wanted)
}

/// As RFC 4648 draws it, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let number = three.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let is_there = digit <= three.len();
            text.push(if is_there { DIGITS[(number >> (18 - 6 * digit)) as usize & 63] as char } else { '=' });
        }
    }
    text
}

fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_reply_is_taken_when_it_is_whole_and_not_before() {
        let replies: [(Protocol, &[u8], bool); 6] = [
            (Protocol::Redis, b"+OK\r\n", false),
            (Protocol::Redis, b"$3\r\nabc\r\n", false),
            (Protocol::Redis, b"-ERR no\r\n", true),
            (Protocol::Etcd, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false),
            (Protocol::Etcd, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", false),
            (Protocol::Etcd, b"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx", true),
        ];
        for (protocol, bytes, is_error) in replies {
            let two = [bytes, bytes].concat();
            let reply = protocol.reply(&two).unwrap().unwrap();
            assert_eq!((reply.length, reply.is_error), (bytes.len(), is_error), "{protocol:?}");
            assert!(protocol.reply(&bytes[..bytes.len() - 1]).unwrap().is_none(), "{protocol:?}");
        }
        assert!(Protocol::Redis.reply(b"what\r\n").is_err());
    }
}
