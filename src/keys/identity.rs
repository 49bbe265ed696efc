//! IDENTITY: who a node is, which cluster it belongs to, and the wrapped key of its log if the log is sealed.
//!
//! ```text
//! off  size  field
//! 0    8     magic "SKVIDENT"
//! 8    4     format version of this file, 1
//! 12   4     format version of the log
//! 16   4     format version of the state
//! 20   8     node id, not 0
//! 28   16    cluster id
//! 44   4     slots that the log was made with
//! 48   1     1 = the log is sealed, 0 = it is not
//! 49   68    the wrapped log key, only if the log is sealed
//! end        sealed: HMAC-SHA256 (32) under HKDF(log key, "", "sealkv identity"); else CRC32C (4); over all before it
//! ```
//!
//! The log key's AAD is `"sealkv log" | kek_id(8) | cluster(16) | node(16)`, the node id as in the log's headers. Only
//! this file says whether the log is sealed: a sealed directory needs its KEK for ever, one in the clear refuses any.

use zeroize::Zeroizing;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::derive::MAC_LEN;
use crate::crypto::derive::derive;
use crate::crypto::derive::hmac_sha256;
use crate::crypto::derive::hmac_verify;
use crate::crypto::keystore::Dek;
use crate::crypto::wrap::KekId;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::exit::Blame;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::keys::kek::KekSet;
use crate::keys::kek::UnwrapError;
use crate::world::Entropy;
use crate::world::random_array;

/// Format version of the log that this program reads and writes.
pub const LOG_FORMAT: u32 = 2;
/// Format version of the state that this program reads and writes.
pub const STATE_FORMAT: u32 = 3;
/// Longest IDENTITY.
pub const IDENTITY_LEN_MAX: usize = SEALED_LEN;

/// Why an IDENTITY is not accepted. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Damage: not what this program writes.
    #[error("IDENTITY is damaged, it {0}")]
    Damaged(CodecError),
    /// Damage: the checksum or the MAC at its end is wrong, or the wrapped log key does not open under its KEK.
    #[error("IDENTITY is damaged or forged: {what} is wrong")]
    Unauthentic {
        /// Which part.
        what: &'static str,
    },
    /// Operator: written by another version of this program.
    #[error(
        "IDENTITY says {what} format {found}, this program has {expected}: start the version that wrote it, or begin with an \
         empty directory and load the data again"
    )]
    Format {
        /// Which format.
        what: &'static str,
        /// In the file.
        found: u32,
        /// This program's.
        expected: u32,
    },
    /// Operator: the log is sealed.
    #[error("this data directory is sealed and no KEK is configured: give it the KEK {wrapped_by}")]
    KekMissing {
        /// The KEK that is needed.
        wrapped_by: KekId,
    },
    /// Operator: the log is sealed with another KEK.
    #[error(
        "IDENTITY says that this data directory is sealed with the KEK {wrapped_by}, the one that is given is {given}"
    )]
    OtherKek {
        /// The KEK that is needed.
        wrapped_by: KekId,
        /// The KEK that was given.
        given: KekId,
    },
    /// Operator: the log is not sealed, and never will be.
    #[error(
        "this data directory was made without a KEK: start it with --encryption off and no KEK, or begin a new directory with one and copy the data over"
    )]
    KekForClear,
}

impl IdentityError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            IdentityError::Damaged(_) | IdentityError::Unauthentic { .. } => Blame::Damage,
            IdentityError::Format { .. }
            | IdentityError::KekMissing { .. }
            | IdentityError::OtherKek { .. }
            | IdentityError::KekForClear => Blame::Config,
        }
    }
}

/// What a node is. Set at the first start, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its Raft id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Slots that the log was made with; there are never fewer.
    pub log_slots: u32,
}

/// The key of a node's log frames. Wiped on drop, never printed.
pub struct LogKey {
    key: Dek,
    wrapped: [u8; WRAPPED_LEN],
}

impl LogKey {
    /// A fresh one, wrapped by the first KEK; `None` without a KEK.
    #[must_use]
    pub fn make(keks: &KekSet, node: NodeId, cluster: ClusterId, entropy: &dyn Entropy) -> Option<LogKey> {
        let kek = keks.first()?;
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(&mut bytes[..]);
        let key = Dek::new(&bytes);
        let nonce = random_array::<NONCE_LEN>(entropy);
        let wrapped = kek.wrap(nonce, LOG_LABEL, &[&cluster.0, &node.to_bytes()], &key);
        Some(LogKey { key, wrapped })
    }

    /// The bytes, for the log to derive its segment keys from.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        self.key.expose()
    }

    fn mac_key(&self) -> Zeroizing<[u8; KEY_LEN]> {
        derive(self.expose(), b"", "sealkv identity", &[])
    }
}

debug_fields!(self: LogKey {});

