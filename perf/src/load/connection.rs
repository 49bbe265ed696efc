//! One connection of the load generator: requests that are queued, replies that are counted.

use std::collections::VecDeque;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use crate::options::Op;
use crate::options::Options;
use crate::protocol::Protocol;
use crate::protocol::Reply;

/// Makes requests of random keys and random values, from a seed.
pub struct Workload {
    op: Op,
    protocol: Protocol,
    keys: u64,
    /// The next key, where they come in order.
    next: Option<u64>,
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
        Workload {
            op: options.op,
            protocol: options.protocol,
            keys: options.keys,
            next: options.in_order,
            value_bytes: options.value_bytes,
            random,
            pool,
        }
    }

    /// Appends a request for a key as redis-benchmark has them: `key:000000012345`.
    fn request(&mut self, out: &mut Vec<u8>) {
        let mut key = *b"key:000000000000";
        let number = self.next.unwrap_or_else(|| self.random.u64(0..self.keys));
        self.next = self.next.map(|next| next + 1);
        write!(&mut key[4..], "{number:012}").expect("twelve digits");
        let value = (self.op == Op::Set).then(|| &self.pool[self.random.usize(0..POOL_BYTES)..][..self.value_bytes]);
        self.protocol.request(&key, value, out);
    }
}

/// A socket that never blocks.
pub struct Connection {
    socket: TcpStream,
    protocol: Protocol,
    out: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    /// When each request without a reply was due.
    due: VecDeque<Instant>,
}

impl Connection {
    pub fn open(address: &str, protocol: Protocol) -> io::Result<Connection> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Connection { socket, protocol, out: Vec::new(), written: 0, input: Vec::new(), due: VecDeque::new() })
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
        while let Some(Reply { length, is_error }) = self.protocol.reply(&self.input[begin..])? {
            begin += length;
            let due = self.due.pop_front().ok_or_else(|| strange("a reply that nobody asked for"))?;
            reply(due, is_error);
        }
        self.input.drain(..begin);
        Ok(())
    }
}

fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

const POOL_BYTES: usize = 1 << 20;
