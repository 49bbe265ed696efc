//! What the threads of a node share of its keys: the cutover by value, and the keys of one applied index, swapped whole.
//!
//! Apply installs a keyring after the step of the store that made it true; proposer, apply and readers take a [`KeysAt`]
//! once per batch or run. Readers never wait. A key that cannot be unwrapped here is remembered with its reason and
//! refused at its first use, so that a node says what it lacks when it needs it, not before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;

use crate::crypto::keystore::DataKeys;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::EntryDek;
use crate::crypto::keystore::KeyError;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::LeadershipKey;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::ValueDek;
use crate::crypto::names::ClearNameKey;
use crate::crypto::names::NameKey;
use crate::crypto::open::EntryKeys;
use crate::exit::Blame;
use crate::ids::ClusterId;
use crate::ids::Cutover;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::keys::change::NewKey;
use crate::keys::kek::KekSet;
use crate::keys::kek::UnwrapError;
use crate::keys::keyring::DekState;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::Naming;
use crate::keys::keyring::WrappedDek;
use crate::keys::lack::KeyLack;
use crate::keys::mac::MacKey;
use crate::keys::make::KeySlot;

/// A keyring was not installed; the node's keys are as before. Nothing that this cluster's rules made: damage, or a forgery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// Of another cluster.
    #[error("a keyring of cluster {offered}, this node is in {known}")]
    OtherCluster {
        /// In the keyring.
        offered: ClusterId,
        /// This node's.
        known: ClusterId,
    },
    /// The cutover that is known here is another, or not in it (NO-WAY-DOWN).
    #[error("a keyring with cutover {offered}, this node knows {known}")]
    OtherCutover {
        /// In the keyring.
        offered: Index,
        /// Known here.
        known: Index,
    },
    /// Rows are named with one key for ever.
    #[error("a state record with another clear name key than the one that this node knows")]
    OtherClearNames,
    /// Key ids name keys for ever.
    #[error("keyring")]
    Key(#[from] KeyError),
}

impl InstallError {
    /// Who must act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            InstallError::OtherCluster { .. } | InstallError::OtherCutover { .. } => Blame::Config,
            InstallError::OtherClearNames | InstallError::Key(_) => Blame::Damage,
        }
    }
}

/// The DEK that values of the next run are sealed under.
#[derive(Clone, Debug)]
pub struct ActiveValue {
    /// The key.
    pub dek: Arc<ValueDek>,
    /// What the delta of value nonces counts from.
    pub active_from: Index,
}

/// The keys and the keyring as they were at one applied index.
#[derive(Debug)]
pub struct KeysAt {
    keyring: Option<Keyring>,
    keys: Arc<DataKeys>,
    mac: Result<Arc<MacKey>, KeyLack>,
    names: Result<Arc<NameKey>, KeyLack>,
    lacks: BTreeMap<KeyId, KeyLack>,
    has_kek: bool,
}

impl KeysAt {
    /// The keyring, `None` before bootstrap.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// The unwrapped keys, for opening stored values.
    #[must_use]
    pub fn keys(&self) -> &Arc<DataKeys> {
        &self.keys
    }

    /// The index above which entries are sealed; [`Index::NEVER`] if there is none.
    #[must_use]
    pub fn cutover(&self) -> Index {
        self.keyring.as_ref().map_or(Index::NEVER, Keyring::cutover)
    }

    /// Whether this node was given a KEK; without one it has no cipher.
    #[must_use]
    pub fn has_kek(&self) -> bool {
        self.has_kek
    }

    /// All that decides which key opens an entry of the run behind these keys; `None` without a cipher.
    #[must_use]
    pub fn entry_keys(&self) -> Option<EntryKeys> {
        let opener = self.keyring.as_ref().and_then(|keyring| keyring.opener().copied());
        self.has_kek.then(|| EntryKeys::new(Arc::clone(&self.keys), opener))
    }

    /// What a leader seals entries under: the active entry DEK with the newest opener. Its term is the caller's to
    /// compare with raft's (N1, N2).
    ///
    /// # Errors
    /// [`KeyLack`].
    pub fn leadership_key(&self) -> Result<Arc<LeadershipKey>, KeyLack> {
        let keyring = self.keyring.as_ref().ok_or(KeyLack::NotBootstrapped)?;
        let dek = self.control_key()?;
        let opener = keyring.opener().ok_or(KeyLack::NoOpener)?;
        Ok(dek.leadership(opener))
    }

