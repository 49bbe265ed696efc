//! `sealkv log verify` and `sealkv log dump --json`: the log of a node that does not run, read by the rules of a start.
//!
//! Both only read, from the data directory as it is; the node must be stopped. Memory is bounded whatever the log holds.
//! Exit status 0, or that of a start that is refused for its log: 74 damage, 78 keys or settings. No plaintext is printed.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::disk;
use crate::disk::Disk;
use crate::disk::DiskError;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::exit::Blame;
use crate::exit::chain;
use crate::ids::Index;
use crate::keys::kek;
use crate::keys::kek::KekError;
use crate::keys::kek::KekSet;
use crate::node::datadir::DataDir;
use crate::node::datadir::DataDirError;
use crate::wal::LogConfig;
use crate::wal::WalError;
use crate::wal::inspect;
use crate::wal::inspect::LogPart;
use crate::wal::inspect::LogSummary;
use crate::wal::inspect::Records;
use crate::wal::inspect::SegmentHeader;

/// Where the log is, and the key that opens it.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// The node's data directory.
    pub data_dir: PathBuf,
    /// Its KEK, if the log is sealed.
    pub kek_file: Option<PathBuf>,
}

/// Why a log could not be read to its end.
#[derive(Debug, thiserror::Error)]
enum LogToolError {
    #[error(transparent)]
    Kek(#[from] KekError),
    #[error(transparent)]
    Directory(#[from] DataDirError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("log")]
    Log(#[from] WalError),
    #[error("standard output")]
    Output(#[source] io::Error),
}

impl LogToolError {
    fn blame(&self) -> Blame {
        match self {
            LogToolError::Kek(error) => error.blame(),
            LogToolError::Directory(error) => error.blame(),
            LogToolError::Log(error) => error.blame(),
            LogToolError::Disk(_) | LogToolError::Output(_) => Blame::Damage,
        }
    }
}

/// Reads every frame by the rules of a start, and says what is there or what is wrong where.
#[must_use]
pub fn verify(place: &LogPlace) -> ExitCode {
    ended(opened(place).and_then(|mut log| {
        let summary = log.read(&mut |part| {
            say_progress(&part);
            Ok(())
        })?;
        writeln!(io::stdout(), "{}", verdict(&summary)).map_err(LogToolError::Output)
    }))
}

/// Prints the log as JSON, one object a line: segments, frames, and the entries of each frame.
#[must_use]
pub fn dump(place: &LogPlace) -> ExitCode {
    ended(opened(place).and_then(|mut log| {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let read = log.read(&mut |part| print(&part, &mut out));
        // What was read before a fault is wanted most of all.
        out.flush().map_err(LogToolError::Output)?;
        if let Some(torn) = read?.torn {
            let (file, offset) = (path_of(&disk::slot_name(torn.slot)), torn.offset);
            let line = json!({"type": "unfinished-end", "file": file, "segment": torn.segment, "offset": offset});
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(LogToolError::Output)?;
        }
        Ok(())
    }))
}

struct OpenedLog {
    config: LogConfig,
    disk: Box<dyn Disk>,
    /// Held so that no node starts meanwhile.
    _directory: DataDir,
}

impl OpenedLog {
    fn read(&mut self, each: &mut dyn FnMut(LogPart<'_>) -> io::Result<()>) -> Result<LogSummary, LogToolError> {
        Ok(inspect::read_through(&self.config, self.disk.as_mut(), each)?)
    }
}

fn opened(place: &LogPlace) -> Result<OpenedLog, LogToolError> {
    let keks = KekSet::new(place.kek_file.as_deref().map(kek::from_file).transpose()?.into_iter().collect())?;
    let directory = DataDir::look(&place.data_dir)?;
    let (identity, log_key) = directory.identity(&keks)?;
    let mut config = LogConfig::new(directory.log(), identity.node, identity.cluster);
    config.log_key = log_key.map(|key| Zeroizing::new(*key.expose()));
    let disk = disk::open_to_read(&config.dir)?;
    Ok(OpenedLog { config, disk, _directory: directory })
}

fn ended(result: Result<(), LogToolError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::say(&format!("sealkv: {}", chain(&error)));
            error.blame().into()
        }
    }
}

fn say_progress(part: &LogPart<'_>) {
    if let LogPart::Segment { at, of, .. } = part
        && at % PROGRESS_SEGMENTS == 0
        && *at > 0
    {
        cli::say(&format!("{at} of {of} segments are read"));
    }
}

fn verdict(summary: &LogSummary) -> String {
    let LogSummary { segments, frames, compacted, last, hard_state, torn } = summary;
    let entries = last.0 - compacted.0;
    let mut words = format!(
        "log ok: {segments} segments, {frames} frames, {entries} entries behind index {compacted}, term {}",
        hard_state.term.0
    );
    if let Some(torn) = torn {
        let (slot, offset) = (torn.slot, torn.offset);
        words +=
            &format!(", unfinished end at slot {slot} offset {offset}: it was never acknowledged, a start drops it");
    }
    words
}

fn print(part: &LogPart<'_>, out: &mut impl Write) -> io::Result<()> {
    match part {
        LogPart::Segment { file, header, .. } => writeln!(out, "{}", segment_line(file, header)),
        LogPart::Frame { file, offset, head, body, cutover } => {
            let (kind, verdict) = match body {
                Ok(body) => (kinds(&body.records, !body.entries.is_empty()), "ok".to_owned()),
                Err(reason) => (Vec::new(), reason.to_string()),
            };
            let line = json!({
                "type": "frame", "file": path_of(file), "offset": offset, "length": head.length,
                "segment": head.segment, "frame": head.number, "kind": kind, "verdict": verdict,
            });
            writeln!(out, "{line}")?;
            let entries = body.as_ref().map_or(&[][..], |body| &body.entries);
            entries.iter().try_for_each(|entry| {
                let mut line = entry_line(entry, *cutover);
                (line["segment"], line["frame"]) = (head.segment.into(), head.number.into());
                writeln!(out, "{line}")
            })
        }
    }
}

fn segment_line(file: &str, header: &SegmentHeader) -> Value {
    let SegmentHeader { segment, first_frame, next_index, compacted, hard_state, cutover, .. } = header;
    json!({
        "type": "segment", "file": path_of(file), "segment": segment, "first_frame": first_frame,
        "next_index": next_index.0, "compacted_index": compacted.index.0, "compacted_term": compacted.term.0,
        "term": hard_state.term.0, "vote": hard_state.vote, "commit": hard_state.commit.0,
        "cutover": Some(cutover.0).filter(|_| *cutover != Index::NEVER),
    })
}

/// What can be told of an entry without its leadership key. The frame around it was authentic.
fn entry_line(entry: &LogEntry, cutover: Index) -> Value {
    let LogEntry { term, index, kind, data } = entry;
    let mut line = json!({
        "type": "entry", "index": index.0, "term": term.0, "kind": kind_of(*kind), "bytes": data.len(), "verdict": "ok",
    });
    let is_sealed = *index > cutover && *kind == EntryKind::Normal && !data.is_empty();
    if is_sealed {
        match EntryFrame::decode(data).and_then(|frame| Envelope::parse(frame.payload)) {
            Ok(envelope) => {
                line["version"] = (envelope.version as u8).into();
                line["key_id"] = envelope.key_id.value().into();
                line["nonce"] = hex::encode(envelope.nonce).into();
                line["verdict"] = "not-checked".into();
            }
            Err(_) => line["verdict"] = "malformed".into(),
        }
    }
    line
}

fn kind_of(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Normal => "normal",
        EntryKind::ConfChange => "conf-change",
        EntryKind::ConfChangeV2 => "conf-change-v2",
    }
}

fn kinds(records: &Records, has_entries: bool) -> Vec<&'static str> {
    let all = [
        (has_entries, "entries"),
        (records.trim.is_some(), "trim"),
        (records.reset.is_some(), "reset"),
        (records.hard_state.is_some(), "hard-state"),
        (records.cutover.is_some(), "cutover"),
        (!records.peer_marks.is_empty(), "peer-marks"),
        (records.idle, "idle"),
    ];
    all.into_iter().filter_map(|(present, word)| present.then_some(word)).collect()
}

/// Relative to the data directory.
fn path_of(file: &str) -> String {
    Path::new("log").join(file).display().to_string()
}

/// Segments of 64 MiB between two lines of progress: a second or so of a slow disk.
const PROGRESS_SEGMENTS: usize = 16;
