//! LCS: the longest common subsequence of two values, found and shown as Redis does.

use bytes::Bytes;

use crate::fsm::command::LcsAnswer;
use crate::fsm::command::Reply;
use crate::fsm::kv::words;

/// LCS. `cells_max` bounds its table, which has a cell for each pair of bytes: memory and time.
pub(super) fn lcs(left: &[u8], right: &[u8], answer: LcsAnswer, cells_max: usize) -> Reply {
    match (left.len() + 1).checked_mul(right.len() + 1) {
        Some(cells) if cells <= cells_max => {}
        _ => return Reply::Error(words::LCS_LARGE),
    }
    let table = LcsTable::new(left, right);
    let length = Reply::Integer(i64::from(table.at(left.len(), right.len())));
    match answer {
        LcsAnswer::Length => length,
        LcsAnswer::Bytes => Reply::Bulk(table.walk_back(|_| {}).into()),
        LcsAnswer::Ranges { least, shows_lengths } => {
            let mut ranges = Vec::new();
            table.walk_back(|range| {
                if range.len() >= least {
                    ranges.push(range.reply(shows_lengths));
                }
            });
            let word = |word: &'static str| Reply::Bulk(Bytes::from_static(word.as_bytes()));
            Reply::Map(vec![(word("matches"), Reply::Array(ranges)), (word("len"), length)])
        }
    }
}

/// Bytes that stand side by side in both values; ends are inclusive.
#[derive(Clone, Copy)]
struct CommonRange {
    left: (usize, usize),
    right: (usize, usize),
}

impl CommonRange {
    fn len(&self) -> u64 {
        (self.left.1 - self.left.0 + 1) as u64
    }

    fn reply(&self, shows_length: bool) -> Reply {
        let number = |at: usize| Reply::Integer(i64::try_from(at).unwrap_or(i64::MAX));
        let ends = |(first, last): (usize, usize)| Reply::Array(vec![number(first), number(last)]);
        let mut parts = vec![ends(self.left), ends(self.right)];
        if shows_length {
            parts.push(Reply::Integer(self.len().cast_signed()));
        }
        Reply::Array(parts)
    }
}

/// For each pair of beginnings of the values, the length of their longest common subsequence.
struct LcsTable<'v> {
    left: &'v [u8],
    right: &'v [u8],
    cells: Vec<u32>,
}

impl<'v> LcsTable<'v> {
    fn new(left: &'v [u8], right: &'v [u8]) -> LcsTable<'v> {
        let width = right.len() + 1;
        let mut cells = vec![0_u32; (left.len() + 1) * width];
        for (row, byte) in left.iter().enumerate() {
            let (before, from) = cells.split_at_mut((row + 1) * width);
            let (before, here) = (&before[row * width..], &mut from[..width]);
            for (column, other) in right.iter().enumerate() {
                here[column + 1] =
                    if byte == other { before[column] + 1 } else { before[column + 1].max(here[column]) };
            }
        }
        LcsTable { left, right, cells }
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.cells[row * (self.right.len() + 1) + column]
    }

    /// The subsequence. Shows its ranges from the last one on, cut where Redis cuts them: the byte in front of a gap ends a
    /// range without being in one.
    fn walk_back(&self, mut show: impl FnMut(CommonRange)) -> Vec<u8> {
        let (mut row, mut column) = (self.left.len(), self.right.len());
        let mut found = Vec::with_capacity(self.at(row, column) as usize);
        let mut range: Option<CommonRange> = None;
        while row > 0 && column > 0 {
            let mut is_over = false;
            if self.left[row - 1] == self.right[column - 1] {
                found.push(self.left[row - 1]);
                match &mut range {
                    None => range = Some(CommonRange { left: (row - 1, row - 1), right: (column - 1, column - 1) }),
                    Some(range) if range.left.0 == row && range.right.0 == column => {
                        (range.left.0, range.right.0) = (row - 1, column - 1);
                    }
                    Some(_) => is_over = true,
                }
                is_over |= range.is_some_and(|range| range.left.0 == 0 || range.right.0 == 0);
                (row, column) = (row - 1, column - 1);
            } else {
                if self.at(row - 1, column) > self.at(row, column - 1) {
                    row -= 1
                } else {
                    column -= 1
                }
                is_over = range.is_some();
            }
            if is_over {
                range.take().into_iter().for_each(&mut show);
            }
        }
        found.reverse();
        found
    }
}
