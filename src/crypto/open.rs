//! Opening, many at a time: ciphertexts are copied into one reused arena and opened there, one batch per key.
//!
//! Entry bytes are never modified. Each thread has its own [`OpenArena`]; in steady state an entry costs no allocation.
//! Which key opens an envelope follows from its version, key id and term alone; keys are never tried in turn.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::crypto::aead::Aead;
use crate::crypto::aead::Message;
use crate::crypto::aead::NONCE_LEN;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::Verdict;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::Version;
use crate::crypto::envelope::control_aad;
use crate::crypto::envelope::entry_aad;
use crate::crypto::keystore::DataKeys;
use crate::crypto::keystore::TermSalt;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::Term;

/// All that decides which key opens an entry: the keys of this moment and the newest salt. Share it between threads.
#[derive(Clone, Debug)]
pub struct EntryKeys {
    keys: Arc<DataKeys>,
    term_salt: Option<TermSalt>,
}

impl EntryKeys {
    /// For a run whose keyring has this salt as the newest, if it has one.
    #[must_use]
    pub fn new(keys: Arc<DataKeys>, term_salt: Option<TermSalt>) -> EntryKeys {
        EntryKeys { keys, term_salt }
    }

    /// The key of an envelope of that version and key id, in an entry of that term.
    fn find(&self, version: Version, key_id: KeyId, term: Term) -> Result<Arc<dyn Aead>, OpenError> {
        let unknown = OpenError::UnknownKey { key_id };
        match version {
            Version::One => Err(OpenError::EnvelopeVersion { version: version as u8 }),
            Version::Entry => {
                let newest = self.term_salt.as_ref().filter(|newest| newest.term == term).ok_or(unknown)?;
                let dek = self.keys.entry(key_id).ok_or(unknown)?;
                Ok(Arc::clone(&dek.leadership(newest).aead))
            }
            Version::Control => Ok(Arc::clone(self.keys.entry(key_id).ok_or(unknown)?.control())),
        }
    }
}

/// One entry to open: version 2 or 3, told apart by its envelope.
#[derive(Clone, Copy)]
pub struct OpenJob<'a> {
    /// Where it lies in the log, by the log's word.
    pub position: Position,
    /// Its data: entry frame and envelope.
    pub data: &'a [u8],
}

