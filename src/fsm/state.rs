//! The applied row of the state record: how far the state has come, and every replicated fact beside keys and values.
//!
//! ```text
//! off  size  field
//! 0    1     version, 0x02
//! 1    1     flags: bit 0 a client command was applied, bit 1 there is a keyring; others zero
//! 2    16    cluster id
//! 18   32    clear name key, drawn when the cluster was founded
//! 50   8     applied index
//! 58   8     its term
//! 66   8     last stamp, ms since 1970
//! 74         members, as drawn in `members.rs`
//!            addresses: count(2), then each node id(8), strictly ascending, address length(2), address (UTF-8)
//!            with a keyring: SHA-256 of the keyring row (32)
//! end        with a keyring: HMAC-SHA256 (32) over all before it, as drawn in `keys/mac.rs`
//! ```
//!
//! Written in one commit with the effects that it counts (ATOMIC-APPLY). Before bootstrap there is no keyring and no MAC.

use std::sync::Arc;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::derive::MAC_LEN;
use crate::crypto::names::ClearNameKey;
use crate::exit::Blame;
use crate::fsm::base::StateRows;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::keyring::DIGEST_LEN;
use crate::keys::keyring::Keyring;
use crate::keys::mac::MacKey;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::limits::MEMBERS_MAX;
use crate::members::Members;

/// Why an applied row is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Damage, or another version: see the source.
    #[error("applied row: it {0}")]
    Malformed(CodecError),
    /// Damage: the row names a keyring and there is none, or the reverse.
    #[error("applied row and keyring row do not belong together: {what}")]
    Keyring {
        /// What is wrong between them.
        what: &'static str,
    },
    /// Damage or forgery.
    #[error("applied row: its MAC is wrong")]
    Unauthentic,
}

impl StateError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            StateError::Malformed(CodecError::Version { .. }) => Blame::Config,
            StateError::Malformed(_) | StateError::Keyring { .. } | StateError::Unauthentic => Blame::Damage,
        }
    }
}

/// A member and where its peers reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAddress {
    /// Its Raft id.
    pub node: NodeId,
    /// `HOST:PORT`; empty while a cluster of one has none.
    pub address: String,
}

/// Both rows of the state record as they are at one applied index, and what authenticates them.
#[derive(Clone, Debug)]
pub struct StateRecord {
    /// The applied row.
    pub applied: Applied,
    /// The keyring row; `None` before bootstrap.
    pub keyring_row: Option<Arc<[u8]>>,
    /// The MAC key that is in the keyring; `None` before bootstrap.
    pub mac: Option<Arc<MacKey>>,
}

impl StateRecord {
    /// The rows as a base holds them.
    ///
    /// # Panics
    /// As [`Applied::encode`].
    #[must_use]
    pub fn encode(&self) -> StateRows {
        let digest = self.keyring_row.as_deref().map(Keyring::digest);
        assert_eq!(digest, self.applied.keyring_digest, "the applied row is of this keyring");
        let keyring = self.keyring_row.as_deref().map(<[u8]>::to_vec);
        StateRows { applied: self.applied.encode(self.mac.as_deref()), keyring }
    }
}

/// Everything replicated beside keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whose state this is.
    pub cluster: ClusterId,
    /// What rows are named with until a bootstrap makes names secret; founders draw it, and it never changes.
    pub clear_names: ClearNameKey,
    /// The newest entry whose effects are in the state.
    pub position: Position,
    /// Stamp of the newest entry of commands, ms since 1970.
    pub last_stamp_ms: u64,
    /// An entry of client commands was applied: from then on a bootstrap cannot be the cutover, and leaves names as they are.
    pub client_command_applied: bool,
    /// Raft's members at that index.
    pub members: Members,
    /// Where their peers reach them, ascending by node.
    pub addresses: Vec<MemberAddress>,
    /// Digest of the keyring row of the same commit, [`Keyring::digest`]; `None` before bootstrap.
    pub keyring_digest: Option<[u8; DIGEST_LEN]>,
}

impl Applied {
    /// The state that the founders of a new cluster begin with.
    #[must_use]
    pub fn founding(
        cluster: ClusterId,
        clear_names: ClearNameKey,
        members: Members,
        addresses: Vec<MemberAddress>,
    ) -> Applied {
        Applied {
            cluster,
            clear_names,
            position: Position { term: Term(1), index: Index(1) },
            last_stamp_ms: 0,
            client_command_applied: false,
            members,
            addresses,
            keyring_digest: None,
        }
    }

