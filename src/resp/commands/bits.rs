//! Commands on the bits of strings.

use crate::fsm::command::BitFieldAction;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitOperation;
use crate::fsm::command::BitSpan;
use crate::fsm::command::Overflow;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::WriteCommand;
use crate::limits::VALUE_BYTES_MAX;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::Action;
use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::SYNTAX;

pub(super) fn getbit(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::BitAt { offset: offset_of(call.slice(2))?, key: call.key(1)? }))
}

pub(super) fn setbit(call: &Call<'_>) -> ActionResult {
    let offset = offset_of(call.slice(2))?;
    let bit = parse_integer(call.slice(3)).and_then(as_bit).ok_or(NOT_A_BIT)?;
    if u64::from(offset) >= BITS_MAX {
        return Err(OFFSET);
    }
    Ok(Action::Write(WriteCommand::SetBit { key: call.key(1)?, offset, bit }))
}

pub(super) fn bitcount(call: &Call<'_>) -> ActionResult {
    let span = match call.len() {
        2 => None,
        4 | 5 => {
            let (start, end) = (call.integer(2)?, Some(call.integer(3)?));
            Some(BitSpan { start, end, is_bits: is_bits(call, 4)? })
        }
        _ => return Err(SYNTAX),
    };
    Ok(Action::Read(ReadCommand::BitCount { key: call.key(1)?, span }))
}

pub(super) fn bitpos(call: &Call<'_>) -> ActionResult {
    let bit = as_bit(call.integer(2)?).ok_or(ErrorLine::fixed("ERR The bit argument must be 1 or 0."))?;
    let span = match call.len() {
        3 => None,
        4..=6 => {
            let start = call.integer(3)?;
            let is_bits = is_bits(call, 5)?;
            let end = if call.len() > 4 { Some(call.integer(4)?) } else { None };
            Some(BitSpan { start, end, is_bits })
        }
        _ => return Err(SYNTAX),
    };
    Ok(Action::Read(ReadCommand::BitPosition { key: call.key(1)?, bit, span }))
}

pub(super) fn bitop(call: &Call<'_>) -> ActionResult {
    let operation = match () {
        () if call.is_word(1, "and") => BitOperation::And,
        () if call.is_word(1, "or") => BitOperation::Or,
        () if call.is_word(1, "xor") => BitOperation::Xor,
        () if call.is_word(1, "not") => BitOperation::Not,
        () => return Err(SYNTAX),
    };
    if operation == BitOperation::Not && call.len() != 4 {
        return Err(ErrorLine::fixed("ERR BITOP NOT must be called with a single source key."));
    }
    Ok(Action::Write(WriteCommand::CombineBits { operation, target: call.key(2)?, keys: call.keys_from(3)? }))
}

pub(super) fn bitfield(call: &Call<'_>) -> ActionResult {
    let (key, steps) = (call.key(1)?, steps(call)?);
    Ok(if steps.iter().all(BitFieldStep::is_read) {
        Action::Read(ReadCommand::BitFields { key, steps })
    } else {
        Action::Write(WriteCommand::ChangeBitFields { key, steps })
    })
}

pub(super) fn bitfield_ro(call: &Call<'_>) -> ActionResult {
    let (key, steps) = (call.key(1)?, steps(call)?);
    if !steps.iter().all(BitFieldStep::is_read) {
        return Err(ErrorLine::fixed("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    Ok(Action::Read(ReadCommand::BitFields { key, steps }))
}

fn steps(call: &Call<'_>) -> Result<Vec<BitFieldStep>, ErrorLine> {
    let (mut steps, mut overflow, mut position) = (Vec::new(), Overflow::Wrap, 2);
    while position < call.len() {
        let left = call.len() - position - 1;
        let action = match () {
            () if call.is_word(position, "get") && left >= 2 => BitFieldAction::Get,
            () if call.is_word(position, "set") && left >= 3 => BitFieldAction::Set,
            () if call.is_word(position, "incrby") && left >= 3 => BitFieldAction::IncrementBy,
            () if call.is_word(position, "overflow") && left >= 1 => {
                overflow = overflow_of(call, position + 1)?;
                position += 2;
                continue;
            }
            () => return Err(SYNTAX),
        };
        let step = step(call, position, action, overflow)?;
        position += if step.is_read() { 3 } else { 4 };
        steps.push(step);
    }
    Ok(steps)
}

fn step(
    call: &Call<'_>,
    position: usize,
    action: BitFieldAction,
    overflow: Overflow,
) -> Result<BitFieldStep, ErrorLine> {
    let (is_signed, width) = field_type(call.slice(position + 1)).ok_or(FIELD_TYPE)?;
    let offset = match call.slice(position + 2) {
        [b'#', digits @ ..] => {
            let fields = parse_integer(digits).ok_or(OFFSET)?;
            fields.checked_mul(i64::from(width)).and_then(|bits| u32::try_from(bits).ok()).ok_or(OFFSET)?
        }
        digits => offset_of(digits)?,
    };
    let amount = if action == BitFieldAction::Get { 0 } else { call.integer(position + 3)? };
    let step = BitFieldStep { action, is_signed, width, overflow, offset, amount };
    if !step.is_read() && step.end() > BITS_MAX {
        return Err(OFFSET);
    }
    Ok(step)
}

fn overflow_of(call: &Call<'_>, position: usize) -> Result<Overflow, ErrorLine> {
    let words = [("wrap", Overflow::Wrap), ("sat", Overflow::Saturate), ("fail", Overflow::Fail)];
    let found = words.into_iter().find(|(word, _)| call.is_word(position, word));
    found.map(|(_, overflow)| overflow).ok_or(ErrorLine::fixed("ERR Invalid OVERFLOW type specified"))
}

/// `i5`, `u8`: signed or not, and how many bits.
fn field_type(text: &[u8]) -> Option<(bool, u8)> {
    let (is_signed, digits) = match text {
        [b'i', digits @ ..] => (true, digits),
        [b'u', digits @ ..] => (false, digits),
        _ => return None,
    };
    let width = u8::try_from(parse_integer(digits)?).ok()?;
    (1..=if is_signed { 64 } else { 63 }).contains(&width).then_some((is_signed, width))
}

fn offset_of(digits: &[u8]) -> Result<u32, ErrorLine> {
    parse_integer(digits).and_then(|offset| u32::try_from(offset).ok()).ok_or(OFFSET)
}

fn as_bit(number: i64) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// BYTE or BIT at a position, if there is anything.
fn is_bits(call: &Call<'_>, position: usize) -> Result<bool, ErrorLine> {
    match () {
        () if position >= call.len() || call.is_word(position, "byte") => Ok(false),
        () if call.is_word(position, "bit") => Ok(true),
        () => Err(SYNTAX),
    }
}

/// Bits of the longest value.
const BITS_MAX: u64 = 8 * VALUE_BYTES_MAX as u64;
const OFFSET: ErrorLine = ErrorLine::fixed("ERR bit offset is not an integer or out of range");
const NOT_A_BIT: ErrorLine = ErrorLine::fixed("ERR bit is not an integer or out of range");
const FIELD_TYPE: ErrorLine = ErrorLine::fixed(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);
