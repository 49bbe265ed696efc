//! `sealkv load`: the commands of a dump, sent to a node that runs as a client of it.
//!
//! Commands go out in batches and every reply is read. What is answered with `TRYAGAIN` is sent again; any other error is named,
//! counted, and the load goes on. Memory holds one batch.

use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use crate::cli;
use crate::cli::dump_end;
use crate::cli::request;
use crate::cli::request::first_line;
use crate::exit::Blame;
use crate::exit::chain;
use crate::limits::ARGUMENTS_MAX;
use crate::limits::BULK_BYTES_MAX;

/// Where the rows go.
#[derive(Clone, Debug)]
pub struct LoadTarget {
    /// The node's client address.
    pub address: String,
    /// File whose first line is its clients' password.
    pub password_file: Option<PathBuf>,
    /// The input was made by something else than `sealkv dump`: it has no last command that says how many rows there are.
    pub is_without_end: bool,
}

#[derive(Debug, thiserror::Error)]
enum LoadToolError {
    #[error("{address}")]
    Connect {
        address: String,
        #[source]
        source: io::Error,
    },
    #[error("{path}")]
    Password {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("the node refuses: {0}")]
    Refused(String),
    #[error("the connection to the node broke: how much of the last batch was done is not known")]
    Broken(#[source] io::Error),
    #[error("standard input")]
    Input(#[source] io::Error),
    #[error("standard input, behind {commands} commands: {what}")]
    NotACommand { commands: u64, what: &'static str },
    #[error(
        "standard input is no whole dump: it ends behind {sets} rows without the last command of sealkv dump. \
         What was sent stays; --without-end takes input of another maker"
    )]
    Cut { sets: u64 },
    #[error("the dump has {sets} rows, its last command says {rows}")]
    Count { sets: u64, rows: u64 },
    #[error("the dump was made of a damaged node: {troubles} things could not be read, its other rows are loaded")]
    Lacking { troubles: u64 },
    #[error("the node does not take more: it said TRYAGAIN for {}", humantime(RETRY_FOR))]
    TryAgain,
}

impl LoadToolError {
    fn blame(&self) -> Blame {
        match self {
            LoadToolError::Connect { .. } | LoadToolError::Password { .. } | LoadToolError::Refused(_) => Blame::Config,
            LoadToolError::NotACommand { .. } => Blame::Config,
            LoadToolError::Broken(_)
            | LoadToolError::Input(_)
            | LoadToolError::Cut { .. }
            | LoadToolError::Count { .. }
            | LoadToolError::Lacking { .. }
            | LoadToolError::TryAgain => Blame::Damage,
        }
    }
}

/// Sends what standard input holds. 0 if every command was answered without an error, 74 or 78 otherwise.
#[must_use]
pub fn run(target: &LoadTarget) -> ExitCode {
    let mut load = match Load::connect(target) {
        Ok(load) => load,
        Err(error) => return ended(&error),
    };
    let input = &mut BufReader::with_capacity(BATCH_BYTES, io::stdin().lock());
    let rows = match load.all(input).and_then(|end| end.check(target.is_without_end)) {
        Ok(rows) => rows,
        Err(error) => {
            cli::say(&format!("{} commands were answered, {} of them with errors", load.answered, load.errors));
            return ended(&error);
        }
    };
    cli::say(&format!("loaded {rows} rows, {} errors", load.errors));
    if load.errors > 0 { Blame::Damage.into() } else { ExitCode::SUCCESS }
}

fn ended(error: &LoadToolError) -> ExitCode {
    cli::say(&format!("sealkv: {}", chain(error)));
    error.blame().into()
}

/// How the input ended.
struct InputEnd {
    sets: u64,
    /// Rows and troubles, if the last command said them.
    said: Option<(u64, u64)>,
}

impl InputEnd {
    /// How many rows were sent.
    fn check(&self, is_without_end: bool) -> Result<u64, LoadToolError> {
        let sets = self.sets;
        match self.said {
            None if is_without_end => Ok(sets),
            None => Err(LoadToolError::Cut { sets }),
            Some((rows, _)) if rows != sets => Err(LoadToolError::Count { sets, rows }),
            Some((_, 0)) => Ok(sets),
            Some((_, troubles)) => Err(LoadToolError::Lacking { troubles }),
        }
    }
}

struct Load {
    replies: BufReader<TcpStream>,
    answered: u64,
    errors: u64,
}

impl Load {
    fn connect(target: &LoadTarget) -> Result<Load, LoadToolError> {
        let connect = |source| LoadToolError::Connect { address: target.address.clone(), source };
        let stream = TcpStream::connect(&target.address).map_err(connect)?;
        stream.set_nodelay(true).map_err(connect)?;
        stream.set_read_timeout(Some(REPLY_PATIENCE)).map_err(connect)?;
        let mut load = Load { replies: BufReader::new(stream), answered: 0, errors: 0 };
        if let Some(path) = &target.password_file {
            let password = first_line(path)
                .map_err(|source| LoadToolError::Password { path: path.display().to_string(), source })?;
            load.must(&request::command(&[b"AUTH", &password]))?;
        }
        load.must(b"*1\r\n$4\r\nPING\r\n")?;
        Ok(load)
    }

