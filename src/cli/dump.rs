//! `sealkv dump`: the rows of a node that does not run, as commands that `sealkv load` and `redis-cli --pipe` take.
//!
//! What does not open is named on standard error and passed over; the exit status is 74 then. Nothing in the directory changes.

use std::io;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::cli;
use crate::cli::dump_end;
use crate::cli::request;
use crate::exit::Blame;
use crate::exit::chain;
use crate::fsm::contents::Content;
use crate::fsm::contents::OpenedRow;
use crate::fsm::name::Database;
use crate::fsm::opening::ReadError;
use crate::node::stopped::StoppedNode;
use crate::world::World;

/// Writes every row of the node in `data_dir` to standard output.
#[must_use]
pub fn run(data_dir: &Path, kek_file: Option<&Path>) -> ExitCode {
    let node = match StoppedNode::open(data_dir, kek_file) {
        Ok(node) => node,
        Err(error) => {
            cli::say(&format!("sealkv: {}", chain(&error)));
            return error.blame().into();
        }
    };
    let out = io::BufWriter::with_capacity(OUTPUT_BUFFER_BYTES, io::stdout().lock());
    let now_ms = World::real().clock.wall_ms();
    let lead_ms = node.view().stamp_ms.saturating_sub(now_ms);
    let mut dump = Dump { out, database: Database::FIRST, now_ms, lead_ms, rows: 0, past_due: 0, troubles: 0 };
    node.missing.iter().for_each(|missing| dump.say(missing));
    let mut written = Ok(());
    node.each(&mut |content| {
        written = dump.take(content);
        written.is_ok()
    });
    if let Err(error) = written.and_then(|()| dump.end()) {
        cli::say(&format!("sealkv: standard output: {error}"));
        return Blame::Damage.into();
    }
    let Dump { rows, past_due, troubles, .. } = dump;
    cli::say(&format!("dumped {rows} rows, left out {past_due} past due, {troubles} things could not be read"));
    if troubles > 0 { Blame::Damage.into() } else { ExitCode::SUCCESS }
}

struct Dump<W> {
    out: W,
    /// That the commands so far have selected.
    database: Database,
    now_ms: u64,
    /// By how much deadlines lead the wall clock.
    lead_ms: u64,
    rows: u64,
    past_due: u64,
    troubles: u64,
}

impl<W: Write> Dump<W> {
    fn take(&mut self, content: Content) -> io::Result<()> {
        match content {
            Content::Row(row) => match self.put(&row) {
                Err(PutError::Output(error)) => return Err(error),
                Err(PutError::Row(error)) => self.say_shut(&row, &error),
                Ok(()) => {}
            },
            Content::Shut(name, error) => {
                self.say(&format!("row {} does not open: {}", hex::encode(name.as_bytes()), chain(&error)));
            }
            Content::Lost(names, why) => {
                let (first, last) = (hex::encode(names.start().as_bytes()), hex::encode(names.end().as_bytes()));
                self.say(&format!("rows from {first} to {last} cannot be read: {why}"));
            }
        }
        Ok(())
    }

    /// The last command; without it a load knows that the dump was cut.
    fn end(&mut self) -> io::Result<()> {
        self.out.write_all(&dump_end::encode(self.rows, self.troubles))?;
        self.out.flush()
    }

    fn put(&mut self, row: &OpenedRow) -> Result<(), PutError> {
        let (key, value) = row.decode().map_err(PutError::Row)?;
        if value.is_past_due(self.now_ms + self.lead_ms) {
            self.past_due += 1;
            return Ok(());
        }
        let database = row.name.database();
        if database != self.database {
            let number = database.number().to_string();
            self.command(&[b"SELECT", number.as_bytes()])?;
            self.database = database;
        }
        let deadline = value.expire_at_ms.saturating_sub(self.lead_ms).to_string();
        match value.expire_at_ms {
            0 => self.command(&[b"SET", &key, &value.bytes])?,
            _ => self.command(&[b"SET", &key, &value.bytes, b"PXAT", deadline.as_bytes()])?,
        }
        self.rows += 1;
        Ok(())
    }

    fn command(&mut self, words: &[&[u8]]) -> Result<(), PutError> {
        request::put(words, &mut self.out).map_err(PutError::Output)
    }

    fn say_shut(&mut self, row: &OpenedRow, error: &ReadError) {
        self.say(&format!("row {} does not open: {}", hex::encode(row.name.as_bytes()), chain(error)));
    }

    /// Names something that is not in the dump.
    fn say(&mut self, line: &str) {
        self.troubles += 1;
        cli::say(&format!("sealkv: {line}"));
    }
}

enum PutError {
    Output(io::Error),
    Row(ReadError),
}

const OUTPUT_BUFFER_BYTES: usize = 256 << 10;
