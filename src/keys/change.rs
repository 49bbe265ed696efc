//! Control commands: what a control entry asks of the keyring, and its bytes.
//!
//! ```text
//! off  size  field
//! 0    1     version, 0x03
//! 1    1     kind
//! 2          body
//!
//! kind 1 bootstrap   2   1   1 = this entry is the cutover too, and names are secret from it on
//!                            2 = it is not; names are secret from it on
//!                            3 = it is not; clients wrote before, names stay as they are
//!                    3   16  cluster id
//!                    19  76  entry DEK, becomes key 1
//!                    95  76  value DEK, becomes key 2
//!                    171 76  MAC key
//!                    247 76  name key
//! kind 2 cutover     2   4   the entry DEK that is active, as the proposer saw it
//! kind 3 opener      2   8   term of the leader that published it
//!                    10  32  salt of its leadership key, kernel-random
//! kind 4 rotate      2   4   id of the new DEK: the keyring's next
//!                    6   1   purpose: 1 entry, 2 value
//!                    7   76  the new DEK
//! kind 5 retire      2   4   the DEK to retire
//! kind 6 names       2   32  clear name key, not all zeros: drawn by the first leader of several founders without keys
//!
//! a new key          0   8   check value, HKDF(key, "", "sealkv check")
//!                    8   68  wrapped by a KEK, as drawn in `crypto/wrap.rs`
//! ```
//!
//! What an existing version and kind does never changes. Nothing here is secret: wraps are opaque, the salt is public, and
//! the clear name key is for clusters without keys.

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::derive::CHECK_LEN;
use crate::crypto::keystore::Purpose;
use crate::crypto::names::ClearNameKey;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::ids::ClusterId;
use crate::ids::KeyId;
use crate::ids::Term;

/// Longest control command: a bootstrap.
pub const CHANGE_LEN_MAX: usize = 3 + 16 + 4 * NEW_KEY_LEN;

/// What a control entry asks of the keyring. Whether it applies is [`crate::keys::rules::decide`]'s answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first keys of a cluster.
    Bootstrap(Box<Bootstrap>),
    /// Everything behind this entry is sealed.
    Cutover(SetCutover),
    /// The salt of a leadership key.
    Opener(PublishOpener),
    /// A new active DEK.
    Rotate(Rotate),
    /// A DEK that nothing needs any more is given up.
    Retire(Retire),
    /// What rows are named with in a cluster without keys.
    Names(ClearNameKey),
}

/// A key as it travels: wrapped, and a value that tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// `HKDF(key, "", "sealkv check")`.
    pub check: [u8; CHECK_LEN],
    /// Wrapped by a KEK.
    pub wrapped: [u8; WRAPPED_LEN],
}

/// What follows from a bootstrap beside the keys. Its proposer decides that and the entry says it: what a disk holds beside the
/// log decides nothing, since nobody signs the state before there are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum BootstrapKind {
    /// Everything behind the entry is sealed, and names are secret; a no-op with an error if a client command was applied before.
    Cutover = 1,
    /// Entries stay in the clear, names are secret.
    SecretNames = 2,
    /// Clients wrote before. Entries stay in the clear, and names as they are, because rows are found by them.
    ClearNames = 3,
}

/// The first keys of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// What follows from it.
    pub kind: BootstrapKind,
    /// The cluster whose keys these are.
    pub cluster: ClusterId,
    /// Becomes key 1.
    pub entry: NewKey,
    /// Becomes key 2.
    pub value: NewKey,
    /// Authenticates the state record.
    pub mac: NewKey,
    /// Names users' rows, unless the kind leaves names as they are.
    pub name: NewKey,
}

/// Everything behind this entry is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetCutover {
    /// The entry DEK that the proposer saw active.
    pub entry_key: KeyId,
}

/// The salt of a leadership key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishOpener {
    /// The leader's term; must be the entry's.
    pub term: Term,
    /// 32 kernel-random bytes.
    pub salt: [u8; SALT_LEN],
}

/// A new active DEK; the old one only opens from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotate {
    /// Its id: the keyring's next.
    pub key_id: KeyId,
    /// Which active DEK it replaces.
    pub purpose: Purpose,
    /// The key.
    pub key: NewKey,
}

/// A DEK that nothing needs any more is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retire {
    /// Which.
    pub key_id: KeyId,
}

