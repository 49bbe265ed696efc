//! One connection of the load generator: requests that are queued, replies that are counted.

use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use crate::options::Op;
use crate::options::Options;

/// Makes requests of random keys and random values, from a seed.
pub struct Workload {
    op: Op,
    keys: u64,
    value_bytes: usize,
    random: fastrand::Rng,
    /// Random bytes; a value is a piece that begins at a random place.
    pool: Vec<u8>,
}

impl Workload {
    pub fn new(options: &Options) -> Workload {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let mut pool = vec![0; POOL_BYTES + options.value_bytes];
        random.fill(&mut pool);
        Workload { op: options.op, keys: options.keys, value_bytes: options.value_bytes, random, pool }
    }

    /// Appends a request in the words of redis-benchmark: `key:000000012345`.
    fn request(&mut self, out: &mut Vec<u8>) {
        let key = self.random.u64(0..self.keys);
        match self.op {
            Op::Get => write!(out, "*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n"),
            Op::Set => {
                let value = &self.pool[self.random.usize(0..POOL_BYTES)..][..self.value_bytes];
                write!(out, "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${}\r\n", value.len()).map(|()| {
                    out.extend_from_slice(value);
                    out.extend_from_slice(b"\r\n");
                })
            }
        }
        .expect("a Vec takes all");
    }
}

/// A socket that never blocks.
pub struct Connection {
    socket: TcpStream,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    /// When each request without a reply was due.
    due: VecDeque<Instant>,
}

impl Connection {
    pub fn open(address: &str) -> io::Result<Connection> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Connection { socket, out: Vec::new(), written: 0, input: Vec::new(), due: VecDeque::new() })
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Requests without a reply.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    pub fn queue(&mut self, workload: &mut Workload, due: Instant) {
        workload.request(&mut self.out);
        self.due.push_back(due);
    }

    /// Writes what the socket takes.
    pub fn write(&mut self) -> io::Result<()> {
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what has arrived; calls `reply` for each whole reply with the time its request was due, and whether it is an
    /// error.
    pub fn read(&mut self, mut reply: impl FnMut(Instant, bool)) -> io::Result<()> {
        let mut chunk = [0; 64 << 10];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut begin = 0;
        while let Some(length) = reply_length(&self.input[begin..])? {
            let is_error = self.input[begin] == b'-';
            begin += length;
            let due = self.due.pop_front().ok_or_else(|| strange("a reply that nobody asked for"))?;
            reply(due, is_error);
        }
        self.input.drain(..begin);
        Ok(())
    }
}

/// Length of the first reply if it is there as a whole: a line, or a string with its length in front.
fn reply_length(input: &[u8]) -> io::Result<Option<usize>> {
    let Some(line) = input.iter().position(|&byte| byte == b'\n') else {
        return Ok(None);
    };
    let line_length = line + 1;
    match input[0] {
        b'+' | b'-' | b':' | b'_' => Ok(Some(line_length)),
        b'$' => {
            let digits = std::str::from_utf8(&input[1..line]).map_err(|_| strange("a length that is no number"))?;
            let length: i64 = digits.trim_end().parse().map_err(|_| strange("a length that is no number"))?;
            let whole = usize::try_from(length).map_or(line_length, |length| line_length + length + 2);
            Ok((input.len() >= whole).then_some(whole))
        }
        _ => Err(strange("a reply of a kind that SET and GET never have")),
    }
}

fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const POOL_BYTES: usize = 1 << 20;
