//! Commands to bytes, at the proposer. The drawing is in the parent.

use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::codec::KIND_BATCH;
use crate::fsm::codec::KIND_CONTROL;
use crate::fsm::codec::condition::Condition;
use crate::fsm::command::EncodeError;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::limits::ENTRY_CONDITIONS_MAX;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::PAYLOAD_BYTES_MAX;

/// Appends the payload of a client batch on the first database, without conditions, to `out`; on an error `out` is as it
/// was.
///
/// # Errors
/// [`EncodeError`]: the commands do not fit one entry.
pub fn encode_batch<'w>(
    stamp_ms: u64,
    writes: impl IntoIterator<Item = &'w WriteCommand>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    encode_batch_if(stamp_ms, &[], writes.into_iter().map(|write| (Database::FIRST, write)), out)
}

/// The same for commands with their databases, which run only if all `conditions` hold.
///
/// # Errors
/// [`EncodeError`]: the conditions and commands do not fit one entry; `out` is as it was.
///
/// # Panics
/// If the conditions are not ascending by database and key, each once: a batch has one encoding.
pub fn encode_batch_if<'w>(
    stamp_ms: u64,
    conditions: &[Condition],
    commands: impl IntoIterator<Item = (Database, &'w WriteCommand)>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    assert!(conditions.is_sorted_by(|left, right| left.order() < right.order()), "conditions ascend");
    let start = out.len();
    let result = append_batch(stamp_ms, conditions, commands, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Bytes that [`encode_batch_if`] appends, and never more than it may.
#[must_use]
pub fn batch_len<'w>(
    conditions: &[Condition],
    commands: impl IntoIterator<Item = (Database, &'w WriteCommand)>,
) -> usize {
    let conditions = conditions.iter().map(Condition::encoded_len);
    let commands = commands.into_iter().map(|(_, write)| write.encoded_len());
    let sum = conditions.chain(commands).fold(BATCH_HEADER_LEN, usize::saturating_add);
    sum.min(PAYLOAD_BYTES_MAX)
}

/// Appends the payload of a control entry to `out`; `change` is the keyring's own encoding.
///
/// # Errors
/// [`EncodeError::PayloadLong`]; `out` is as it was.
pub fn encode_control(change: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let found = 1 + change.len();
    if found > PAYLOAD_BYTES_MAX {
        return Err(EncodeError::PayloadLong { found });
    }
    out.push(KIND_CONTROL);
    out.extend_from_slice(change);
    Ok(())
}

/// Gives an encoded batch another stamp: it is encoded when it arrives and stamped when it is proposed.
///
/// # Panics
/// If `payload_inout` is not a client batch.
pub fn set_stamp(payload_inout: &mut [u8], stamp_ms: u64) {
    assert!(payload_inout.len() >= BATCH_HEADER_LEN, "a client batch has a header");
    assert_eq!(payload_inout[0], KIND_BATCH, "only a client batch has a stamp");
    payload_inout[1..9].copy_from_slice(&stamp_ms.to_be_bytes());
}

fn append_batch<'w>(
    stamp_ms: u64,
    conditions: &[Condition],
    commands: impl IntoIterator<Item = (Database, &'w WriteCommand)>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(KIND_BATCH);
    out.extend_from_slice(&stamp_ms.to_be_bytes());
    if conditions.len() > ENTRY_CONDITIONS_MAX {
        return Err(EncodeError::ConditionsMany { found: conditions.len() });
    }
    let condition_count = u32::try_from(conditions.len()).expect("at most ENTRY_CONDITIONS_MAX");
    out.extend_from_slice(&condition_count.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    // Before each copy, so that `out` stays bounded whatever the condition or the command holds.
    let has_space = |out: &Vec<u8>, more: usize| match out.len() - start + more {
        found if found > PAYLOAD_BYTES_MAX => Err(EncodeError::PayloadLong { found }),
        _ => Ok(()),
    };
    for condition in conditions {
        has_space(out, condition.encoded_len())?;
        condition.encode(out)?;
    }
    let mut count = 0_u32;
    let mut sealed_writes = 0;
    for (database, write) in commands {
        has_space(out, write.encoded_len())?;
        write.encode(database, out)?;
        count += 1;
        sealed_writes += write.cost().seals;
    }
    if count == 0 {
        return Err(EncodeError::Empty);
    }
    if sealed_writes > ENTRY_WRITES_MAX {
        return Err(EncodeError::WritesMany { found: sealed_writes });
    }
    out[start + 13..start + BATCH_HEADER_LEN].copy_from_slice(&count.to_be_bytes());
    Ok(())
}
