//! SETBIT, BITOP and BITFIELD.

use crate::fsm::command::BitOperation;
use crate::fsm::command::BitSteps;
use crate::fsm::command::KeyList;
use crate::fsm::command::Reply;
use crate::fsm::command::written_bytes;
use crate::fsm::kv::bits;
use crate::fsm::kv::execution::CommandEnd;
use crate::fsm::kv::execution::Execution;
use crate::fsm::kv::execution::flag;
use crate::fsm::kv::execution::integer;
use crate::fsm::kv::words;
use crate::fsm::reader::Base;
use crate::limits::VALUE_BYTES_MAX;

/// SETBIT. A bit that is so already changes nothing, not even for WATCH.
pub(super) fn set_bit<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    offset: u32,
    bit: bool,
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    let old = run.live(row)?;
    let len = offset as usize / 8 + 1;
    if let Some(old) = &old
        && old.bytes.len() >= len
        && bits::bit_at(&old.bytes, offset) == bit
    {
        return Ok(flag(bit));
    }
    let mut before = false;
    run.change(row, old, len, |bytes| before = bits::set_bit(bytes, offset, bit))?;
    Ok(flag(before))
}

/// BITOP. Two values are in memory at a time, and each that is opened counts.
pub(super) fn combine<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    operation: BitOperation,
    target: &[u8],
    keys: KeyList<'_>,
) -> Result<Reply, CommandEnd> {
    let target = run.row(target);
    let mut result: Option<Vec<u8>> = None;
    for key in keys {
        let row = run.row(key);
        let value = run.live(row)?.map(|value| value.bytes).unwrap_or_default();
        run.charge(value.len())?;
        match &mut result {
            None => result = Some(value.into()),
            Some(result) => bits::combine(result, operation, &value),
        }
    }
    let mut result = result.unwrap_or_default();
    if operation == BitOperation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let len = result.len();
    if result.is_empty() {
        run.overlay.remove(target.0);
    } else {
        run.charge(len)?;
        run.put(target, result.into(), 0);
    }
    Ok(integer(len))
}

/// BITFIELD. As in Redis, the value grows to the last bit that a step may write, also where all of them fail. Where
/// nothing changes, nothing is written.
pub(super) fn change_fields<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    steps: BitSteps<'_>,
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    let old = run.live(row)?;
    let len = written_bytes(steps);
    let old_len = old.as_ref().map_or(0, |old| old.bytes.len());
    if len > VALUE_BYTES_MAX {
        return Err(CommandEnd::Answer(words::TOO_LONG));
    }
    run.charge(len.max(old_len))?;
    let mut bytes = old.as_ref().map_or_else(Vec::new, |old| old.bytes.to_vec());
    bytes.resize(len.max(old_len), 0);
    let replies = steps.map(|step| bits::change_field(&mut bytes, &step)).collect();
    if old.as_ref().is_none_or(|old| old.bytes != bytes) {
        run.put(row, bytes.into(), old.map_or(0, |old| old.expire_at_ms));
    }
    Ok(Reply::Array(replies))
}
