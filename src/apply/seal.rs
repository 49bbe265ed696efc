//! From values to rows of the store: sealed in batches, each value under the entry, the op and the key that wrote it.
//!
//! The bytes of a row depend on the entry, the op and the key alone, not on how entries were cut into runs or on when
//! the row is sealed (SAME-BYTES).

use zeroize::Zeroizing;

use crate::crypto::seal::SealError;
use crate::crypto::stored::ValueItem;
use crate::crypto::stored::seal_values;
use crate::fsm::overlay::Changes;
use crate::fsm::overlay::RowChange;
use crate::fsm::overlay::SealedBy;
use crate::fsm::overlay::WrittenAt;
use crate::fsm::store::Commit;
use crate::fsm::value::BodyState;
use crate::fsm::value::HEADER_LEN;
use crate::fsm::value::Value;
use crate::ids::KeyId;
use crate::keys::node_keys::ActiveValue;

/// A commit with the users' rows of `changes`, and how many of them were sealed.
///
/// # Errors
/// [`SealError`] if a place does not fit a nonce, which the machine has ruled out.
///
/// # Panics
/// If a value must be sealed and there is no key: the machine has halted before it.
pub(crate) fn rows(changes: Changes) -> Result<(Commit, u64), SealError> {
    let mut commit = Commit { cleared: changes.cleared, ..Commit::default() };
    let mut batch = SealBatch::default();
    let mut sealed = 0;
    for (name, change) in changes.rows {
        match change {
            RowChange::Delete => commit.deletes.push(name),
            RowChange::Put { key, value, at } => {
                let row = match &at.sealed {
                    None => value.encode_clear_row(&key),
                    Some(_) => {
                        batch.add(commit.puts.len(), &key, &value, at);
                        sealed += 1;
                        Vec::new()
                    }
                };
                commit.puts.push((name, row));
                if batch.bodies.len() >= SEAL_BATCH_BYTES {
                    batch.seal(&mut commit)?;
                }
            }
        }
    }
    batch.seal(&mut commit)?;
    Ok((commit, sealed))
}

/// Values that are sealed together. Their plaintext is wiped with it.
#[derive(Default)]
struct SealBatch {
    bodies: Zeroizing<Vec<u8>>,
    values: Vec<Pending>,
}

struct Pending {
    /// Where its row goes in the commit.
    put: usize,
    header: [u8; HEADER_LEN],
    body_start: usize,
    body_end: usize,
    at: WrittenAt,
}

impl Pending {
    fn sealed(&self) -> &SealedBy {
        self.at.sealed.as_deref().expect("only sealed values are gathered")
    }

    fn key(&self) -> &ActiveValue {
        self.sealed().value_key.as_ref().expect("the machine halts at an entry whose values have no key")
    }

    fn key_id(&self) -> KeyId {
        self.key().dek.key_id()
    }
}

impl SealBatch {
    fn add(&mut self, put: usize, key: &[u8], value: &Value, at: WrittenAt) {
        let body_start = self.bodies.len();
        value.encode_body(key, &mut self.bodies);
        let header = value.header(BodyState::Sealed).encode();
        self.values.push(Pending { put, header, body_start, body_end: self.bodies.len(), at });
    }

    /// Seals what was gathered: one call for each key, of which there is more than one only around a rotation.
    fn seal(&mut self, commit: &mut Commit) -> Result<(), SealError> {
        self.values.sort_by_key(Pending::key_id);
        for values in self.values.chunk_by(|one, next| one.key_id() == next.key_id()) {
            seal_chunk(values, &self.bodies, commit)?;
        }
        self.values.clear();
        self.bodies.clear();
        Ok(())
    }
}

fn seal_chunk(values: &[Pending], bodies: &[u8], commit: &mut Commit) -> Result<(), SealError> {
    let ActiveValue { dek, active_from } = values[0].key();
    let item = |pending: &Pending| ValueItem {
        store_key: commit.puts[pending.put].0.as_bytes(),
        header: pending.header,
        body: &bodies[pending.body_start..pending.body_end],
        entry_tag: pending.sealed().entry_tag,
        delta: pending.at.index.0.saturating_sub(active_from.0),
        op: pending.at.op.into(),
    };
    let items: Vec<ValueItem<'_>> = values.iter().map(item).collect();
    let rows = seal_values(dek, &items)?;
    assert_eq!(rows.len(), values.len(), "a row for each value");
    drop(items);
    for (pending, row) in values.iter().zip(rows) {
        commit.puts[pending.put].1 = row.into();
    }
    Ok(())
}

/// Plaintext gathered before it is sealed: large enough that a batch is never short, small enough to stay in a cache.
const SEAL_BATCH_BYTES: usize = 256 << 10;
