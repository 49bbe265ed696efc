//! Runs files of envelopes made by elastickv's own code: opened, or refused with the class that the file names.

use std::io::Read;

/// What a file's vectors said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Vectors that did as the file says.
    pub passed: usize,
    /// Vectors that did not, and node ids that differ.
    pub failed: usize,
    /// One for each failure: its name and what differed.
    pub lines: Vec<String>,
}

/// The file says nothing that can be run.
#[derive(Debug, thiserror::Error)]
pub enum VectorsError {
    /// It cannot be read, or is no gzip stream although it begins like one.
    #[error("read vectors")]
    Read(#[source] std::io::Error),
    /// It is larger than a file of vectors may be.
    #[error("more than {bytes_max} bytes of vectors")]
    TooLarge {
        /// The bound, unpacked.
        bytes_max: u64,
    },
    /// It is not of the expected form.
    #[error("parse vectors")]
    Parse(#[source] serde_json::Error),
}

/// Runs every vector of a JSON file, gzipped or not.
///
/// # Errors
/// [`VectorsError`] if there is nothing to run; a vector that fails is no error but a line of the report.
pub fn run(reader: impl Read) -> Result<Report, VectorsError> {
    let _ = reader;
    todo!()
}
