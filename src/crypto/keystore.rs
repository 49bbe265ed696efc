//! Data keys in memory: each set once, expanded once, seen by readers as a snapshot, wiped when the last one lets go.
//!
//! ```text
//! leadership key  HKDF(entry DEK, salt of the opener, "sealkv entry", cluster(16), key_id(4), term(8))
//! control key     HKDF(entry DEK, "", "sealkv control", cluster(16), key_id(4))
//! value key       HKDF(value DEK, "", "sealkv value")
//! nonce keys      HKDF(value DEK, "", "sealkv value nonce"), 48 bytes: POLYVAL 16, AES 32
//! check value     HKDF(DEK, "", "sealkv check"), 8 bytes
//! ```
//!
//! No key has two uses: each purpose has its own DEK or its own label. Nothing here prints a key byte.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use arc_swap::ArcSwap;
use arc_swap::ArcSwapOption;
use subtle::ConstantTimeEq;

use crate::crypto::aead;
use crate::crypto::aead::Aead;
use crate::crypto::aead::KEY_LEN;
use crate::crypto::derive::CHECK_LEN;
use crate::crypto::derive::derive;
use crate::crypto::key_page::KeyPage;
use crate::crypto::siv::TagKey;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Term;

/// What a DEK is for; a key of one purpose is unknown to the other. The number stands in wrapped keys' AAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Log entries and control entries.
    Entry = 1,
    /// Stored values.
    Value = 2,
}

impl Purpose {
    /// The purpose of that number, if it is one.
    #[must_use]
    pub fn of(byte: u8) -> Option<Purpose> {
        match byte {
            1 => Some(Purpose::Entry),
            2 => Some(Purpose::Value),
            _ => None,
        }
    }
}

/// The bytes of a data key, in a page of their own. Wiped on drop, compared in constant time, never printed.
pub struct Dek(KeyPage);

impl Dek {
    /// Copies 32 bytes that nobody can guess; the caller wipes its own copy.
    #[must_use]
    pub fn new(bytes: &[u8; KEY_LEN]) -> Dek {
        Dek(KeyPage::new(bytes))
    }

    /// The bytes, for wrapping and derivation only.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_LEN] {
        self.0.bytes()
    }

    /// Tells keys apart without saying anything about them; equal ones are refused.
    #[must_use]
    pub fn check(&self) -> [u8; CHECK_LEN] {
        *derive(self.expose(), b"", "sealkv check", &[])
    }
}

impl PartialEq for Dek {
    fn eq(&self, other: &Dek) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Dek {}

debug_fields!(self: Dek {});

/// The salt of a term's leadership key, as the newest opener published it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermSalt {
    /// Term of the opener, and of every entry that is sealed with this salt.
    pub term: Term,
    /// Index of the opener; entries that are sealed with this salt lie behind it.
    pub index: Index,
    /// 32 kernel-random bytes; not secret.
    pub salt: [u8; 32],
}

/// Seals and opens the entries of one term: one expanded key, shared by the proposer and apply.
pub struct LeadershipKey {
    pub(crate) key_id: KeyId,
    pub(crate) term_salt: TermSalt,
    pub(crate) aead: Arc<dyn Aead>,
}

impl LeadershipKey {
    /// The DEK it comes from.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The salt it comes from.
    #[must_use]
    pub fn term_salt(&self) -> &TermSalt {
        &self.term_salt
    }
}

/// An entry DEK with what is derived from it.
pub struct EntryDek {
    key_id: KeyId,
    cluster: ClusterId,
    dek: Dek,
    check: [u8; CHECK_LEN],
    control: Arc<dyn Aead>,
    /// The leadership key asked for last: there is one term at a time.
    newest: ArcSwapOption<LeadershipKey>,
}

impl EntryDek {
    /// Derives and expands.
    #[must_use]
    pub fn new(cluster: ClusterId, key_id: KeyId, dek: Dek) -> EntryDek {
        let control = derive::<KEY_LEN>(dek.expose(), b"", "sealkv control", &[&cluster.0, &key_id.to_bytes()]);
        let check = dek.check();
        EntryDek { key_id, cluster, check, control: aead::key(&control), dek, newest: ArcSwapOption::empty() }
    }

    /// Its id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The key of the salt's term. The newest one is kept, so asking again costs a comparison.
    #[must_use]
    pub fn leadership(&self, term_salt: &TermSalt) -> Arc<LeadershipKey> {
        if let Some(newest) = self.newest.load().as_ref().filter(|newest| newest.term_salt == *term_salt) {
            return Arc::clone(newest);
        }
        let parts: [&[u8]; 3] = [&self.cluster.0, &self.key_id.to_bytes(), &term_salt.term.0.to_be_bytes()];
        let bytes = derive::<KEY_LEN>(self.dek.expose(), &term_salt.salt, "sealkv entry", &parts);
        let key = Arc::new(LeadershipKey { key_id: self.key_id, term_salt: *term_salt, aead: aead::key(&bytes) });
        self.newest.store(Some(Arc::clone(&key)));
        key
    }

    pub(crate) fn control(&self) -> &Arc<dyn Aead> {
        &self.control
    }
}

