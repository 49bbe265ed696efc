//! The keyring: the replicated record of wrapped keys, what they are for, and the facts that only ever go forward.
//!
//! ```text
//! off  size  field
//! 0    1     version, 0x02
//! 1    16    cluster id
//! 17   8     cutover: index of the entry that turned sealing on; all ones = none
//! 25   1     least envelope version of an entry above the cutover: 2
//! 26   1     least envelope version of a control entry above it: 3
//! 27   1     clear rows above the cutover: 0 none, 1 allowed
//! 28   4     next key id
//! 32   4     active entry DEK
//! 36   4     active value DEK
//! 40   8     newest opener: its term; 0 = none yet, then the two fields behind are zero
//! 48   8     its index
//! 56   32    its salt
//! 88   8     MAC key: check value
//! 96   68    MAC key: wrapped
//! 164  1     names of rows: 0 under the clear name key of the applied row; 1 under the name key
//! 165  8     name key: check value; zero where names are in the clear, as is the field behind
//! 173  68    name key: wrapped
//! 241  2     number of DEKs, n
//! 243  90*n  DEKs, ids 1, 2, ... n without gaps
//!            0   4   id
//!            4   1   purpose: 1 entry, 2 value
//!            5   1   state: 1 active, 2 decrypt-only, 3 retired
//!            6   8   index of the entry that made it active
//!            14  8   check value, HKDF(DEK, "", "sealkv check")
//!            22  68  wrapped, as drawn in `crypto/wrap.rs`; zero once retired
//! ```
//!
//! A DEK's AAD is `"sealkv dek" | kek_id(8) | cluster(16) | key_id(4) | purpose(1)`; the MAC key's has key id 0 and
//! purpose 3, the name key's key id 0 and purpose 4. How rows are named is decided once, at the bootstrap. A row that is not what [`crate::keys::rules`] makes is refused when it is read, so a [`Keyring`] in
//! memory is always one that could have come about.

use sha2::Digest;
use sha2::Sha256;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::derive::CHECK_LEN;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::TermSalt;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Term;
use crate::keys::change::NewKey;
use crate::keys::change::take_key_id;
use crate::keys::change::take_purpose;
use crate::limits::KEYRING_KEYS_MAX;

/// Bytes of the digest of a keyring row.
pub const DIGEST_LEN: usize = 32;

/// Where a DEK is in its life; it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DekState {
    /// Seals and opens.
    Active = 1,
    /// Opens what it sealed.
    DecryptOnly = 2,
    /// Gone; its row keeps the id and the check value from being used again.
    Retired = 3,
}

/// Whether rows in the clear may stand in the state above the cutover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClearRows {
    /// The bootstrap was the cutover: there never were any.
    None = 0,
    /// Written before the cutover, or not rewritten since.
    Allowed = 1,
}

/// How users' rows are named. Decided at the bootstrap, for ever: rows are found by their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Under the clear name key: clients wrote before there were keys.
    Clear,
    /// Under the name key.
    Secret(NewKey),
}

/// One DEK of the keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedDek {
    /// Its name for ever.
    pub id: KeyId,
    /// What it seals.
    pub purpose: Purpose,
    /// Where it is in its life.
    pub state: DekState,
    /// Index of the entry that made it active.
    pub active_from: Index,
    /// Tells keys apart.
    pub check: [u8; CHECK_LEN],
    /// Wrapped by a KEK; zero once retired.
    pub wrapped: [u8; WRAPPED_LEN],
}

/// The replicated record of keys. Only [`crate::keys::rules::decide`] makes a changed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    pub(super) cluster: ClusterId,
    /// [`Index::NEVER`] = none.
    pub(super) cutover: Index,
    pub(super) clear_rows: ClearRows,
    pub(super) active_entry: KeyId,
    pub(super) active_value: KeyId,
    pub(super) opener: Option<TermSalt>,
    pub(super) mac: NewKey,
    pub(super) naming: Naming,
    /// Ascending by id: `deks[i].id == i + 1`.
    pub(super) deks: Vec<WrappedDek>,
}

impl Keyring {
    /// Whose keys these are.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The cutover, [`Index::NEVER`] if there is none.
    #[must_use]
    pub fn cutover(&self) -> Index {
        self.cutover
    }

    /// Whether rows in the clear may stand in the state.
    #[must_use]
    pub fn clear_rows(&self) -> ClearRows {
        self.clear_rows
    }

    /// The id that the next DEK gets, `None` when [`KEYRING_KEYS_MAX`] were made.
    #[must_use]
    pub fn next_key_id(&self) -> Option<KeyId> {
        if self.deks.len() >= KEYRING_KEYS_MAX { None } else { KeyId::new(self.next_id()) }
    }

    /// The DEK that entries are sealed under.
    #[must_use]
    pub fn active_entry(&self) -> &WrappedDek {
        self.dek(self.active_entry).expect("the active entry DEK is in the keyring, checked when it was made")
    }

