//! From the effects of a run to rows of the store: values are sealed in batches, each under the place that wrote it.
//!
//! The bytes of a row depend on the entry, the op and the key alone, not on how entries were cut into runs (SAME-BYTES).

use zeroize::Zeroizing;

use crate::crypto::aead::TAG_LEN;
use crate::crypto::seal::SealError;
use crate::crypto::stored::ValueItem;
use crate::crypto::stored::seal_values;
use crate::fsm::overlay::Changes;
use crate::fsm::overlay::RowChange;
use crate::fsm::overlay::WrittenAt;
use crate::fsm::store::Commit;
use crate::fsm::value::BodyState;
use crate::fsm::value::HEADER_LEN;
use crate::fsm::value::Value;
use crate::keys::node_keys::ActiveValue;

/// A commit with the users' rows of `changes`, and how many of them were sealed.
///
/// # Errors
/// [`SealError`] if a place does not fit a nonce, which the machine has ruled out.
///
/// # Panics
/// If a value must be sealed and there is no key: the machine has halted before it.
pub(crate) fn rows(changes: Changes, active: Option<&ActiveValue>) -> Result<(Commit, u64), SealError> {
    let mut commit = Commit { clear: changes.clear, ..Commit::default() };
    let mut batch = SealBatch::default();
    let mut sealed = 0;
    for (key, change) in changes.rows {
        match change {
            RowChange::Delete => commit.deletes.push(key),
            RowChange::Put { value, at } => {
                let row = match at.entry_tag {
                    None => value.encode_clear_row(),
                    Some(entry_tag) => {
                        batch.add(commit.puts.len(), &value, at, entry_tag);
                        sealed += 1;
                        Vec::new()
                    }
                };
                commit.puts.push((key, row));
                if batch.bodies.len() >= SEAL_BATCH_BYTES {
                    batch.seal(active, &mut commit)?;
                }
            }
        }
    }
    batch.seal(active, &mut commit)?;
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
    body_end: usize,
    at: WrittenAt,
    entry_tag: [u8; TAG_LEN],
}

impl SealBatch {
    fn add(&mut self, put: usize, value: &Value, at: WrittenAt, entry_tag: [u8; TAG_LEN]) {
        value.encode_body(&mut self.bodies);
        let header = value.header(BodyState::Sealed).encode();
        self.values.push(Pending { put, header, body_end: self.bodies.len(), at, entry_tag });
    }

    fn seal(&mut self, active: Option<&ActiveValue>, commit: &mut Commit) -> Result<(), SealError> {
        if self.values.is_empty() {
            return Ok(());
        }
        let active = active.expect("the machine halts at an entry whose values have no key");
        let mut items = Vec::with_capacity(self.values.len());
        let mut body_start = 0;
        for pending in &self.values {
            items.push(ValueItem {
                store_key: &commit.puts[pending.put].0,
                header: pending.header,
                body: &self.bodies[body_start..pending.body_end],
                entry_tag: pending.entry_tag,
                delta: pending.at.index.0.saturating_sub(active.active_from.0),
                op: pending.at.op.into(),
            });
            body_start = pending.body_end;
        }
        let rows = seal_values(&active.dek, &items)?;
        assert_eq!(rows.len(), self.values.len(), "a row for each value");
        drop(items);
        for (pending, row) in self.values.drain(..).zip(rows) {
            commit.puts[pending.put].1 = row.into();
        }
        self.bodies.clear();
        Ok(())
    }
}

/// Plaintext gathered before it is sealed: large enough that a batch is never short, small enough to stay in a cache.
const SEAL_BATCH_BYTES: usize = 256 << 10;
