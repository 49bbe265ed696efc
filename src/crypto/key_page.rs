//! Where the bytes of a key stand: a page of memory of their own, which is never swapped out and never in a dump where the
//! kernel allows that.
//!
//! `RLIMIT_MEMLOCK` bounds how much a process may lock. A page that is not locked is used all the same: swap has to be off or
//! encrypted anyway, since keys that are derived and expanded, and values, are in ordinary memory.

use memmap2::Advice;
use memmap2::MmapMut;
use zeroize::Zeroize as _;

use crate::crypto::aead::KEY_LEN;

/// 32 bytes in a page of their own. Wiped on drop.
pub(crate) enum KeyPage {
    /// The page.
    Mapped(MmapMut),
    /// The kernel gives no more mappings: memory like any other.
    Heap(Box<[u8; KEY_LEN]>),
}

impl KeyPage {
    /// Copies the bytes there; the caller wipes its own copy.
    pub(crate) fn new(bytes: &[u8; KEY_LEN]) -> KeyPage {
        let Ok(mut page) = MmapMut::map_anon(KEY_LEN) else {
            return KeyPage::Heap(Box::new(*bytes));
        };
        // Before there is anything to protect. Where one of them is not allowed the other still helps.
        let _ = page.lock();
        let _ = page.advise(Advice::DontDump);
        page[..KEY_LEN].copy_from_slice(bytes);
        KeyPage::Mapped(page)
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8; KEY_LEN] {
        match self {
            KeyPage::Mapped(page) => page.first_chunk().expect("it was made as long as a key"),
            KeyPage::Heap(bytes) => bytes,
        }
    }
}

impl Drop for KeyPage {
    fn drop(&mut self) {
        match self {
            KeyPage::Mapped(page) => page[..KEY_LEN].zeroize(),
            KeyPage::Heap(bytes) => bytes.zeroize(),
        }
    }
}