    /// What a leader seals control entries under: the active entry DEK.
    ///
    /// # Errors
    /// [`KeyLack`].
    pub fn control_key(&self) -> Result<Arc<EntryDek>, KeyLack> {
        let keyring = self.keyring.as_ref().ok_or(KeyLack::NotBootstrapped)?;
        let key_id = keyring.active_entry().id;
        self.keys.entry(key_id).cloned().ok_or_else(|| self.lack(key_id, Purpose::Entry))
    }

    /// What values of the next run are sealed under.
    ///
    /// # Errors
    /// [`KeyLack`].
    pub fn active_value(&self) -> Result<ActiveValue, KeyLack> {
        let keyring = self.keyring.as_ref().ok_or(KeyLack::NotBootstrapped)?;
        let WrappedDek { id, active_from, .. } = *keyring.active_value();
        let dek = self.keys.value(id).cloned().ok_or_else(|| self.lack(id, Purpose::Value))?;
        Ok(ActiveValue { dek, active_from })
    }

    /// What authenticates the state record; `None` before bootstrap.
    ///
    /// # Errors
    /// [`KeyLack`].
    pub fn mac_key(&self) -> Result<Option<Arc<MacKey>>, KeyLack> {
        match (&self.keyring, &self.mac) {
            (None, _) => Ok(None),
            (Some(_), Ok(mac)) => Ok(Some(Arc::clone(mac))),
            (Some(_), Err(lack)) => Err(*lack),
        }
    }

    /// What users' rows are named with. It changes at the bootstrap at most, and only while there are no rows.
    ///
    /// Take it after the view of the state that names are looked up in: then it is not older than the rows there.
    ///
    /// # Errors
    /// [`KeyLack`].
    pub fn name_key(&self) -> Result<&Arc<NameKey>, KeyLack> {
        self.names.as_ref().map_err(|lack| *lack)
    }

    /// Why a key that an envelope names cannot be used here: the cause of a halt, in words.
    #[must_use]
    pub fn lack(&self, key_id: KeyId, purpose: Purpose) -> KeyLack {
        let Some(keyring) = &self.keyring else {
            return KeyLack::NotBootstrapped;
        };
        let number = key_id.value();
        match (keyring.dek(key_id), self.lacks.get(&key_id)) {
            (None, _) => KeyLack::Unknown { key_id: number },
            (Some(dek), _) if dek.state == DekState::Retired => KeyLack::Retired { key_id: number },
            (Some(dek), _) if dek.purpose != purpose => KeyLack::OtherPurpose { key_id: number },
            (Some(_), Some(lack)) => *lack,
            (Some(_), None) => KeyLack::OtherTerm { key_id: number },
        }
    }

    /// The first key that this node needs and lacks; with one it must not campaign, since it could not seal.
    #[must_use]
    pub fn needs(&self) -> Option<KeyLack> {
        let keyring = self.keyring.as_ref()?;
        let active = [keyring.active_entry().id, keyring.active_value().id];
        let lacks = active.iter().find_map(|key_id| self.lacks.get(key_id).copied());
        lacks.or(self.mac.as_ref().err().copied()).or(self.names.as_ref().err().copied())
    }
}

/// A node's keys, shared by its threads.
#[derive(Debug)]
pub struct NodeKeys {
    cluster: ClusterId,
    cutover: Arc<Cutover>,
    current: ArcSwap<KeysAt>,
    store: KeyStore,
    keks: Arc<KekSet>,
    clear_names: ArcSwapOption<(ClearNameKey, Arc<NameKey>)>,
    installing: Mutex<()>,
}

impl NodeKeys {
    /// Before any keyring: inert. Without a KEK the set is empty, and every use of a key says [`KeyLack::NoCipher`]. Nothing
    /// can be named before [`NodeKeys::found`].
    #[must_use]
    pub fn new(cluster: ClusterId, keks: KekSet) -> NodeKeys {
        NodeKeys::with(cluster, Arc::new(keks))
    }