    /// Takes over the members after a membership change; `None` if they are none, and nothing is changed. Known addresses
    /// stay with their nodes.
    #[must_use]
    pub fn set_members(&mut self, members: &Members) -> Option<()> {
        members.check().ok()?;
        let known = |node| self.addresses.iter().find(|member| member.node == node);
        let address = |node| known(node).map(|member| member.address.clone()).unwrap_or_default();
        let nodes = members.nodes()?.into_iter();
        self.addresses = nodes.map(|node| MemberAddress { node, address: address(node) }).collect();
        self.members = members.clone();
        Some(())
    }

    /// Says where a member is reached; nothing for a node that is none, or an address that is too long.
    pub fn set_address(&mut self, node: NodeId, address: String) {
        let member = self.addresses.iter_mut().find(|member| member.node == node);
        if let Some(member) = member.filter(|_| address.len() <= ADDRESS_BYTES_MAX) {
            member.address = address;
        }
    }

    /// The row drawn at the head of this file, with its MAC.
    ///
    /// # Panics
    /// If there is a MAC key without a keyring digest or the reverse, or members or addresses are too many, too long or
    /// not sorted: the caller made the row.
    #[must_use]
    pub fn encode(&self, mac: Option<&MacKey>) -> Vec<u8> {
        assert_eq!(mac.is_some(), self.keyring_digest.is_some(), "a keyring brings its MAC key");
        assert!(self.members.check().is_ok(), "members are checked where they are taken");
        assert!(self.addresses.is_sorted_by(|a, b| a.node < b.node), "addresses are ascending by node");
        let mut out = Vec::with_capacity(256);
        let is_keyed = self.keyring_digest.is_some();
        out.extend_from_slice(&[VERSION, u8::from(self.client_command_applied) | u8::from(is_keyed) << 1]);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.clear_names.0);
        out.extend_from_slice(&self.position.index.0.to_be_bytes());
        out.extend_from_slice(&self.position.term.0.to_be_bytes());
        out.extend_from_slice(&self.last_stamp_ms.to_be_bytes());
        self.members.put(&mut out);
        put_addresses(&self.addresses, &mut out);
        if let Some((digest, mac)) = self.keyring_digest.as_ref().zip(mac) {
            out.extend_from_slice(digest);
            let tag = mac.tag_applied(&out);
            out.extend_from_slice(&tag);
        }
        out
    }

    /// Reads a row without judging its MAC: for showing, and for [`Applied::open`].
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn decode(row: &[u8]) -> Result<Applied, CodecError> {
        let mut reader = Reader::new(row);
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(CodecError::Version { found: version.into(), expected: VERSION.into() });
        }
        let flags = reader.u8("flags")?;
        if flags & !(FLAG_CLIENT | FLAG_KEYRING) != 0 {
            return Err(CodecError::Field { field: "flags" });
        }
        let cluster = ClusterId(reader.array("cluster id")?);
        let clear_names = ClearNameKey(reader.array("clear name key")?);
        let index = Index(reader.u64("applied index")?);
        let term = Term(reader.u64("applied term")?);
        let last_stamp_ms = reader.u64("last stamp")?;
        let members = Members::take(&mut reader)?;
        let addresses = take_addresses(&mut reader)?;
        let keyring_digest = if flags & FLAG_KEYRING != 0 {
            let digest = reader.array("keyring digest")?;
            reader.array::<MAC_LEN>("MAC")?;
            Some(digest)
        } else {
            None
        };
        reader.end()?;
        let client_command_applied = flags & FLAG_CLIENT != 0;
        // Only entries of commands have stamps. Before bootstrap the row has no MAC, and a stamp in it would make keys
        // expire that have not: it must not be believed without the flag, with which a bootstrap cannot be the cutover.
        if last_stamp_ms != 0 && !client_command_applied {
            return Err(CodecError::Field { field: "last stamp" });
        }
        Ok(Applied {
            cluster,
            clear_names,
            position: Position { term, index },
            last_stamp_ms,
            client_command_applied,
            members,
            addresses,
            keyring_digest,
        })
    }

    /// Reads and verifies a row beside the keyring row that was found with it.
    ///
    /// `mac` is the key that the keyring holds ([`crate::keys::node_keys::unwrap_mac`]); `None` before bootstrap.
    ///
    /// # Errors
    /// [`StateError`]: the state must not be used.
    pub fn open(row: &[u8], keyring_row: Option<&[u8]>, mac: Option<&MacKey>) -> Result<Applied, StateError> {
        let applied = Applied::decode(row).map_err(StateError::Malformed)?;
        match (&applied.keyring_digest, keyring_row, mac) {
            (None, None, _) => Ok(applied),
            (None, Some(_), _) => Err(StateError::Keyring { what: "it names none" }),
            (Some(_), None, _) => Err(StateError::Keyring { what: "the keyring row is missing" }),
            (Some(_), Some(_), None) => Err(StateError::Keyring { what: "no MAC key for it" }),
            (Some(digest), Some(keyring_row), Some(mac)) => {
                let (body, tag) = row.split_last_chunk::<MAC_LEN>().expect("its length was checked");
                if !mac.is_applied(body, tag) {
                    return Err(StateError::Unauthentic);
                }
                if Keyring::digest(keyring_row) != *digest {
                    return Err(StateError::Keyring { what: "the keyring row is another one" });
                }
                Ok(applied)
            }
        }
    }
}

