//! The leader's side: where keys are born. An operator never handles key bytes; nothing here is proposed unwrapped.
//!
//! Whatever is made here is checked with [`crate::keys::rules::decide`] and [`verify_wraps`] before it is proposed:
//! what could not apply, or could not be opened again, never gets into the log.

use zeroize::Zeroizing;

use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::Purpose;
use crate::crypto::names::ClearNameKey;
use crate::crypto::wrap::Kek;
use crate::crypto::wrap::WRAPPED_LEN;
use crate::ids::ClusterId;
use crate::ids::KeyId;
use crate::ids::Term;
use crate::keys::change::Bootstrap;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::change::NewKey;
use crate::keys::change::PublishOpener;
use crate::keys::change::Rotate;
use crate::keys::change::SetCutover;
use crate::keys::kek::KekSet;
use crate::keys::kek::UnwrapError;
use crate::keys::keyring::Keyring;
use crate::world::Entropy;
use crate::world::random_array;

/// A change was not made, or must not be proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MakeError {
    /// Operator: new keys need a KEK to be wrapped with.
    #[error("no KEK is configured")]
    NoKek,
    /// Operator: no more DEKs fit in the keyring.
    #[error("the keyring is full")]
    Full,
    /// The change has a wrap that this node cannot open.
    #[error("the new key {key_id}")]
    Wrap {
        /// Which; 0 is the MAC key or the name key.
        key_id: u32,
        /// Why.
        #[source]
        source: UnwrapError,
    },
    /// The change has a wrap that opens to another key than it says.
    #[error("the new key {key_id} has another check value than its entry says")]
    Check {
        /// Which; 0 is the MAC key or the name key.
        key_id: u32,
    },
}

/// Which wrapped key: its place in the AAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeySlot {
    Dek(KeyId, Purpose),
    Mac,
    Name,
}

impl KeySlot {
    pub(super) fn number(self) -> u32 {
        match self {
            KeySlot::Dek(key_id, _) => key_id.value(),
            KeySlot::Mac | KeySlot::Name => 0,
        }
    }

    fn purpose(self) -> u8 {
        match self {
            KeySlot::Dek(_, purpose) => purpose as u8,
            KeySlot::Mac => MAC_PURPOSE,
            KeySlot::Name => NAME_PURPOSE,
        }
    }

    fn aad(self, cluster: ClusterId) -> [u8; 21] {
        let mut aad = [0; 21];
        aad[..16].copy_from_slice(&cluster.0);
        aad[16..20].copy_from_slice(&self.number().to_be_bytes());
        aad[20] = self.purpose();
        aad
    }

    /// Unwraps the key of this place.
    pub(super) fn unwrap(
        self,
        keks: &KekSet,
        cluster: ClusterId,
        wrapped: &[u8; WRAPPED_LEN],
    ) -> Result<Dek, UnwrapError> {
        keks.unwrap(DEK_LABEL, &[&self.aad(cluster)], wrapped)
    }
}

/// The first keys of a cluster; `kind` says what else follows from the entry.
///
/// # Errors
/// [`MakeError::NoKek`].
pub fn make_bootstrap(
    keks: &KekSet,
    cluster: ClusterId,
    kind: BootstrapKind,
    entropy: &dyn Entropy,
) -> Result<Change, MakeError> {
    let kek = keks.first().ok_or(MakeError::NoKek)?;
    let [entry_id, value_id] = [1, 2].map(|id| KeyId::new(id).expect("not 0"));
    Ok(Change::Bootstrap(Box::new(Bootstrap {
        kind,
        cluster,
        entry: new_key(kek, cluster, KeySlot::Dek(entry_id, Purpose::Entry), entropy),
        value: new_key(kek, cluster, KeySlot::Dek(value_id, Purpose::Value), entropy),
        mac: new_key(kek, cluster, KeySlot::Mac, entropy),
        name: new_key(kek, cluster, KeySlot::Name, entropy),
    })))
}

/// Turns sealing on in a cluster that has its keys.
#[must_use]
pub fn make_cutover(keyring: &Keyring) -> Change {
    Change::Cutover(SetCutover { entry_key: keyring.active_entry().id })
}

/// A fresh salt for the leadership key of `term`.
#[must_use]
pub fn make_opener(term: Term, entropy: &dyn Entropy) -> Change {
    Change::Opener(PublishOpener { term, salt: random_array(entropy) })
}

/// What rows are named with in a cluster of several founders without keys.
#[must_use]
pub fn make_names(entropy: &dyn Entropy) -> Change {
    Change::Names(ClearNameKey(random_array(entropy)))
}

/// A fresh DEK in place of the active one.
///
/// # Errors
/// [`MakeError::NoKek`], [`MakeError::Full`].
pub fn make_rotate(
    keks: &KekSet,
    keyring: &Keyring,
    purpose: Purpose,
    entropy: &dyn Entropy,
) -> Result<Change, MakeError> {
    let kek = keks.first().ok_or(MakeError::NoKek)?;
    let key_id = keyring.next_key_id().ok_or(MakeError::Full)?;
    let key = new_key(kek, keyring.cluster(), KeySlot::Dek(key_id, purpose), entropy);
    Ok(Change::Rotate(Rotate { key_id, purpose, key }))
}

/// Opens every wrap of a change and compares its check value: the leader's part, before it proposes.
///
/// # Errors
/// [`MakeError::Wrap`], [`MakeError::Check`].
pub fn verify_wraps(keks: &KekSet, cluster: ClusterId, change: &Change) -> Result<(), MakeError> {
    let [entry_id, value_id] = [1, 2].map(|id| KeyId::new(id).expect("not 0"));
    match change {
        Change::Bootstrap(bootstrap) => {
            verify(keks, cluster, KeySlot::Dek(entry_id, Purpose::Entry), &bootstrap.entry)?;
            verify(keks, cluster, KeySlot::Dek(value_id, Purpose::Value), &bootstrap.value)?;
            verify(keks, cluster, KeySlot::Mac, &bootstrap.mac)?;
            verify(keks, cluster, KeySlot::Name, &bootstrap.name)
        }
        Change::Rotate(rotate) => verify(keks, cluster, KeySlot::Dek(rotate.key_id, rotate.purpose), &rotate.key),
        Change::Cutover(_) | Change::Opener(_) | Change::Retire(_) | Change::Names(_) => Ok(()),
    }
}

fn verify(keks: &KekSet, cluster: ClusterId, slot: KeySlot, key: &NewKey) -> Result<(), MakeError> {
    let key_id = slot.number();
    let dek = slot.unwrap(keks, cluster, &key.wrapped).map_err(|source| MakeError::Wrap { key_id, source })?;
    if dek.check() == key.check { Ok(()) } else { Err(MakeError::Check { key_id }) }
}

fn new_key(kek: &Kek, cluster: ClusterId, slot: KeySlot, entropy: &dyn Entropy) -> NewKey {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    entropy.fill(&mut bytes[..]);
    let dek = Dek::new(&bytes);
    let wrapped = kek.wrap(random_array::<NONCE_LEN>(entropy), DEK_LABEL, &[&slot.aad(cluster)], &dek);
    NewKey { check: dek.check(), wrapped }
}

const DEK_LABEL: &str = "sealkv dek";
const MAC_PURPOSE: u8 = 3;
const NAME_PURPOSE: u8 = 4;
