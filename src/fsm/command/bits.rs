//! What BITCOUNT, BITPOS, BITOP and BITFIELD are about, and the bytes of the latter two's fields.

use crate::codec::Reader;
use crate::fsm::command::fields::EncodeError;
use crate::fsm::command::fields::Field;
use crate::fsm::command::fields::LEN_LEN;
use crate::fsm::command::fields::OneByte;
use crate::fsm::command::fields::PayloadError;
use crate::fsm::command::fields::put_count;

/// A part of a value, both ends inclusive; negative numbers count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitSpan {
    /// First byte or bit.
    pub start: i64,
    /// Last byte or bit; `None` = the end of the value, and the bits behind it are zeros.
    pub end: Option<i64>,
    /// Whether bits are counted, not bytes.
    pub is_bits: bool,
}

/// What BITOP does to the bits of several values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOperation {
    /// AND.
    And,
    /// OR.
    Or,
    /// XOR.
    Xor,
    /// NOT, of one value.
    Not,
}

/// What a step of BITFIELD does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitFieldAction {
    /// GET.
    Get,
    /// SET: answers the old number.
    Set,
    /// INCRBY: answers the new number.
    IncrementBy,
}

/// What happens to a number that does not fit its field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The bits that do not fit are dropped.
    #[default]
    Wrap,
    /// The largest or smallest number is taken.
    Saturate,
    /// Nothing is written, and the answer is null.
    Fail,
}

/// One step of BITFIELD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitFieldStep {
    /// What it does.
    pub action: BitFieldAction,
    /// Whether the number has a sign.
    pub is_signed: bool,
    /// Bits of the number: 1 to 64, without a sign to 63.
    pub width: u8,
    /// What happens to a number that does not fit.
    pub overflow: Overflow,
    /// First bit; bit 0 is the highest of the first byte.
    pub offset: u32,
    /// The number that is set, or added.
    pub amount: i64,
}

/// A count (4), then of each step: action (1), sign (1), width (1), overflow (1), offset (4), amount (8).
pub(in crate::fsm) struct BitStepsField;

/// A checked list of steps; iterate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitSteps<'a> {
    left: u32,
    bytes: &'a [u8],
}

/// Steps as they were given, or as they stand in an entry.
pub(super) trait StepList {
    /// Bytes that a value must have for all that is written.
    fn written_bytes(&self) -> usize;
}

impl StepList for Vec<BitFieldStep> {
    fn written_bytes(&self) -> usize {
        written_bytes(self.iter().copied())
    }
}

impl StepList for BitSteps<'_> {
    fn written_bytes(&self) -> usize {
        written_bytes(*self)
    }
}

/// Bytes that a value must have for all that `steps` write.
pub(in crate::fsm) fn written_bytes(steps: impl Iterator<Item = BitFieldStep>) -> usize {
    let end = steps.filter(|step| !step.is_read()).map(|step| step.end()).max().unwrap_or(0);
    usize::try_from(end.div_ceil(8)).unwrap_or(usize::MAX)
}

impl BitFieldStep {
    /// Number of the bit behind its last one.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.width)
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.action == BitFieldAction::Get
    }

    fn take(reader: &mut Reader<'_>) -> Result<BitFieldStep, PayloadError> {
        let (action, is_signed) = (BitFieldAction::take(reader)?, bool::take(reader)?);
        let width = reader.u8("width")?;
        if width == 0 || width > if is_signed { 64 } else { 63 } {
            return Err(PayloadError::Field { field: "width", found: width });
        }
        let (overflow, offset, amount) = (Overflow::take(reader)?, u32::take(reader)?, i64::take(reader)?);
        Ok(BitFieldStep { action, is_signed, width, overflow, offset, amount })
    }
}

impl OneByte for BitOperation {
    const FIELD: &'static str = "operation";
    const MEANINGS: &'static [BitOperation] =
        &[BitOperation::And, BitOperation::Or, BitOperation::Xor, BitOperation::Not];
}

impl OneByte for BitFieldAction {
    const FIELD: &'static str = "action";
    const MEANINGS: &'static [BitFieldAction] =
        &[BitFieldAction::Get, BitFieldAction::Set, BitFieldAction::IncrementBy];
}

impl OneByte for Overflow {
    const FIELD: &'static str = "overflow";
    const MEANINGS: &'static [Overflow] = &[Overflow::Wrap, Overflow::Saturate, Overflow::Fail];
}

impl Field for BitStepsField {
    type Owned = Vec<BitFieldStep>;
    type Borrowed<'a> = BitSteps<'a>;

    fn len(owned: &Vec<BitFieldStep>) -> usize {
        LEN_LEN + owned.len() * STEP_LEN
    }

    fn put(owned: &Vec<BitFieldStep>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        put_count(owned.len(), out)?;
        owned.iter().try_for_each(|step| {
            BitFieldAction::put(&step.action, out)?;
            bool::put(&step.is_signed, out)?;
            out.push(step.width);
            Overflow::put(&step.overflow, out)?;
            u32::put(&step.offset, out)?;
            i64::put(&step.amount, out)
        })
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<BitSteps<'a>, PayloadError> {
        let left = reader.count(STEP_LEN, "count of steps")?;
        let start = reader.rest();
        for _ in 0..left {
            BitFieldStep::take(reader)?;
        }
        Ok(BitSteps { left, bytes: &start[..start.len() - reader.remaining()] })
    }

    #[cfg(test)]
    fn copied(borrowed: BitSteps<'_>) -> Vec<BitFieldStep> {
        borrowed.collect()
    }
}

impl Iterator for BitSteps<'_> {
    type Item = BitFieldStep;

    fn next(&mut self) -> Option<BitFieldStep> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new(self.bytes);
        let step = BitFieldStep::take(&mut reader).expect("Payload::decode checked every step");
        self.bytes = reader.rest();
        Some(step)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for BitSteps<'_> {}

/// Bytes of a step.
const STEP_LEN: usize = 16;
