//! The beginning of an entry: whether its commands run at all.

use crate::fsm::codec::CommandBatch;
use crate::fsm::kv::words;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::Base;
use crate::fsm::table_row::SealedBy;
use crate::ids::Index;
use crate::limits::ENTRY_VALUE_BYTES_MAX;

impl Overlay {
    /// Judges the conditions of the entry at `index`, before its first command runs. Commands need the context.
    ///
    /// The verdict depends on replicated bytes only (SAME-DECISION). A key that is past due by the stamp is not there,
    /// whether its row is or not. If a condition does not hold, each command answers an error and writes nothing.
    ///
    /// `stamp_ms` must never decrease from entry to entry: the larger of the batch's own and the last applied stamp, or
    /// a key that expired could come back. `sealed` is `None` at or below the cutover. `names` are those of `batch`
    /// ([`names_of_batch`](crate::fsm::naming::names_of_batch)).
    ///
    /// # Errors
    /// [`ReadError`] if a value cannot be read or opened: halt.
    ///
    /// # Panics
    /// At index 0, which stands for "no such key"; if there are fewer names than conditions.
    pub fn begin<'n, B: Base + ?Sized>(
        &self,
        base: &B,
        index: Index,
        stamp_ms: u64,
        sealed: Option<SealedBy>,
        batch: &CommandBatch<'_>,
        names: &'n [RowName],
    ) -> Result<WriteContext<'n>, ReadError> {
        let (conditions, names) = names.split_at(batch.conditions().len());
        let refusal = if batch.exceeds_writes() {
            Some(words::WRITES_MANY)
        } else {
            self.broken_condition(base, index, stamp_ms, batch, conditions)?
        };
        Ok(WriteContext::new(index, stamp_ms, sealed, refusal, names))
    }

    fn broken_condition<B: Base + ?Sized>(
        &self,
        base: &B,
        index: Index,
        stamp_ms: u64,
        batch: &CommandBatch<'_>,
        names: &[RowName],
    ) -> Result<Option<&'static str>, ReadError> {
        let mut opened_bytes = 0;
        for (condition, name) in batch.conditions().zip(names) {
            let found = match self.value_for(base, RowKey::new(*name, condition.key), index) {
                Err(error) if error.is_other_key() && !self.has_secret_names() => return Ok(Some(words::NAME_TAKEN)),
                found => found?,
            };
            opened_bytes += found.as_ref().map_or(0, |value| value.bytes.len() as u64);
            if opened_bytes > ENTRY_VALUE_BYTES_MAX {
                return Ok(Some(words::VALUES_LARGE));
            }
            let live = found.filter(|value| !value.is_past_due(stamp_ms));
            if live.map_or(Index(0), |value| value.last_change) != condition.last_change {
                return Ok(Some(words::CONDITION_FAILED));
            }
        }
        Ok(None)
    }
}