    /// The same KEKs before any keyring: to look at a state that may be refused.
    #[must_use]
    pub fn untouched(&self) -> NodeKeys {
        NodeKeys::with(self.cluster, Arc::clone(&self.keks))
    }

    fn with(cluster: ClusterId, keks: Arc<KekSet>) -> NodeKeys {
        let store = KeyStore::new(cluster);
        let current = KeysAt {
            has_kek: !keks.is_empty(),
            keyring: None,
            keys: store.snapshot(),
            mac: Err(KeyLack::NotBootstrapped),
            names: Err(KeyLack::NotBootstrapped),
            lacks: BTreeMap::new(),
        };
        NodeKeys {
            cluster,
            cutover: Arc::default(),
            current: ArcSwap::from_pointee(current),
            store,
            keks,
            clear_names: ArcSwapOption::empty(),
            installing: Mutex::new(()),
        }
    }

    /// Takes what rows are named with as long as names are not secret, from the state's record, before its keyring.
    ///
    /// # Errors
    /// [`InstallError::OtherClearNames`]: once drawn, it never changes.
    pub fn found(&self, key: &ClearNameKey) -> Result<(), InstallError> {
        let _installing = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.clear_names.load_full();
        let names = match known.as_deref() {
            Some((known, names)) if known == key => Arc::clone(names),
            Some((known, _)) if *known != ClearNameKey::UNDRAWN => return Err(InstallError::OtherClearNames),
            _ => Arc::new(NameKey::clear(key, self.cluster)),
        };
        self.clear_names.store(Some(Arc::new((*key, Arc::clone(&names)))));
        let current = self.current();
        if current.keyring.is_none() {
            let KeysAt { keyring, keys, mac, lacks, has_kek, .. } = &*current;
            let (keyring, keys, mac, lacks) = (keyring.clone(), Arc::clone(keys), mac.clone(), lacks.clone());
            self.current.store(Arc::new(KeysAt { keyring, keys, mac, names: Ok(names), lacks, has_kek: *has_kek }));
        }
        Ok(())
    }

    /// Whether the first leader has still to draw what rows are named with.
    #[must_use]
    pub fn lacks_clear_names(&self) -> bool {
        self.clear_names.load_full().is_some_and(|clear| clear.0 == ClearNameKey::UNDRAWN)
    }

    /// Whose keys these are.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The cutover by value; [`Index::NEVER`] if there is none. One load: cheap enough for every entry.
    #[inline]
    #[must_use]
    pub fn cutover(&self) -> Index {
        self.cutover.load()
    }

    /// The cutover as it is shared with a hook; only [`NodeKeys::install`] sets it.
    #[must_use]
    pub fn shared_cutover(&self) -> Arc<Cutover> {
        Arc::clone(&self.cutover)
    }

    /// The keys of this moment; take one per batch or run.
    #[must_use]
    pub fn current(&self) -> Arc<KeysAt> {
        self.current.load_full()
    }

    /// The KEKs that this node was given.
    #[must_use]
    pub fn keks(&self) -> &KekSet {
        &self.keks
    }

    /// The MAC key of a keyring that is about to be written, for the applied row of the same step.
    ///
    /// # Errors
    /// [`KeyLack`]: the step must not be written; halt.
    pub fn mac_key_of(&self, keyring: &Keyring) -> Result<Arc<MacKey>, KeyLack> {
        let current = self.current.load();
        match (&current.keyring, &current.mac) {
            (Some(known), Ok(mac)) if known.mac() == keyring.mac() => Ok(Arc::clone(mac)),
            _ => unwrap_mac(&self.keks, keyring),
        }
    }

