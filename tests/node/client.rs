//! A RESP2 client small enough to see through: what was sent, what was acknowledged, byte for byte.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
}

impl Reply {
    pub fn ok() -> Reply {
        Reply::Simple("OK".to_owned())
    }

    pub fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(bytes.as_ref().to_vec())
    }
}

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        Client::try_connect(port).unwrap()
    }

    /// For nodes that may have ended since they said where they listen.
    pub fn try_connect(port: u16) -> io::Result<Client> {
        Client::try_connect_to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// The same on any address, where nobody may answer.
    pub fn try_connect_to(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Client { stream, buffer: Vec::new(), at: 0 })
    }

    /// One command and its reply.
    pub fn call(&mut self, args: &[&[u8]]) -> Reply {
        self.try_call(args).unwrap()
    }

    pub fn try_call(&mut self, args: &[&[u8]]) -> io::Result<Reply> {
        self.send(&encode(args))?;
        self.reply()
    }

    /// One command given as words.
    pub fn words(&mut self, line: &str) -> Reply {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.call(&args)
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The same connection, for a thread that only sends.
    pub fn clone_stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let rest = String::from_utf8_lossy(&line[1..]).into_owned();
        let count = || rest.parse::<i64>().map_err(|_| io::Error::other(format!("bad number {rest:?}")));
        match line[0] {
            b'+' => Ok(Reply::Simple(rest)),
            b'-' => Ok(Reply::Error(rest)),
            b':' => Ok(Reply::Integer(count()?)),
            b'$' => match count()? {
                -1 => Ok(Reply::Null),
                length => {
                    let mut bytes = self.exactly(usize::try_from(length).unwrap() + 2)?;
                    assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
                    Ok(Reply::Bulk(bytes))
                }
            },
            b'*' => (0..count()?).map(|_| self.reply()).collect::<io::Result<_>>().map(Reply::Array),
            other => Err(io::Error::other(format!("bad type byte {other:#x}"))),
        }
    }

    /// True once the peer has closed the connection, with nothing more to read.
    pub fn is_closed(&mut self) -> bool {
        self.at == self.buffer.len() && matches!(self.fill(), Err(e) if e.kind() != io::ErrorKind::WouldBlock)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer[self.at..].windows(2).position(|w| w == b"\r\n") {
                let line = self.buffer[self.at..self.at + end].to_vec();
                self.at += end + 2;
                return Ok(line);
            }
            self.fill()?;
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() - self.at < length {
            self.fill()?;
        }
        let bytes = self.buffer[self.at..self.at + length].to_vec();
        self.at += length;
        Ok(bytes)
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        let mut chunk = [0; 65536];
        match self.stream.read(&mut chunk)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(())
            }
        }
    }
}

/// A command as RESP.
pub fn encode(args: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}
