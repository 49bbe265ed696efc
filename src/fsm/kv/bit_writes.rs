//! SETBIT, BITOP and BITFIELD.

use bytes::Bytes;

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
use crate::fsm::reader::Base;

/// SETBIT.
pub(super) fn set_bit<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    offset: u32,
    bit: bool,
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    let old = run.live(row)?;
    let mut before = false;
    run.change(row, old, offset as usize / 8 + 1, |bytes| before = bits::set_bit(bytes, offset, bit))?;
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
        run.put(target, Bytes::from(result), 0);
    }
    Ok(integer(len))
}

/// BITFIELD. As in Redis, the value grows to the last bit that a step may write, also where all of them fail.
pub(super) fn change_fields<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    steps: BitSteps<'_>,
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    let old = run.live(row)?;
    let mut replies = Vec::with_capacity(steps.len());
    run.change(row, old, written_bytes(steps), |bytes| {
        replies.extend(steps.map(|step| bits::change_field(bytes, &step)));
    })?;
    Ok(Reply::Array(replies))
}