debug_fields!(self: OpenJob<'_> { position: self.position, data_bytes: self.data.len() });

/// Opens a chunk of entries; `arena` then has a result for each, in the order of `jobs`.
///
/// Cost: one copy of the ciphertexts and one batch for each key that occurs. A bad entry fails alone.
pub fn open_entries(keys: &EntryKeys, jobs: &[OpenJob<'_>], arena: &mut OpenArena) {
    arena.clear();
    arena.text.reserve(jobs.iter().map(|job| job.data.len()).sum());
    for job in jobs {
        let result = push_entry(keys, job, arena);
        arena.push_error(result);
    }
    arena.open_all();
}

/// Opens one entry.
///
/// # Errors
/// [`OpenError`].
pub fn open_entry(keys: &EntryKeys, job: OpenJob<'_>) -> Result<Vec<u8>, OpenError> {
    let mut arena = OpenArena::default();
    open_entries(keys, &[job], &mut arena);
    arena.get(0).map(<[u8]>::to_vec)
}

fn push_entry(keys: &EntryKeys, job: &OpenJob<'_>, arena: &mut OpenArena) -> Result<(), OpenError> {
    let frame = EntryFrame::decode(job.data)?;
    let envelope = Envelope::parse(frame.payload)?;
    let (version, key_id, position) = (envelope.version, envelope.key_id, job.position);
    let key =
        arena.key(KeyName { version, key_id, term: position.term }, || keys.find(version, key_id, position.term))?;
    let aad = match version {
        Version::Control => control_aad(key_id, position, frame.proposal_id),
        Version::Entry | Version::One => entry_aad(key_id, position, frame.proposal_id),
    };
    arena.push(key, &envelope, |out| out.extend_from_slice(&aad));
    Ok(())
}

/// Space to open in, reused from run to run, and the results of the last batch. Wiped on drop.
#[derive(Default)]
pub struct OpenArena {
    /// Ciphertext and tag of each thing, one behind the other; plaintext where a thing was authentic, else zeros.
    text: Vec<u8>,
    /// The AAD of each thing, one behind the other.
    aads: Vec<u8>,
    slots: Vec<OpenSlot>,
    /// The keys that occur in this batch; let go at its end.
    keys: Vec<(KeyName, Arc<dyn Aead>)>,
    verdicts: Vec<Verdict>,
}

/// What decides a key within one batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyName {
    pub(crate) version: Version,
    pub(crate) key_id: KeyId,
    pub(crate) term: Term,
}

/// A ciphertext of the batch, or why it did not come to that.
enum OpenSlot {
    Failed(OpenError),
    Sealed { key: usize, key_id: KeyId, nonce: [u8; NONCE_LEN], aad: Range<usize>, text: Range<usize> },
}

impl OpenArena {
    /// How many things the last batch had.
    #[must_use]
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// The plaintext of the n-th thing of the last batch, or why there is none.
    ///
    /// # Errors
    /// [`OpenError`] of that thing; others are not affected by it.
    ///
    /// # Panics
    /// If the last batch had no n-th thing.
    pub fn get(&self, n: usize) -> Result<&[u8], OpenError> {
        match &self.slots[n] {
            OpenSlot::Failed(error) => Err(*error),
            OpenSlot::Sealed { text, .. } => Ok(&self.text[text.start..text.end - TAG_LEN]),
        }
    }

    /// All results of the last batch, in its order.
    pub fn results(&self) -> impl Iterator<Item = Result<&[u8], OpenError>> {
        (0..self.count()).map(|n| self.get(n))
    }

    /// Bytes of the texts of the batch.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes that it takes in memory for texts.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Forgets the last batch, keeps the space.
    pub fn clear(&mut self) {
        self.text.clear();
        self.aads.clear();
        self.slots.clear();
        self.keys.clear();
    }

    /// The number within this batch of a key, looked up where it is new.
    pub(crate) fn key(
        &mut self,
        name: KeyName,
        find: impl FnOnce() -> Result<Arc<dyn Aead>, OpenError>,
    ) -> Result<usize, OpenError> {
        if let Some(number) = self.keys.iter().rposition(|(known, _)| *known == name) {
            return Ok(number);
        }
        self.keys.push((name, find()?));
        Ok(self.keys.len() - 1)
    }

    /// Adds a thing to open.
    pub(crate) fn push(&mut self, key: usize, envelope: &Envelope<'_>, push_aad: impl FnOnce(&mut Vec<u8>)) {
        let (text_start, aad_start) = (self.text.len(), self.aads.len());
        self.text.extend_from_slice(envelope.sealed);
        push_aad(&mut self.aads);
        self.slots.push(OpenSlot::Sealed {
            key,
            key_id: envelope.key_id,
            nonce: envelope.nonce,
            aad: aad_start..self.aads.len(),
            text: text_start..self.text.len(),
        });
    }

    /// Adds a thing that failed before it could be opened.
    pub(crate) fn push_error(&mut self, pushed: Result<(), OpenError>) {
        if let Err(error) = pushed {
            self.slots.push(OpenSlot::Failed(error));
        }
    }

    /// Opens all that was added, one batch for each key.
    pub fn open_all(&mut self) {
        for number in 0..self.keys.len() {
            let mut messages = Vec::with_capacity(self.slots.len());
            let (mut rest, mut rest_start) = (&mut self.text[..], 0);
            for slot in &self.slots {
                let OpenSlot::Sealed { key, nonce, aad, text, .. } = slot else {
                    continue;
                };
                // What failed under an earlier key has left wiped text behind, which is skipped here.
                let (_skipped, here) = rest.split_at_mut(text.start - rest_start);
                let (text_inout, behind) = here.split_at_mut(text.len());
                (rest, rest_start) = (behind, text.end);
                if *key == number {
                    messages.push(Message { nonce: *nonce, aad: &self.aads[aad.clone()], text_inout });
                }
            }
            self.verdicts.clear();
            self.verdicts.resize(messages.len(), Verdict::Unauthentic);
            self.keys[number].1.open_batch(&mut messages, &mut self.verdicts);
            self.judge(number);
        }
        self.keys.clear();
    }

    fn judge(&mut self, number: usize) {
        let opened =
            self.slots.iter_mut().filter(|slot| matches!(slot, OpenSlot::Sealed { key, .. } if *key == number));
        for (slot, verdict) in opened.zip(&self.verdicts) {
            if let (OpenSlot::Sealed { key_id, .. }, Verdict::Unauthentic) = (&*slot, verdict) {
                *slot = OpenSlot::Failed(OpenError::Unauthentic { key_id: *key_id });
            }
        }
    }
}

impl Drop for OpenArena {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

debug_fields!(self: OpenArena { count: self.slots.len() });