    /// Makes `keyring` the one that everybody sees, after the step of the store that made it true.
    ///
    /// Keys that do not unwrap are remembered ([`KeysAt::lack`]), not an error here. The cutover moves once, from none.
    ///
    /// # Errors
    /// [`InstallError`]: the keys are as before, the node must halt.
    pub fn install(&self, keyring: Keyring) -> Result<(), InstallError> {
        let _installing = self.installing.lock().unwrap_or_else(PoisonError::into_inner);
        if keyring.cluster() != self.cluster {
            return Err(InstallError::OtherCluster { offered: keyring.cluster(), known: self.cluster });
        }
        let (known, offered) = (self.cutover(), keyring.cutover());
        if known != Index::NEVER && offered != known {
            return Err(InstallError::OtherCutover { offered, known });
        }
        let lacks = self.take_deks(&keyring)?;
        let mac = self.mac_key_of(&keyring);
        let names = self.name_key_of(&keyring);
        let (keys, has_kek) = (self.store.snapshot(), !self.keks.is_empty());
        let current = KeysAt { keyring: Some(keyring), keys, mac, names, lacks, has_kek };
        // The keys first: whoever sees the cutover sees the keys that it asks for.
        self.current.store(Arc::new(current));
        self.cutover.set(offered);
        Ok(())
    }

    fn name_key_of(&self, keyring: &Keyring) -> Result<Arc<NameKey>, KeyLack> {
        let current = self.current.load();
        let known = current.keyring.as_ref().map(Keyring::naming);
        match (&current.names, keyring.naming()) {
            (Ok(names), naming) if known == Some(naming) => Ok(Arc::clone(names)),
            (_, Naming::Clear) => {
                let clear = self.clear_names.load_full();
                clear.map(|clear| Arc::clone(&clear.1)).ok_or(KeyLack::NotBootstrapped)
            }
            (_, Naming::Secret(key)) => {
                let key = unwrap_checked(&self.keks, self.cluster, KeySlot::Name, key)?;
                Ok(Arc::new(NameKey::new(&key, self.cluster)))
            }
        }
    }

    /// Brings the key store to where the keyring is, and says what is lacking.
    fn take_deks(&self, keyring: &Keyring) -> Result<BTreeMap<KeyId, KeyLack>, KeyError> {
        let present = self.store.snapshot();
        let mut lacks = BTreeMap::new();
        let mut unwrapped = Vec::new();
        for dek in keyring.deks() {
            if dek.state == DekState::Retired {
                self.store.remove(dek.id);
                continue;
            }
            let is_present = match dek.purpose {
                Purpose::Entry => present.entry(dek.id).is_some(),
                Purpose::Value => present.value(dek.id).is_some(),
            };
            if is_present {
                continue;
            }
            let slot = KeySlot::Dek(dek.id, dek.purpose);
            match unwrap_checked(
                &self.keks,
                keyring.cluster(),
                slot,
                &NewKey { check: dek.check, wrapped: dek.wrapped },
            ) {
                Ok(key) => {
                    self.store.insert(dek.id, dek.purpose, key)?;
                    unwrapped.push(dek.id);
                }
                Err(lack) => {
                    tracing::warn!(target: "audit", key = %dek.id, %lack, "a data key does not unwrap");
                    lacks.insert(dek.id, lack);
                }
            }
        }
        // One line for all: a keyring may hold thousands.
        if let (Some(first), Some(last)) = (unwrapped.first(), unwrapped.last()) {
            tracing::info!(target: "audit", keys = unwrapped.len(), %first, %last, "data keys are unwrapped");
        }
        Ok(lacks)
    }
}

/// The MAC key of a keyring, unwrapped; for a start that verifies the state record before there is a [`NodeKeys`].
///
/// # Errors
/// [`KeyLack`].
pub fn unwrap_mac(keks: &KekSet, keyring: &Keyring) -> Result<Arc<MacKey>, KeyLack> {
    let key = unwrap_checked(keks, keyring.cluster(), KeySlot::Mac, keyring.mac())?;
    Ok(Arc::new(MacKey::new(&key)))
}

fn unwrap_checked(keks: &KekSet, cluster: ClusterId, slot: KeySlot, key: &NewKey) -> Result<Dek, KeyLack> {
    let key_id = slot.number();
    let dek = slot.unwrap(keks, cluster, &key.wrapped).map_err(|error| match error {
        UnwrapError::NoKek { wrapped_by } => KeyLack::NoCipher { wrapped_by },
        UnwrapError::OtherKek { wrapped_by, .. } => KeyLack::OtherKek { key_id, wrapped_by },
        UnwrapError::Unauthentic { wrapped_by } => KeyLack::Unauthentic { key_id, wrapped_by },
    })?;
    if dek.check() == key.check { Ok(dek) } else { Err(KeyLack::OtherKey { key_id }) }
}