/// Appends addresses as drawn above.
///
/// # Panics
/// If they are too many, or one is too long.
fn put_addresses(addresses: &[MemberAddress], out: &mut Vec<u8>) {
    put_count(out, addresses.len());
    for member in addresses {
        out.extend_from_slice(&member.node.value().to_be_bytes());
        put_address(&member.address, out);
    }
}

/// Appends an address: length (2), text.
///
/// # Panics
/// If it is longer than [`ADDRESS_BYTES_MAX`].
pub(crate) fn put_address(address: &str, out: &mut Vec<u8>) {
    assert!(address.len() <= ADDRESS_BYTES_MAX, "an address is checked where it is taken");
    out.extend_from_slice(&u16::try_from(address.len()).expect("at most ADDRESS_BYTES_MAX").to_be_bytes());
    out.extend_from_slice(address.as_bytes());
}

/// Reads what [`put_address`] wrote. Errors name `length` or `field`.
///
/// # Errors
/// [`CodecError`].
pub(crate) fn take_address<'a>(
    reader: &mut Reader<'a>,
    length: &'static str,
    field: &'static str,
) -> Result<&'a str, CodecError> {
    let len = usize::from(reader.u16(length)?);
    if len > ADDRESS_BYTES_MAX {
        return Err(CodecError::Field { field: length });
    }
    str::from_utf8(reader.slice(len, field)?).map_err(|_| CodecError::Field { field })
}

/// Reads what [`put_addresses`] wrote.
///
/// # Errors
/// [`CodecError`].
fn take_addresses(reader: &mut Reader<'_>) -> Result<Vec<MemberAddress>, CodecError> {
    let field = "members";
    let count = take_count(reader, field)?;
    let mut addresses: Vec<MemberAddress> = Vec::with_capacity(count);
    for _ in 0..count {
        let node = NodeId::new(reader.u64(field)?).ok_or(CodecError::Field { field })?;
        if addresses.last().is_some_and(|before| before.node >= node) {
            return Err(CodecError::Field { field });
        }
        let address = take_address(reader, "address of a member", "address of a member")?;
        addresses.push(MemberAddress { node, address: address.to_owned() });
    }
    Ok(addresses)
}

fn take_count(reader: &mut Reader<'_>, field: &'static str) -> Result<usize, CodecError> {
    let count = usize::from(reader.u16(field)?);
    if count <= MEMBERS_MAX { Ok(count) } else { Err(CodecError::Field { field }) }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    assert!(count <= MEMBERS_MAX, "a cluster has at most MEMBERS_MAX members");
    out.extend_from_slice(&u16::try_from(count).expect("at most MEMBERS_MAX").to_be_bytes());
}

const VERSION: u8 = 0x02;
const FLAG_CLIENT: u8 = 1;
const FLAG_KEYRING: u8 = 2;
const _: () = assert!(MEMBERS_MAX <= u16::MAX as usize);