    /// One command that has to succeed.
    fn must(&mut self, command: &[u8]) -> Result<(), LoadToolError> {
        self.replies.get_mut().write_all(command).map_err(LoadToolError::Broken)?;
        match self.reply().map_err(LoadToolError::Broken)? {
            Some(error) => Err(LoadToolError::Refused(error)),
            None => Ok(()),
        }
    }

    fn all(&mut self, input: &mut impl BufRead) -> Result<InputEnd, LoadToolError> {
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        let mut read = 0;
        let mut end = InputEnd { sets: 0, said: None };
        while let Some(command) = next_command(input, read)? {
            read += 1;
            end.said = dump_end::decode(&command);
            end.sets += u64::from(is_set(&command));
            // A command that changes what the next ones mean goes alone: what is sent again must mean the same.
            let is_alone = !is_set(&command);
            if is_alone {
                self.send(std::mem::take(&mut batch))?;
                bytes = 0;
            }
            bytes += command.len();
            batch.push(command);
            if is_alone || batch.len() >= BATCH_COMMANDS || bytes >= BATCH_BYTES {
                self.send(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        self.send(batch)?;
        Ok(end)
    }

    /// Sends commands until each has an answer that is not TRYAGAIN.
    fn send(&mut self, mut batch: Vec<Vec<u8>>) -> Result<(), LoadToolError> {
        let until = Instant::now() + RETRY_FOR;
        while !batch.is_empty() {
            self.replies.get_mut().write_all(&batch.concat()).map_err(LoadToolError::Broken)?;
            let mut again = Vec::new();
            for command in batch {
                match self.reply().map_err(LoadToolError::Broken)? {
                    Some(error) if error.starts_with("TRYAGAIN") => again.push(command),
                    Some(error) => {
                        self.answered += 1;
                        self.errors += 1;
                        if self.errors <= ERRORS_SAID {
                            cli::say(&format!("sealkv: command {}: {error}", self.answered));
                        }
                    }
                    None => self.answered += 1,
                }
            }
            batch = again;
            if !batch.is_empty() {
                if Instant::now() >= until {
                    return Err(LoadToolError::TryAgain);
                }
                sleep(RETRY_PAUSE);
            }
        }
        Ok(())
    }

    /// The next reply; its text if it is an error.
    fn reply(&mut self) -> io::Result<Option<String>> {
        let mut parts: u64 = 1;
        let mut error = None;
        while parts > 0 {
            parts -= 1;
            let mut line = Vec::new();
            (&mut self.replies).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            let text = line.strip_suffix(b"\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
            let (kind, rest) = text.split_first().ok_or(io::ErrorKind::InvalidData)?;
            let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
            match kind {
                b'-' => error = Some(String::from_utf8_lossy(rest).into_owned()),
                b'$' => {
                    let len = u64::try_from(number().ok_or(io::ErrorKind::InvalidData)?).map_or(0, |len| len + 2);
                    io::copy(&mut (&mut self.replies).take(len), &mut io::sink())?;
                }
                b'*' => parts += u64::try_from(number().ok_or(io::ErrorKind::InvalidData)?).unwrap_or(0),
                b'+' | b':' => {}
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(error)
    }
}

/// The bytes of the next command, as they stand; `None` at the end of the input.
fn next_command(input: &mut impl BufRead, commands: u64) -> Result<Option<Vec<u8>>, LoadToolError> {
    let wrong = |what| LoadToolError::NotACommand { commands, what };
    let mut command = Vec::new();
    if read_line(input, &mut command)? == 0 {
        return Ok(None);
    }
    let count = length(&command, b'*').ok_or_else(|| wrong("expected * and the number of words"))?;
    if count == 0 || count > ARGUMENTS_MAX {
        return Err(wrong("a command has between 1 and 131073 words"));
    }
    for _ in 0..count {
        let begin = command.len();
        read_line(input, &mut command)?;
        let len = length(&command[begin..], b'$').ok_or_else(|| wrong("expected $ and the length of a word"))?;
        if len > BULK_BYTES_MAX {
            return Err(wrong("a word is longer than 16777216 bytes"));
        }
        let begin = command.len();
        input.take(len as u64 + 2).read_to_end(&mut command).map_err(LoadToolError::Input)?;
        if command.len() != begin + len + 2 || !command.ends_with(b"\r\n") {
            return Err(wrong("a word ends before its length"));
        }
    }
    Ok(Some(command))
}

fn read_line(input: &mut impl BufRead, out: &mut Vec<u8>) -> Result<usize, LoadToolError> {
    input.take(LINE_BYTES_MAX).read_until(b'\n', out).map_err(LoadToolError::Input)
}

/// The number in a line such as `*3`.
fn length(line: &[u8], kind: u8) -> Option<usize> {
    let digits = line.strip_prefix(&[kind])?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn is_set(command: &[u8]) -> bool {
    let behind_count = command.iter().position(|byte| *byte == b'\n').map_or(&[][..], |end| &command[end + 1..]);
    behind_count.get(..9).is_some_and(|word| word.eq_ignore_ascii_case(b"$3\r\nSET\r\n"))
}

fn humantime(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// What is sent before the replies are read: replies of as many SETs fit every socket buffer.
const BATCH_COMMANDS: usize = 1000;
const BATCH_BYTES: usize = 256 << 10;
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 << 10;
const REPLY_PATIENCE: Duration = Duration::from_secs(60);
const RETRY_FOR: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Errors that are shown one by one; all are counted.
const ERRORS_SAID: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(mut input: &[u8]) -> Result<Vec<Vec<u8>>, LoadToolError> {
        let mut found = Vec::new();
        while let Some(command) = next_command(&mut input, found.len() as u64)? {
            found.push(command);
        }
        Ok(found)
    }

    #[test]
    fn a_dump_is_cut_into_its_commands_and_anything_else_is_named() {
        let one = request::command(&[b"SET", b"k", b"with\r\nlines"]);
        let two = request::command(&[b"SELECT", b"3"]);
        assert_eq!(commands(&[&one[..], &two].concat()).unwrap(), [one.clone(), two.clone()]);
        assert!(is_set(&one) && !is_set(&two));
        let wrong: [(&[u8], &str); 6] = [
            (b"SET k v\r\n", "expected *"),
            (b"*0\r\n", "between 1 and 131073"),
            (b"*1\r\nPING\r\n", "expected $"),
            (b"*1\r\n$99999999\r\n", "longer than 16777216"),
            (b"*1\r\n$4\r\nPI", "before its length"),
            (b"*1\r\n$4\r\nPINGxx", "before its length"),
        ];
        for (bytes, words) in wrong {
            let error = commands(&[&one[..], bytes].concat()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("behind 1 commands"), "{error}");
        }
        assert_eq!(ARGUMENTS_MAX, 131_073);
        assert_eq!(BULK_BYTES_MAX, 16_777_216);
    }
}
