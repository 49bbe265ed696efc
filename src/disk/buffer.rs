//! Memory whose address is a multiple of the block, as direct writes need it. No `unsafe`: a slice of a larger box.

use std::ops::Deref;
use std::ops::DerefMut;

/// Bytes at an aligned address; the address does not change when the value is moved.
pub struct AlignedBuffer {
    storage: Box<[u8]>,
    start: usize,
    len: usize,
    registered: Option<u16>,
}

impl AlignedBuffer {
    /// `len` zero bytes at a multiple of `alignment`.
    ///
    /// # Panics
    /// If `alignment` is no power of two.
    #[must_use]
    pub fn new(len: usize, alignment: usize) -> AlignedBuffer {
        assert!(alignment.is_power_of_two());
        let storage = vec![0; len + alignment].into_boxed_slice();
        let start = storage.as_ptr().align_offset(alignment);
        assert!(start <= alignment, "an aligned address within the first `alignment` bytes");
        AlignedBuffer { storage, start, len, registered: None }
    }

    /// The index under which the kernel has pinned this memory, if it has.
    pub(super) fn registered(&self) -> Option<u16> {
        self.registered
    }

    pub(super) fn set_registered(&mut self, index: u16) {
        self.registered = Some(index);
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

debug_fields!(self: AlignedBuffer { len: self.len, registered: self.registered });