/// A value DEK with what is derived from it.
pub struct ValueDek {
    key_id: KeyId,
    check: [u8; CHECK_LEN],
    dek: Dek,
    pub(crate) aead: Arc<dyn Aead>,
    pub(crate) nonces: TagKey,
}

impl ValueDek {
    /// Derives and expands.
    #[must_use]
    pub fn new(key_id: KeyId, dek: Dek) -> ValueDek {
        let key = derive::<KEY_LEN>(dek.expose(), b"", "sealkv value", &[]);
        let nonces = derive::<48>(dek.expose(), b"", "sealkv value nonce", &[]);
        let check = dek.check();
        ValueDek { key_id, check, aead: aead::key(&key), nonces: TagKey::from_bytes(&nonces), dek }
    }

    /// Its id.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }
}

macro_rules! debug_by_id {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("key_id", &self.key_id.value()).finish_non_exhaustive()
            }
        }
    )*};
}
debug_by_id!(LeadershipKey, EntryDek, ValueDek);

#[derive(Clone, Debug)]
enum Key {
    Entry(Arc<EntryDek>),
    Value(Arc<ValueDek>),
}

impl Key {
    fn purpose(&self) -> Purpose {
        match self {
            Key::Entry(_) => Purpose::Entry,
            Key::Value(_) => Purpose::Value,
        }
    }

    fn dek(&self) -> &Dek {
        match self {
            Key::Entry(key) => &key.dek,
            Key::Value(key) => &key.dek,
        }
    }

    fn check(&self) -> &[u8; CHECK_LEN] {
        match self {
            Key::Entry(key) => &key.check,
            Key::Value(key) => &key.check,
        }
    }
}

/// The keys as they were at one moment.
#[derive(Clone, Debug, Default)]
pub struct DataKeys {
    by_id: BTreeMap<KeyId, Key>,
}

impl DataKeys {
    /// The entry DEK of that id; a value DEK's id is unknown here.
    #[must_use]
    pub fn entry(&self, key_id: KeyId) -> Option<&Arc<EntryDek>> {
        match self.by_id.get(&key_id) {
            Some(Key::Entry(key)) => Some(key),
            _ => None,
        }
    }

    /// The value DEK of that id; an entry DEK's id is unknown here.
    #[must_use]
    pub fn value(&self, key_id: KeyId) -> Option<&Arc<ValueDek>> {
        match self.by_id.get(&key_id) {
            Some(Key::Value(key)) => Some(key),
            _ => None,
        }
    }

    /// Ids and purposes, in ascending order.
    pub fn ids(&self) -> impl Iterator<Item = (KeyId, Purpose)> + '_ {
        self.by_id.iter().map(|(key_id, key)| (*key_id, key.purpose()))
    }
}

/// A key was not taken; the store is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The id is taken by another key, or by the same one for another purpose.
    #[error("key id {key_id} is taken by another key")]
    Conflict {
        /// The id.
        key_id: KeyId,
    },
    /// Another id has the same check value: one key would have two uses.
    #[error("key {key_id} is the same as key {other}")]
    SameKey {
        /// The id that was refused.
        key_id: KeyId,
        /// The id that has this key.
        other: KeyId,
    },
}

/// The data keys of one cluster: set once per id, any number of readers, no lock for them.
#[derive(Debug)]
pub struct KeyStore {
    cluster: ClusterId,
    keys: ArcSwap<DataKeys>,
    writing: Mutex<()>,
}

impl KeyStore {
    /// A store without keys.
    #[must_use]
    pub fn new(cluster: ClusterId) -> KeyStore {
        KeyStore { cluster, keys: ArcSwap::from_pointee(DataKeys::default()), writing: Mutex::new(()) }
    }

    /// Adds a key; the same key under the same id again does nothing.
    ///
    /// # Errors
    /// [`KeyError`]: the id has another key, or the key has another id.
    pub fn insert(&self, key_id: KeyId, purpose: Purpose, dek: Dek) -> Result<(), KeyError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.load_full();
        if let Some(key) = keys.by_id.get(&key_id) {
            let is_same = key.purpose() == purpose && *key.dek() == dek;
            return if is_same { Ok(()) } else { Err(KeyError::Conflict { key_id }) };
        }
        let check = dek.check();
        if let Some((other, _)) = keys.by_id.iter().find(|(_, key)| bool::from(key.check().ct_eq(&check))) {
            return Err(KeyError::SameKey { key_id, other: *other });
        }
        let key = match purpose {
            Purpose::Entry => Key::Entry(Arc::new(EntryDek::new(self.cluster, key_id, dek))),
            Purpose::Value => Key::Value(Arc::new(ValueDek::new(key_id, dek))),
        };
        let mut keys = DataKeys::clone(&keys);
        keys.by_id.insert(key_id, key);
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Forgets a key; it is wiped once the last snapshot that holds it is gone. Whether it was there.
    pub fn remove(&self, key_id: KeyId) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = DataKeys::clone(&self.keys.load());
        let was_there = keys.by_id.remove(&key_id).is_some();
        if was_there {
            self.keys.store(Arc::new(keys));
        }
        was_there
    }

    /// The keys of this moment; later changes do not reach it. Take one per batch or run, not per entry.
    #[must_use]
    pub fn snapshot(&self) -> Arc<DataKeys> {
        self.keys.load_full()
    }
}
