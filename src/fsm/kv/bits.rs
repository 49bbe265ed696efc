//! Bits of a value, as Redis numbers them: bit 0 is the highest of the first byte, and behind the end all are zeros.

use crate::fsm::command::BitFieldAction;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitOperation;
use crate::fsm::command::BitSpan;
use crate::fsm::command::Overflow;
use crate::fsm::command::Reply;

/// GETBIT.
pub(super) fn bit_at(bytes: &[u8], offset: u32) -> bool {
    bytes.get(offset as usize / 8).is_some_and(|byte| byte & mask(offset) != 0)
}

/// SETBIT: the bit lies within `bytes`. What it was.
pub(super) fn set_bit(bytes: &mut [u8], offset: u32, bit: bool) -> bool {
    let before = bit_at(bytes, offset);
    let byte = &mut bytes[offset as usize / 8];
    *byte = if bit { *byte | mask(offset) } else { *byte & !mask(offset) };
    before
}

/// BITCOUNT.
pub(super) fn count(bytes: &[u8], span: Option<BitSpan>) -> u64 {
    if span.is_some_and(|span| span.end.is_some_and(|end| span.start < 0 && end < 0 && span.start > end)) {
        return 0;
    }
    let Some((first, last)) = bits_of(bytes, span) else {
        return 0;
    };
    let (first_byte, last_byte) = (first / 8, last / 8);
    let ones = bytes[first_byte..=last_byte].iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    let before = bytes[first_byte] & !(0xff >> (first % 8));
    let behind = bytes[last_byte] & !(0xff_u8 << (7 - last % 8));
    ones - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

/// BITPOS; `None` = no such bit.
pub(super) fn position(bytes: &[u8], bit: bool, span: Option<BitSpan>) -> Option<u64> {
    let (first, last) = bits_of(bytes, span)?;
    let skipped = if bit { 0x00 } else { 0xff };
    let mut at = first;
    while at <= last {
        let byte = bytes[at / 8];
        if at % 8 == 0 && byte == skipped {
            at += 8;
        } else if (byte >> (7 - at % 8) & 1 == 1) == bit {
            return Some(at as u64);
        } else {
            at += 1;
        }
    }
    // Without an end, the value goes on with zeros.
    (!bit && span.is_none_or(|span| span.end.is_none())).then_some(bytes.len() as u64 * 8)
}

/// First and last bit of a part of a value; `None` if it is empty.
fn bits_of(bytes: &[u8], span: Option<BitSpan>) -> Option<(usize, usize)> {
    let span = span.unwrap_or(BitSpan { start: 0, end: None, is_bits: false });
    let len = i64::try_from(bytes.len()).ok()? * if span.is_bits { 8 } else { 1 };
    let place = |at: i64| if at < 0 { len.saturating_add(at).max(0) } else { at };
    let (start, end) = (place(span.start), span.end.map_or(len - 1, place).min(len - 1));
    if start > end {
        return None;
    }
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    Some(if span.is_bits { (start, end) } else { (start * 8, end * 8 + 7) })
}

/// BITOP: puts one more value into what the values before it came to.
pub(super) fn combine(result: &mut Vec<u8>, operation: BitOperation, value: &[u8]) {
    let common = result.len().min(value.len());
    let pairs = result.iter_mut().zip(value);
    match operation {
        BitOperation::And => {
            pairs.for_each(|(into, byte)| *into &= byte);
            result[common..].fill(0);
        }
        BitOperation::Or => pairs.for_each(|(into, byte)| *into |= byte),
        BitOperation::Xor | BitOperation::Not => pairs.for_each(|(into, byte)| *into ^= byte),
    }
    match operation {
        BitOperation::And => result.resize(result.len().max(value.len()), 0),
        _ => result.extend_from_slice(&value[common..]),
    }
}

/// A step of BITFIELD that changes nothing.
pub(super) fn field(bytes: &[u8], step: &BitFieldStep) -> Reply {
    Reply::Integer(number(raw_field(bytes, step), step))
}

/// A step of BITFIELD whose field lies within `bytes`.
pub(super) fn change_field(bytes: &mut [u8], step: &BitFieldStep) -> Reply {
    let before = number(raw_field(bytes, step), step);
    let is_set = match step.action {
        BitFieldAction::Get => return Reply::Integer(before),
        BitFieldAction::Set => true,
        BitFieldAction::IncrementBy => false,
    };
    let wanted = match (is_set, step.is_signed) {
        (true, true) => i128::from(step.amount),
        // As in C: a negative number is a large one.
        (true, false) => i128::from(step.amount.cast_unsigned()),
        (false, _) => i128::from(before) + i128::from(step.amount),
    };
    let (least, most) = if step.is_signed {
        (-(1_i128 << (step.width - 1)), (1_i128 << (step.width - 1)) - 1)
    } else {
        (0, (1_i128 << step.width) - 1)
    };
    let fits = (least..=most).contains(&wanted);
    let after = match step.overflow {
        _ if fits => wanted,
        Overflow::Wrap => wanted,
        Overflow::Saturate => wanted.clamp(least, most),
        Overflow::Fail => return Reply::Null,
    };
    let raw = low_bits(after.cast_unsigned(), step.width);
    put_raw_field(bytes, step, raw);
    Reply::Integer(if is_set { before } else { number(raw, step) })
}

/// The bits of a field, the last one lowest; zeros behind the end.
fn raw_field(bytes: &[u8], step: &BitFieldStep) -> u64 {
    let first = step.offset as usize / 8;
    let window =
        (first..first + WINDOW_LEN).fold(0_u128, |sum, at| sum << 8 | u128::from(*bytes.get(at).unwrap_or(&0)));
    low_bits(window >> shift(step), step.width)
}

fn put_raw_field(bytes: &mut [u8], step: &BitFieldStep, raw: u64) {
    let first = step.offset as usize / 8;
    let (value, mask) = (u128::from(raw) << shift(step), u128::from(low_bits(u128::MAX, step.width)) << shift(step));
    for (at, byte) in bytes.iter_mut().skip(first).take(WINDOW_LEN).enumerate() {
        let [value, mask] = [value, mask].map(|bits| (bits >> (8 * (WINDOW_LEN - 1 - at)) & 0xff) as u8);
        *byte = *byte & !mask | value;
    }
}

/// How far the field's last bit is from the end of the window of bytes that begins with its first one.
fn shift(step: &BitFieldStep) -> u32 {
    WINDOW_LEN as u32 * 8 - step.offset % 8 - u32::from(step.width)
}

fn low_bits(bits: u128, width: u8) -> u64 {
    (bits & ((1_u128 << width) - 1)) as u64
}

/// The number that the bits of a field stand for.
fn number(raw: u64, step: &BitFieldStep) -> i64 {
    let unused = 64 - u32::from(step.width);
    if step.is_signed { (raw << unused).cast_signed() >> unused } else { raw.cast_signed() }
}

fn mask(offset: u32) -> u8 {
    0x80 >> (offset % 8)
}

/// Bytes that a field of 64 bits can touch.
const WINDOW_LEN: usize = 9;