    /// The DEK that values are sealed under.
    #[must_use]
    pub fn active_value(&self) -> &WrappedDek {
        self.dek(self.active_value).expect("the active value DEK is in the keyring, checked when it was made")
    }

    /// The newest opener.
    #[must_use]
    pub fn opener(&self) -> Option<&TermSalt> {
        self.opener.as_ref()
    }

    /// The wrapped MAC key.
    #[must_use]
    pub fn mac(&self) -> &NewKey {
        &self.mac
    }

    /// How users' rows are named.
    #[must_use]
    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// The DEK of that id.
    #[must_use]
    pub fn dek(&self, key_id: KeyId) -> Option<&WrappedDek> {
        let place = usize::try_from(key_id.value() - 1).ok()?;
        self.deks.get(place)
    }

    /// Every DEK there ever was, in the order of ids.
    pub fn deks(&self) -> impl Iterator<Item = &WrappedDek> {
        self.deks.iter()
    }

    /// SHA-256 of a keyring row, as it stands in the applied row.
    #[must_use]
    pub fn digest(row: &[u8]) -> [u8; DIGEST_LEN] {
        Sha256::digest(row).into()
    }

    /// The row drawn at the head of this file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_LEN + self.deks.len() * DEK_LEN);
        out.push(VERSION);
        out.extend_from_slice(&self.cluster.0);
        out.extend_from_slice(&self.cutover.0.to_be_bytes());
        out.extend_from_slice(&[ENTRY_VERSION_LEAST, CONTROL_VERSION_LEAST, self.clear_rows as u8]);
        out.extend_from_slice(&self.next_id().to_be_bytes());
        out.extend_from_slice(&self.active_entry.to_bytes());
        out.extend_from_slice(&self.active_value.to_bytes());
        let none = TermSalt { term: Term(0), index: Index(0), salt: [0; 32] };
        let opener = self.opener.as_ref().unwrap_or(&none);
        out.extend_from_slice(&opener.term.0.to_be_bytes());
        out.extend_from_slice(&opener.index.0.to_be_bytes());
        out.extend_from_slice(&opener.salt);
        out.extend_from_slice(&self.mac.check);
        out.extend_from_slice(&self.mac.wrapped);
        let (is_secret, name) = match self.naming {
            Naming::Clear => (false, NO_KEY),
            Naming::Secret(key) => (true, key),
        };
        out.push(u8::from(is_secret));
        out.extend_from_slice(&name.check);
        out.extend_from_slice(&name.wrapped);
        let count = u16::try_from(self.deks.len()).expect("at most KEYRING_KEYS_MAX");
        out.extend_from_slice(&count.to_be_bytes());
        for dek in &self.deks {
            out.extend_from_slice(&dek.id.to_bytes());
            out.extend_from_slice(&[dek.purpose as u8, dek.state as u8]);
            out.extend_from_slice(&dek.active_from.0.to_be_bytes());
            out.extend_from_slice(&dek.check);
            out.extend_from_slice(&dek.wrapped);
        }
        out
    }

    /// Reads what [`Keyring::encode`] wrote.
    ///
    /// # Errors
    /// [`CodecError`]: the row is damaged, forged, or of another version.
    pub fn decode(row: &[u8]) -> Result<Keyring, CodecError> {
        let mut reader = Reader::new(row);
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(CodecError::Version { found: version.into(), expected: VERSION.into() });
        }
        let cluster = ClusterId(reader.array("cluster id")?);
        let cutover = Index(reader.u64("cutover")?);
        expect_byte(&mut reader, ENTRY_VERSION_LEAST, "least entry version")?;
        expect_byte(&mut reader, CONTROL_VERSION_LEAST, "least control version")?;
        let clear_rows = if reader.flag("clear rows")? { ClearRows::Allowed } else { ClearRows::None };
        let next_id = reader.u32("next key id")?;
        let active_entry = take_key_id(&mut reader)?;
        let active_value = take_key_id(&mut reader)?;
        let opener = take_opener(&mut reader)?;
        let mac = NewKey { check: reader.array("MAC key check value")?, wrapped: reader.array("wrapped MAC key")? };
        let naming = take_naming(&mut reader)?;
        let deks = take_deks(&mut reader)?;
        reader.end()?;
        let keyring = Keyring { cluster, cutover, clear_rows, active_entry, active_value, opener, mac, naming, deks };
        if next_id != keyring.next_id() {
            return Err(CodecError::Field { field: "next key id" });
        }
        keyring.coherent().map_err(|field| CodecError::Field { field })?;
        Ok(keyring)
    }

    /// Names the first field that contradicts another, which no sequence of changes brings about.
    pub(super) fn coherent(&self) -> Result<(), &'static str> {
        require(self.cutover != Index(0), "cutover")?;
        require(self.is_sealing() || self.clear_rows == ClearRows::Allowed, "clear rows")?;
        if let Some(opener) = &self.opener {
            require(self.is_sealing() && opener.index > self.cutover, "newest opener")?;
        }
        for (purpose, active) in [(Purpose::Entry, self.active_entry), (Purpose::Value, self.active_value)] {
            let mut active_ones =
                self.deks.iter().filter(|dek| dek.purpose == purpose && dek.state == DekState::Active);
            require(active_ones.next().is_some_and(|dek| dek.id == active), "active DEK")?;
            require(active_ones.next().is_none(), "active DEK")?;
        }
        let is_rising = self.deks.is_sorted_by_key(|dek| dek.active_from);
        require(is_rising, "index where a DEK became active")?;
        let mut checks: Vec<_> = self.checks().collect();
        checks.sort_unstable();
        require(checks.windows(2).all(|pair| pair[0] != pair[1]), "check value")
    }

    /// The check values of all its keys.
    pub(super) fn checks(&self) -> impl Iterator<Item = [u8; CHECK_LEN]> {
        let name = match &self.naming {
            Naming::Clear => None,
            Naming::Secret(key) => Some(key.check),
        };
        self.deks.iter().map(|dek| dek.check).chain([self.mac.check]).chain(name)
    }

    /// Whether there is a cutover.
    #[must_use]
    pub fn is_sealing(&self) -> bool {
        self.cutover != Index::NEVER
    }

    fn next_id(&self) -> u32 {
        u32::try_from(self.deks.len() + 1).expect("at most KEYRING_KEYS_MAX")
    }
}

