//! Everything that nodes of a cluster ever sealed, whether or not it survived: no key seals two texts under one nonce.

use std::collections::HashMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::Version;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::fsm::name::RowName;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;

/// Version, key id, the term of an entry, which decides its key, and the nonce.
type SealedUnder = (Version, u32, u64, [u8; 12]);

/// See the head of this file. A clone is the same book.
#[derive(Clone, Default)]
pub(super) struct Sealings {
    seen: Arc<Mutex<HashMap<SealedUnder, u64>>>,
}

debug_fields!(self: Sealings { count: self.count() });

impl Sealings {
    /// An entry that is handed to a log.
    ///
    /// # Panics
    /// NONCE-UNIQUE, as for [`Sealings::row`].
    pub(super) fn entry(&self, entry: &LogEntry) {
        let Ok(frame) = EntryFrame::decode(&entry.data) else { return };
        // A payload in the clear begins with another byte, or has another flag behind it.
        match Envelope::parse(frame.payload) {
            Ok(envelope) if entry.kind == EntryKind::Normal && envelope.version != Version::One => {
                let term = if envelope.version == Version::Entry { entry.term.0 } else { 0 };
                self.add(&envelope, term, &(frame.proposal_id.0, frame.payload));
            }
            _ => {}
        }
    }

    /// A row of a state.
    pub(super) fn row(&self, name: &RowName, row: &[u8]) {
        let (header, body) = Header::split(row).expect("this program wrote it");
        if header.state == BodyState::Sealed {
            let envelope = Envelope::parse(body).expect("this program wrote it");
            self.add(&envelope, 0, &(name.as_bytes(), row));
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.seen().len()
    }

    fn add(&self, envelope: &Envelope<'_>, term: u64, text: &impl Hash) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let (under, text) = ((envelope.version, envelope.key_id.value(), term, envelope.nonce), hasher.finish());
        let before = self.seen().insert(under, text);
        assert!(before.is_none_or(|before| before == text), "NONCE-UNIQUE: {under:?}");
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<SealedUnder, u64>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