impl Change {
    /// The word for logs and errors.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Change::Bootstrap(_) => "bootstrap",
            Change::Cutover(_) => "cutover",
            Change::Opener(_) => "opener",
            Change::Rotate(_) => "rotate",
            Change::Retire(_) => "retire",
            Change::Names(_) => "names",
        }
    }

    /// The bytes drawn at the head of this file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CHANGE_LEN_MAX);
        out.push(VERSION);
        match self {
            Change::Bootstrap(bootstrap) => {
                out.extend_from_slice(&[KIND_BOOTSTRAP, bootstrap.kind as u8]);
                out.extend_from_slice(&bootstrap.cluster.0);
                for key in [&bootstrap.entry, &bootstrap.value, &bootstrap.mac, &bootstrap.name] {
                    put_key(&mut out, key);
                }
            }
            Change::Cutover(cutover) => {
                out.push(KIND_CUTOVER);
                out.extend_from_slice(&cutover.entry_key.to_bytes());
            }
            Change::Opener(opener) => {
                out.push(KIND_OPENER);
                out.extend_from_slice(&opener.term.0.to_be_bytes());
                out.extend_from_slice(&opener.salt);
            }
            Change::Rotate(rotate) => {
                out.push(KIND_ROTATE);
                out.extend_from_slice(&rotate.key_id.to_bytes());
                out.push(rotate.purpose as u8);
                put_key(&mut out, &rotate.key);
            }
            Change::Retire(retire) => {
                out.push(KIND_RETIRE);
                out.extend_from_slice(&retire.key_id.to_bytes());
            }
            Change::Names(key) => {
                out.push(KIND_NAMES);
                out.extend_from_slice(&key.0);
            }
        }
        out
    }

    /// Reads what [`Change::encode`] wrote; the whole slice, nothing behind it.
    ///
    /// # Errors
    /// [`CodecError`]: the entry is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Change, CodecError> {
        let mut reader = Reader::new(bytes);
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(CodecError::Version { found: version.into(), expected: VERSION.into() });
        }
        let change = match reader.u8("kind")? {
            KIND_BOOTSTRAP => Change::Bootstrap(Box::new(Bootstrap {
                kind: take_bootstrap_kind(&mut reader)?,
                cluster: ClusterId(reader.array("cluster id")?),
                entry: take_key(&mut reader)?,
                value: take_key(&mut reader)?,
                mac: take_key(&mut reader)?,
                name: take_key(&mut reader)?,
            })),
            KIND_CUTOVER => Change::Cutover(SetCutover { entry_key: take_key_id(&mut reader)? }),
            KIND_OPENER => {
                Change::Opener(PublishOpener { term: Term(reader.u64("term")?), salt: reader.array("salt")? })
            }
            KIND_ROTATE => Change::Rotate(Rotate {
                key_id: take_key_id(&mut reader)?,
                purpose: take_purpose(&mut reader)?,
                key: take_key(&mut reader)?,
            }),
            KIND_RETIRE => Change::Retire(Retire { key_id: take_key_id(&mut reader)? }),
            KIND_NAMES => Change::Names(take_clear_names(&mut reader)?),
            _ => return Err(CodecError::Field { field: "kind" }),
        };
        reader.end()?;
        Ok(change)
    }
}

pub(super) fn take_key_id(reader: &mut Reader<'_>) -> Result<KeyId, CodecError> {
    KeyId::new(reader.u32("key id")?).ok_or(CodecError::Field { field: "key id" })
}

pub(super) fn take_purpose(reader: &mut Reader<'_>) -> Result<Purpose, CodecError> {
    Purpose::of(reader.u8("purpose")?).ok_or(CodecError::Field { field: "purpose" })
}

fn take_bootstrap_kind(reader: &mut Reader<'_>) -> Result<BootstrapKind, CodecError> {
    match reader.u8("kind of bootstrap")? {
        1 => Ok(BootstrapKind::Cutover),
        2 => Ok(BootstrapKind::SecretNames),
        3 => Ok(BootstrapKind::ClearNames),
        _ => Err(CodecError::Field { field: "kind of bootstrap" }),
    }
}

fn take_clear_names(reader: &mut Reader<'_>) -> Result<ClearNameKey, CodecError> {
    let key = ClearNameKey(reader.array("clear name key")?);
    if key == ClearNameKey::UNDRAWN { Err(CodecError::Field { field: "clear name key" }) } else { Ok(key) }
}

fn take_key(reader: &mut Reader<'_>) -> Result<NewKey, CodecError> {
    Ok(NewKey { check: reader.array("check value")?, wrapped: reader.array("wrapped key")? })
}

fn put_key(out: &mut Vec<u8>, key: &NewKey) {
    out.extend_from_slice(&key.check);
    out.extend_from_slice(&key.wrapped);
}

/// Bytes of an opener's salt.
pub const SALT_LEN: usize = 32;
const NEW_KEY_LEN: usize = CHECK_LEN + WRAPPED_LEN;
const VERSION: u8 = 0x03;
const KIND_BOOTSTRAP: u8 = 1;
const KIND_CUTOVER: u8 = 2;
const KIND_OPENER: u8 = 3;
const KIND_ROTATE: u8 = 4;
const KIND_RETIRE: u8 = 5;
const KIND_NAMES: u8 = 6;
