//! Blocks of memory that are not needed any more, for what the same thread makes next.
//!
//! An allocator expects that what is made together goes together. Rows of a table go in the order of their names: nearly each page of
//! the allocator is full but for a block or two, and to find these takes longer than all else that it does. Who overwrites rows
//! has what it needs for the next ones in its hands.

/// Blocks by size, within a bound.
pub(crate) struct Spares<T> {
    by_class: [Vec<T>; CLASSES],
    bytes: usize,
    bytes_max: usize,
}

impl<T> Spares<T> {
    /// None yet, and never more than `bytes_max`.
    pub(crate) const fn new(bytes_max: usize) -> Spares<T> {
        Spares { by_class: [const { Vec::new() }; CLASSES], bytes: 0, bytes_max }
    }

    /// The block of that size that was given last.
    pub(crate) fn take(&mut self, size: SizeClass) -> Option<T> {
        let block = self.by_class[size.number()].pop()?;
        self.bytes -= size.bytes();
        Some(block)
    }

    /// Keeps a block of that size, if there is space for it.
    pub(crate) fn give(&mut self, size: SizeClass, block: T) {
        if self.bytes + size.bytes() <= self.bytes_max {
            self.bytes += size.bytes();
            self.by_class[size.number()].push(block);
        }
    }
}

/// A size that the allocator has: there are four between a power of two and the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeClass(u8);

impl SizeClass {
    /// The smallest one that is not below `bytes`, which is at least 8.
    pub(crate) const fn of(bytes: usize) -> SizeClass {
        let below = bytes - 1;
        let shift = below.ilog2() - 2;
        SizeClass((4 * shift) as u8 + (below >> shift) as u8 - 4)
    }

    /// Bytes of a block.
    pub(crate) const fn bytes(self) -> usize {
        (self.0 as usize % 4 + 5) << (self.0 / 4)
    }

    fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// Up to the size of [`LARGEST`].
const CLASSES: usize = SizeClass::of(LARGEST).0 as usize + 1;
/// Larger blocks are not kept: to ask for one is little beside what is done with it.
pub(crate) const LARGEST: usize = 1280;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_the_allocator_gives() {
        let sizes = [(8, 8), (9, 10), (88, 96), (96, 96), (97, 112), (128, 128), (129, 160), (256, 256), (257, 320)];
        for (asked, given) in sizes.into_iter().chain([(344, 384), (1024, 1024), (1025, 1280), (1280, 1280)]) {
            let size = SizeClass::of(asked);
            assert_eq!((size.bytes(), SizeClass::of(size.bytes())), (given, size), "{asked}");
        }
    }

    #[test]
    fn bounded_what_is_kept_is_of_one_size_and_never_too_much() {
        let mut spares = Spares::new(1000);
        let (small, large) = (SizeClass::of(96), SizeClass::of(400));
        for block in 0..20 {
            spares.give(small, block);
        }
        assert_eq!((spares.bytes, spares.take(large)), (960, None));
        assert_eq!((spares.take(small), spares.take(small)), (Some(9), Some(8)), "the newest first");
        spares.give(large, 100);
        assert_eq!(spares.take(large), None, "there was no space for it");
        (0..8).for_each(|_| assert!(spares.take(small).is_some()));
        assert_eq!((spares.take(small), spares.bytes), (None, 0));
    }
}
