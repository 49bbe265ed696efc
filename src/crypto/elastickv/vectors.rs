//! Runs files of envelopes made by elastickv's own code: opened, or refused with the class that the file names.
//!
//! ```text
//! {"node_ids": [{"raft_id", "node_id", "node_id16"}], "source": "..",
//!  "vectors": [{"name", "kind": "raft" | "storage", "dek", "key_id", "nonce", "aad", "plaintext", "envelope", "open",
//!               raft: "proposal_id", "entry_data"; storage: "value_header", "store_key"}]}
//! ```
//!
//! Bytes are hex. `open` is `ok`, `short`, `version` (anything but 0x01), `unknown_key` (another id than `key_id`) or
//! `integrity`. One with `ok` must also give its envelope when sealed with its nonce.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use crate::crypto::elastickv::envelope;
use crate::crypto::elastickv::envelope::ValuePlace;
use crate::crypto::elastickv::envelope::unplaced_aad;
use crate::crypto::elastickv::nonce::full_node_id;
use crate::crypto::elastickv::nonce::nonce_node_id;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::Dek;
use crate::ids::KeyId;
use crate::ids::ProposalId;
use crate::limits::VECTORS_BYTES_MAX;

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
    let bytes = read_bounded(reader)?;
    let file: VectorFile = serde_json::from_slice(&bytes).map_err(VectorsError::Parse)?;
    let mut report = Report::default();
    for vector in &file.vectors {
        match vector.check() {
            Ok(()) => report.passed += 1,
            Err(cause) => report.fail(&vector.name, cause),
        }
    }
    for node in &file.node_ids {
        let full = full_node_id(&node.raft_id).unwrap_or(0);
        if full != node.node_id || nonce_node_id(full) != node.node_id16 {
            report.fail(&node.raft_id, Cause::NodeId);
        }
    }
    Ok(report)
}

impl Report {
    fn fail(&mut self, name: &str, cause: Cause) {
        self.failed += 1;
        self.lines.push(format!("{name}: {cause}"));
    }
}

/// What differed from the file.
#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
    #[error("kind {0} is unknown")]
    Kind(String),
    #[error("class {0} is unknown")]
    Class(String),
    #[error("AAD differs")]
    Aad,
    #[error("entry data differs")]
    EntryData,
    #[error("opened to another plaintext")]
    Plaintext,
    #[error("opened, expected {0}")]
    Opened(String),
    #[error("refused ({found}), expected {expected}")]
    Refused { found: OpenError, expected: String },
    #[error("sealed to another envelope")]
    Sealed,
    #[error("node id differs")]
    NodeId,
}

#[derive(Deserialize)]
struct VectorFile {
    #[serde(default)]
    node_ids: Vec<NodeIdVector>,
    vectors: Vec<EnvelopeVector>,
}

#[derive(Deserialize)]
struct NodeIdVector {
    raft_id: String,
    node_id: u64,
    node_id16: u16,
}

#[derive(Deserialize)]
struct EnvelopeVector {
    name: String,
    kind: String,
    dek: String,
    key_id: u32,
    nonce: String,
    aad: String,
    plaintext: String,
    envelope: String,
    open: String,
    proposal_id: Option<u64>,
    entry_data: Option<String>,
    value_header: Option<String>,
    store_key: Option<String>,
}

impl EnvelopeVector {
    fn check(&self) -> Result<(), Cause> {
        let dek = Dek::new(&array("dek", &self.dek)?);
        let key_id = KeyId::new(self.key_id).ok_or(Cause::Field("key_id"))?;
        let nonce = array("nonce", &self.nonce)?;
        let plaintext = bytes("plaintext", &self.plaintext)?;
        let envelope = bytes("envelope", &self.envelope)?;
        let aad = bytes("aad", &self.aad)?;
        let (own_aad, opened, sealed) = match self.kind.as_str() {
            "raft" => {
                self.check_entry_data(&envelope)?;
                let opened = envelope::open_entry(&dek, key_id, &envelope);
                (unplaced_aad(key_id).to_vec(), opened, envelope::seal_entry(&dek, key_id, nonce, &plaintext))
            }
            "storage" => {
                let header = array("value_header", self.value_header.as_deref().unwrap_or_default())?;
                let store_key = bytes("store_key", self.store_key.as_deref().ok_or(Cause::Field("store_key"))?)?;
                let place = ValuePlace { header: &header, store_key: &store_key };
                let opened = envelope::open_value(&dek, key_id, place, &envelope);
                (place.aad(key_id), opened, envelope::seal_value(&dek, key_id, nonce, place, &plaintext))
            }
            other => return Err(Cause::Kind(other.to_owned())),
        };
        if own_aad != aad {
            return Err(Cause::Aad);
        }
        self.check_opened(opened, &plaintext)?;
        if self.open == "ok" && sealed != envelope {
            return Err(Cause::Sealed);
        }
        Ok(())
    }

    fn check_opened(&self, opened: Result<Vec<u8>, OpenError>, plaintext: &[u8]) -> Result<(), Cause> {
        if !["ok", "short", "version", "unknown_key", "integrity"].contains(&self.open.as_str()) {
            return Err(Cause::Class(self.open.clone()));
        }
        match opened {
            Ok(text) if self.open != "ok" => drop(text),
            Ok(text) => {
                return if text == plaintext { Ok(()) } else { Err(Cause::Plaintext) };
            }
            Err(found) if class_of(&found) == self.open => return Ok(()),
            Err(found) => {
                return Err(Cause::Refused { found, expected: self.open.clone() });
            }
        }
        Err(Cause::Opened(self.open.clone()))
    }

    fn check_entry_data(&self, envelope: &[u8]) -> Result<(), Cause> {
        let proposal_id = ProposalId(self.proposal_id.ok_or(Cause::Field("proposal_id"))?);
        let data = bytes("entry_data", self.entry_data.as_deref().ok_or(Cause::Field("entry_data"))?)?;
        let frame = EntryFrame { proposal_id, payload: envelope };
        let decoded = EntryFrame::decode(&data).map_err(|_| Cause::EntryData)?;
        if decoded != frame || frame.encode() != data {
            return Err(Cause::EntryData);
        }
        Ok(())
    }
}

fn class_of(error: &OpenError) -> &'static str {
    match error {
        OpenError::EntryFrame { .. } => "malformed",
        OpenError::EnvelopeShort { .. } => "short",
        OpenError::EnvelopeVersion { .. } => "version",
        OpenError::EnvelopeFlag { .. } => "flag",
        OpenError::ReservedKey => "reserved_key",
        OpenError::UnknownKey { .. } => "unknown_key",
        OpenError::Unauthentic { .. } => "integrity",
    }
}

fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, Cause> {
    hex::decode(text).map_err(|_| Cause::Field(field))
}

fn array<const N: usize>(field: &'static str, text: &str) -> Result<[u8; N], Cause> {
    bytes(field, text)?.try_into().map_err(|_| Cause::Field(field))
}

fn read_bounded(reader: impl Read) -> Result<Vec<u8>, VectorsError> {
    let packed = read_up_to(reader)?;
    if packed.starts_with(&GZIP_MAGIC) { read_up_to(MultiGzDecoder::new(&packed[..])) } else { Ok(packed) }
}

fn read_up_to(reader: impl Read) -> Result<Vec<u8>, VectorsError> {
    let mut bytes = Vec::new();
    let bytes_read = reader.take(VECTORS_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(VectorsError::Read)?;
    if bytes_read as u64 > VECTORS_BYTES_MAX {
        return Err(VectorsError::TooLarge { bytes_max: VECTORS_BYTES_MAX });
    }
    Ok(bytes)
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