impl Identity {
    /// The file drawn above.
    #[must_use]
    pub fn encode(&self, log_key: Option<&LogKey>) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEALED_LEN);
        out.extend_from_slice(MAGIC);
        for version in [IDENTITY_FORMAT, LOG_FORMAT, STATE_FORMAT] {
            out.extend_from_slice(&version.to_be_bytes());
        }
        out.extend_from_slice(&self.node.value().to_be_bytes());
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.log_slots.to_be_bytes());
        out.push(u8::from(log_key.is_some()));
        match log_key {
            Some(log_key) => {
                out.extend_from_slice(&log_key.wrapped);
                let tag = hmac_sha256(&log_key.mac_key(), &[&out]);
                out.extend_from_slice(&tag);
            }
            None => {
                let sum = crc32c::crc32c(&out);
                out.extend_from_slice(&sum.to_be_bytes());
            }
        }
        out
    }

    /// Reads a file, unwraps its log key and verifies it.
    ///
    /// # Errors
    /// [`IdentityError`]: the node must not start.
    pub fn open(bytes: &[u8], keks: &KekSet) -> Result<(Identity, Option<LogKey>), IdentityError> {
        let mut reader = Reader::new(bytes);
        check_formats(&mut reader)?;
        let fields = Fields::read(reader).map_err(IdentityError::Damaged)?;
        let identity = fields.identity;
        match fields.wrapped {
            None => {
                let (body, sum) = bytes.split_last_chunk::<CRC_LEN>().expect("its length was checked");
                if crc32c::crc32c(body) != u32::from_be_bytes(*sum) {
                    return Err(IdentityError::Unauthentic { what: "its checksum" });
                }
                if keks.is_empty() { Ok((identity, None)) } else { Err(IdentityError::KekForClear) }
            }
            Some(wrapped) => {
                let aad: [&[u8]; 2] = [&identity.cluster.0, &identity.node.to_bytes()];
                let key = keks.unwrap(LOG_LABEL, &aad, &wrapped).map_err(|error| match error {
                    UnwrapError::NoKek { wrapped_by } => IdentityError::KekMissing { wrapped_by },
                    UnwrapError::OtherKek { wrapped_by, given } => IdentityError::OtherKek { wrapped_by, given },
                    UnwrapError::Unauthentic { .. } => IdentityError::Unauthentic { what: "its wrapped log key" },
                })?;
                let log_key = LogKey { key, wrapped };
                let (body, tag) = bytes.split_last_chunk::<MAC_LEN>().expect("its length was checked");
                if !hmac_verify(&log_key.mac_key(), &[body], tag) {
                    return Err(IdentityError::Unauthentic { what: "its MAC" });
                }
                Ok((identity, Some(log_key)))
            }
        }
    }
}

/// What stands behind the format versions, not verified yet.
struct Fields {
    identity: Identity,
    wrapped: Option<[u8; WRAPPED_LEN]>,
}

impl Fields {
    fn read(mut reader: Reader<'_>) -> Result<Fields, CodecError> {
        let node = NodeId::new(reader.u64("node id")?).ok_or(CodecError::Field { field: "node id" })?;
        let cluster = ClusterId(reader.array("cluster id")?);
        let log_slots = reader.u32("number of log slots")?;
        let is_sealed = reader.flag("sealed flag")?;
        let wrapped = if is_sealed { Some(reader.array("wrapped log key")?) } else { None };
        if is_sealed {
            reader.array::<MAC_LEN>("MAC")?;
        } else {
            reader.array::<CRC_LEN>("checksum")?;
        }
        reader.end()?;
        Ok(Fields { identity: Identity { node, cluster, log_slots }, wrapped })
    }
}

/// Versions before anything else: what lies behind them is another version's business.
fn check_formats(reader: &mut Reader<'_>) -> Result<(), IdentityError> {
    if reader.array("magic").map_err(IdentityError::Damaged)? != *MAGIC {
        return Err(IdentityError::Damaged(CodecError::Field { field: "magic" }));
    }
    let formats = [("identity", IDENTITY_FORMAT), ("log", LOG_FORMAT), ("state", STATE_FORMAT)];
    for (what, expected) in formats {
        let found = reader.u32("format version").map_err(IdentityError::Damaged)?;
        if found != expected {
            return Err(IdentityError::Format { what, found, expected });
        }
    }
    Ok(())
}

const MAGIC: &[u8; 8] = b"SKVIDENT";
const IDENTITY_FORMAT: u32 = 1;
const LOG_LABEL: &str = "sealkv log";
const CRC_LEN: usize = 4;
const HEAD_LEN: usize = 8 + 3 * 4 + 8 + 16 + 4 + 1;
const SEALED_LEN: usize = HEAD_LEN + WRAPPED_LEN + MAC_LEN;
