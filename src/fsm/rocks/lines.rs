//! RocksDB's log lines on their way to where everything is logged: only what an operator must know, and a line that comes again and
//! again less and less often. On a full disk RocksDB repeats its errors twice a second.

use std::sync::Mutex;
use std::sync::PoisonError;

use rocksdb::InfoLogger;
use rocksdb::LogLevel;

/// Instead of a LOG file that grows with every start.
pub(crate) fn info_log() -> InfoLogger {
    let repeats = Mutex::new(Repeats::default());
    InfoLogger::new_callback_logger(LogLevel::Warn, move |level, line| {
        let level = match level {
            LogLevel::Error | LogLevel::Fatal => tracing::Level::ERROR,
            LogLevel::Warn if !is_usual(line) => tracing::Level::WARN,
            // Headers, its list of hundreds of options at every open, come whatever level is asked for.
            LogLevel::Header | LogLevel::Info | LogLevel::Debug | LogLevel::Warn => tracing::Level::TRACE,
        };
        let line = shortened(line);
        let count = match level {
            tracing::Level::TRACE => None,
            _ => repeats.lock().unwrap_or_else(PoisonError::into_inner).count(line),
        };
        match (level, count) {
            (tracing::Level::ERROR, Some(count)) => tracing::error!(target: "rocksdb", count, "{line}"),
            (tracing::Level::WARN, Some(count)) => tracing::warn!(target: "rocksdb", count, "{line}"),
            _ => tracing::trace!(target: "rocksdb", "{line}"),
        }
    })
}

/// How often lines came that differ in their numbers alone.
#[derive(Default)]
struct Repeats(Vec<(String, u64)>);

impl Repeats {
    /// How often the line has come by now, if that is to be said: the first, second, fourth, eighth time and so on.
    fn count(&mut self, line: &str) -> Option<u64> {
        let shape: String = line.chars().filter(|letter| !letter.is_ascii_digit()).collect();
        let known = self.0.iter().position(|(known, _)| *known == shape);
        let (shape, count) = known.map_or((shape, 0), |at| self.0.remove(at));
        if self.0.len() == SHAPES_MAX {
            self.0.remove(0);
        }
        self.0.push((shape, count + 1));
        (count + 1).is_power_of_two().then_some(count + 1)
    }
}

/// What RocksDB warns of at each file that it takes in, and what is so by design: a file of ours has no history of reads, and its name
/// in RocksDB is drawn at the ingest.
fn is_usual(line: &str) -> bool {
    ["Tail prefetch size", "unique ID", "unique id"].iter().any(|words| line.contains(words))
}

/// RocksDB's words. They name files, offsets and at most names of rows, never values; they are cut to be safe.
pub(crate) fn text(error: &rocksdb::Error) -> String {
    shortened(error.as_ref()).to_owned()
}

fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().trim_end()
}

/// Of the newest lines.
const SHAPES_MAX: usize = 32;
/// Longest line that is taken over from RocksDB.
const TEXT_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_a_line_that_comes_again_and_again_is_said_less_and_less_often() {
        let mut repeats = Repeats::default();
        let said: Vec<u64> = (1..=1000).filter_map(|file| repeats.count(&format!("{file}.sst: no space"))).collect();
        assert_eq!(said, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(repeats.count("another line"), Some(1));
        for letter in 'a'..='z' {
            assert_eq!(repeats.count(&letter.to_string().repeat(3)), Some(1));
        }
        assert!(repeats.0.len() <= SHAPES_MAX);
        assert_eq!(repeats.count("7.sst: no space"), None, "what came lately is not forgotten");
    }
}