fn take_opener(reader: &mut Reader<'_>) -> Result<Option<TermSalt>, CodecError> {
    let opener = TermSalt {
        term: Term(reader.u64("opener term")?),
        index: Index(reader.u64("opener index")?),
        salt: reader.array("opener salt")?,
    };
    if opener.term != Term(0) {
        return Ok(Some(opener));
    }
    if opener.index != Index(0) || opener.salt != [0; 32] {
        return Err(CodecError::Field { field: "newest opener" });
    }
    Ok(None)
}

fn take_naming(reader: &mut Reader<'_>) -> Result<Naming, CodecError> {
    let is_secret = reader.flag("naming of rows")?;
    let key = NewKey { check: reader.array("name key check value")?, wrapped: reader.array("wrapped name key")? };
    match is_secret {
        true => Ok(Naming::Secret(key)),
        false if key == NO_KEY => Ok(Naming::Clear),
        false => Err(CodecError::Field { field: "wrapped name key" }),
    }
}

fn take_deks(reader: &mut Reader<'_>) -> Result<Vec<WrappedDek>, CodecError> {
    let count = usize::from(reader.u16("number of DEKs")?);
    if count > KEYRING_KEYS_MAX || reader.remaining() != count * DEK_LEN {
        return Err(CodecError::Field { field: "number of DEKs" });
    }
    let mut deks = Vec::with_capacity(count);
    for place in 0..count {
        let dek = WrappedDek {
            id: take_key_id(reader)?,
            purpose: take_purpose(reader)?,
            state: take_state(reader)?,
            active_from: Index(reader.u64("index where a DEK became active")?),
            check: reader.array("check value")?,
            wrapped: reader.array("wrapped DEK")?,
        };
        if usize::try_from(dek.id.value()) != Ok(place + 1) {
            return Err(CodecError::Field { field: "key id" });
        }
        if dek.state == DekState::Retired && dek.wrapped != [0; WRAPPED_LEN] {
            return Err(CodecError::Field { field: "wrapped bytes of a retired DEK" });
        }
        deks.push(dek);
    }
    Ok(deks)
}

fn take_state(reader: &mut Reader<'_>) -> Result<DekState, CodecError> {
    match reader.u8("state of a DEK")? {
        1 => Ok(DekState::Active),
        2 => Ok(DekState::DecryptOnly),
        3 => Ok(DekState::Retired),
        _ => Err(CodecError::Field { field: "state of a DEK" }),
    }
}

fn expect_byte(reader: &mut Reader<'_>, expected: u8, field: &'static str) -> Result<(), CodecError> {
    if reader.u8(field)? == expected { Ok(()) } else { Err(CodecError::Field { field }) }
}

fn require(is_true: bool, field: &'static str) -> Result<(), &'static str> {
    if is_true { Ok(()) } else { Err(field) }
}

const VERSION: u8 = 0x02;
const ENTRY_VERSION_LEAST: u8 = 2;
const CONTROL_VERSION_LEAST: u8 = 3;
const HEAD_LEN: usize = 243;
/// Stands in the place of the name key where there is none.
const NO_KEY: NewKey = NewKey { check: [0; CHECK_LEN], wrapped: [0; WRAPPED_LEN] };
const DEK_LEN: usize = 90;
const _: () = assert!(KEYRING_KEYS_MAX <= u16::MAX as usize);
const _: () = assert!(DEK_LEN == 4 + 1 + 1 + 8 + CHECK_LEN + WRAPPED_LEN);
