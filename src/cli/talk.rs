//! A client of a node, for commands of operators: one command, one reply.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::ToSocketAddrs as _;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cli::request;
use crate::cli::request::first_line;
use crate::tls::OperatorTls;
use crate::tls::TlsRefused;

/// A command that has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum TalkError {
    /// Operator: the address, or the node.
    #[error("no node answers at {address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    /// Operator: the password.
    #[error("{path}")]
    Password {
        path: String,
        #[source]
        source: io::Error,
    },
    /// Operator: the files of TLS.
    #[error("TLS")]
    Tls(#[from] TlsRefused),
    /// The node says no, in its words.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows whether it was done.
    #[error("the connection to {address} broke: whether it was done is not known")]
    Broken {
        address: String,
        #[source]
        source: io::Error,
    },
}

/// How an operator comes to a node.
#[derive(Clone, Debug)]
pub struct OperatorAccess {
    /// File whose first line is the operators' password.
    pub password_file: Option<PathBuf>,
    /// What it knows the node by; `None`: it speaks in the clear.
    pub tls: Option<OperatorTls>,
}

/// What is talked over.
trait Spoken: Read + Write {}

impl<S: Read + Write> Spoken for S {}

/// A connection to a node.
pub(super) struct Talk {
    address: String,
    replies: BufReader<Box<dyn Spoken>>,
}

impl Talk {
    /// Connects, as an operator if a password file is given.
    pub(super) fn connect(address: &str, access: &OperatorAccess) -> Result<Talk, TalkError> {
        let connect = |source| TalkError::Connect { address: address.to_owned(), source };
        let stream = stream_to(address).map_err(connect)?;
        let stream: Box<dyn Spoken> = match &access.tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.over(host_of(address), stream)?.map_err(connect)?),
        };
        let mut talk = Talk { address: address.to_owned(), replies: BufReader::new(stream) };
        if let Some(path) = &access.password_file {
            let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "the password is no UTF-8");
            let password = first_line(path).and_then(|line| String::from_utf8(line).map_err(no_text));
            let password =
                password.map_err(|source| TalkError::Password { path: path.display().to_string(), source })?;
            talk.ask(&["AUTH", "admin", &password])?;
        }
        Ok(talk)
    }

    /// Sends a command and reads its reply.
    pub(super) fn ask(&mut self, words: &[&str]) -> Result<Value, TalkError> {
        let broken = |source| TalkError::Broken { address: self.address.clone(), source };
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let stream = self.replies.get_mut();
        stream.write_all(&request::command(&words)).and_then(|()| stream.flush()).map_err(broken)?;
        match reply(&mut self.replies, DEPTH_MAX).map_err(broken)? {
            Ok(value) => Ok(value),
            Err(words) => Err(TalkError::Refused(words)),
        }
    }
}

fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

fn stream_to(address: &str) -> io::Result<TcpStream> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the address has no host");
    let socket = address.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let stream = TcpStream::connect_timeout(&socket, CONNECT_PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(REPLY_PATIENCE))?;
    stream.set_write_timeout(Some(CONNECT_PATIENCE))?;
    Ok(stream)
}

/// The next reply, or the words of an error.
fn reply(input: &mut impl BufRead, depth: u32) -> io::Result<Result<Value, String>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let inner = depth.checked_sub(1).ok_or_else(|| bad("arrays in arrays without end"))?;
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    let text = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let (kind, rest) = text.split_first().ok_or_else(|| bad("an empty line"))?;
    let rest = String::from_utf8_lossy(rest).into_owned();
    let number = || rest.parse::<i64>().map_err(|_| bad("a number that is none"));
    Ok(Ok(match kind {
        b'+' => Value::String(rest),
        b'-' => return Ok(Err(rest)),
        b':' => Value::from(number()?),
        b'$' => match u64::try_from(number()?) {
            Err(_) => Value::Null,
            Ok(len) if len > BULK_BYTES_MAX => return Err(bad("an answer that is too long")),
            Ok(len) => {
                let mut bytes = Vec::new();
                input.take(len + 2).read_to_end(&mut bytes)?;
                let text = bytes.strip_suffix(b"\r\n").filter(|text| text.len() as u64 == len);
                Value::String(String::from_utf8_lossy(text.ok_or(io::ErrorKind::UnexpectedEof)?).into_owned())
            }
        },
        b'*' => {
            let mut parts = Vec::new();
            for _ in 0..number()?.clamp(0, PARTS_MAX) {
                match reply(input, inner)? {
                    Ok(part) => parts.push(part),
                    Err(words) => return Ok(Err(words)),
                }
            }
            Value::Array(parts)
        }
        _ => return Err(bad("this is no node: it does not speak the Redis protocol")),
    }))
}

const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// Reading every row for a digest takes long.
const REPLY_PATIENCE: Duration = Duration::from_secs(120);
const LINE_BYTES_MAX: u64 = 64 << 10;
const BULK_BYTES_MAX: u64 = 1 << 20;
const PARTS_MAX: i64 = 1024;
const DEPTH_MAX: u32 = 8;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn replies_become_values_and_errors_words() {
        let read = |bytes: &[u8]| reply(&mut &bytes[..], DEPTH_MAX);
        let list = b"*2\r\n*4\r\n$4\r\nnode\r\n:3\r\n$4\r\nrole\r\n$-1\r\n+OK\r\n";
        assert_eq!(read(list).unwrap().unwrap(), json!([["node", 3, "role", null], "OK"]));
        assert_eq!(read(b"-ERR no\r\n").unwrap().unwrap_err(), "ERR no");
        let arrays = b"*1\r\n".repeat(100);
        for bad in [&b""[..], b"x\r\n", b":a\r\n", b"$5\r\nab\r\n", b"$99999999\r\n", b"+never ends", &arrays] {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
