//! The client of `sealkv bench node`: pipelines of SETs or GETs on one connection, each reply checked for being one.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

/// One connection.
pub(super) struct PipelineClient {
    stream: TcpStream,
    /// Where in the keys it is: another place for each client.
    next: u64,
    request: Vec<u8>,
}

impl PipelineClient {
    pub(super) fn connect(address: &str, number: u64) -> io::Result<PipelineClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(PipelineClient { stream, next: number * 7919, request: Vec::new() })
    }

    /// Sends a pipeline and waits for all of its replies; how long that took.
    pub(super) fn pipeline(&mut self, is_set: bool, count: usize) -> io::Result<Duration> {
        self.request.clear();
        for _ in 0..count {
            // A step that has no divisor in common with the number of keys meets all of them.
            self.next = (self.next + 7919) % KEYS;
            let key = self.next;
            let head = if is_set { "*3\r\n$3\r\nSET" } else { "*2\r\n$3\r\nGET" };
            write!(self.request, "{head}\r\n$16\r\nkey:{key:012}\r\n")?;
            if is_set {
                write!(self.request, "${VALUE_BYTES}\r\n")?;
                self.request.resize(self.request.len() + VALUE_BYTES, b'v');
                self.request.extend_from_slice(b"\r\n");
            }
        }
        let begin = Instant::now();
        self.stream.write_all(&self.request)?;
        self.replies(count)?;
        Ok(begin.elapsed())
    }

    fn replies(&mut self, count: usize) -> io::Result<()> {
        let (mut input, mut at, mut chunk) = (Vec::new(), 0, [0; 64 << 10]);
        for _ in 0..count {
            loop {
                if let Some(length) = reply_length(&input[at..])? {
                    at += length;
                    break;
                }
                let read = self.stream.read(&mut chunk)?;
                if read == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the node closed the connection"));
                }
                input.extend_from_slice(&chunk[..read]);
            }
        }
        Ok(())
    }
}

/// Length of the first reply, once it is there as a whole: `+OK`, a bulk string, or the null of a key that is not there.
fn reply_length(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(line) = input.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let text = String::from_utf8_lossy(&input[1..line]).trim_end().to_owned();
    match input[0] {
        b'+' => Ok(Some(line + 1)),
        b'$' => {
            let strange = |_| io::Error::new(io::ErrorKind::InvalidData, format!("a reply of length {text:?}"));
            let length: i64 = text.parse().map_err(strange)?;
            let whole = usize::try_from(length).map_or(line + 1, |length| line + 1 + length + 2);
            Ok((input.len() >= whole).then_some(whole))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("the node says {text:?}"))),
    }
}

/// Keys that are written and read.
pub(super) const KEYS: u64 = 50_000;
const VALUE_BYTES: usize = 256;
const PATIENCE: Duration = Duration::from_secs(20);
