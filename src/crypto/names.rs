//! Names of rows: a user's key becomes 16 bytes by which its row is found, so that no key is readable in the store.
//!
//! ```text
//! name      the tag of RFC 8452 section 4 over the user's key: empty AAD, nonce zero
//! its keys  48 bytes of HKDF(name key, "", "sealkv name", cluster(16)): POLYVAL 16, AES 32
//! name key  32 random bytes of the keyring
//!
//! without keys: 48 bytes of HKDF(clear name key, "", "sealkv name clear", cluster(16))
//! clear name key  32 random bytes, drawn by the founder, or by the first leader of several; in the state, in the clear
//! ```
//!
//! Equal keys have equal names, and that is all that a name says of a key, as long as the name key is secret. Whoever
//! knows it can choose keys that share a name. The clear name key is known to whoever reads a disk of the cluster, and to
//! nobody else: no client learns it.
//! Databases are no part of a name: a row's place in the store has the database in front of it.

use crate::crypto::aead::KEY_LEN;
use crate::crypto::aead::TAG_KEYS_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::derive::derive;
use crate::crypto::keystore::Dek;
use crate::crypto::siv::TagKey;
use crate::ids::ClusterId;

/// Bytes of a name.
pub const NAME_LEN: usize = 16;

/// What names are derived from where there are no keys. It is the same on every replica, and never printed: a client that knew
/// it could choose keys that share a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ClearNameKey(pub [u8; KEY_LEN]);

debug_fields!(self: ClearNameKey {});

impl ClearNameKey {
    /// None yet: the first leader of several founders draws it. A node names rows with it all the same, for there are none.
    pub const UNDRAWN: ClearNameKey = ClearNameKey([0; KEY_LEN]);
}

/// What names are computed with, expanded for the tier of this process. Wiped on drop, never printed.
pub struct NameKey {
    tags: TagKey,
    is_secret: bool,
}

impl NameKey {
    /// Derives from the cluster's name key.
    #[must_use]
    pub fn new(key: &Dek, cluster: ClusterId) -> NameKey {
        let tags = TagKey::from_bytes(&derive::<TAG_KEYS_LEN>(key.expose(), b"", "sealkv name", &[&cluster.0]));
        NameKey { tags, is_secret: true }
    }

    /// Of a cluster without a name key. Whoever reads its disk knows the names of all keys.
    #[must_use]
    pub fn clear(key: &ClearNameKey, cluster: ClusterId) -> NameKey {
        let tags = TagKey::from_bytes(&derive::<TAG_KEYS_LEN>(&key.0, b"", "sealkv name clear", &[&cluster.0]));
        NameKey { tags, is_secret: false }
    }

    /// Whether nobody outside the cluster's nodes can know it: then two keys of one name are damage, otherwise somebody may
    /// have made them.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Writes the name of each key; many at once are computed side by side.
    ///
    /// # Panics
    /// If there are not as many names as keys.
    pub fn names(&self, keys: &[&[u8]], names_inout: &mut [[u8; NAME_LEN]]) {
        assert_eq!(keys.len(), names_inout.len(), "a name for each key");
        if let [key] = keys {
            return self.tags.tags_into(&[message(key)], names_inout);
        }
        for (keys, names) in keys.chunks(AT_ONCE).zip(names_inout.chunks_mut(AT_ONCE)) {
            let mut messages = [message(&[]); AT_ONCE];
            for (place, key) in messages.iter_mut().zip(keys) {
                *place = message(key);
            }
            self.tags.tags_into(&messages[..keys.len()], names);
        }
    }
}

fn message(key: &[u8]) -> TagMessage<'_> {
    TagMessage { aad: &[], plaintext: key, place: [0; 12] }
}

debug_fields!(self: NameKey {});

/// Enough for every lane; more would be set up in vain for short batches, and gains a fifth at most (measured 2026-11-28).
const AT_ONCE: usize = 16;
