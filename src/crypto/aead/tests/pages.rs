//! Goal: a kernel never touches a byte that is not its own. Method: texts, AADs that end where a page without access
//! begins, or begin where one ends; a touch outside kills the test.

use super::*;

/// Pages with access, between two without.
struct Fenced {
    base: *mut u8,
    len: usize,
}

const PAGE: usize = 4096;
/// Messages of a batch that takes the kernels for messages that are alike.
const MOST: usize = 17;

impl Fenced {
    #[allow(unsafe_code, reason = "pages without access are the system's to give")]
    fn new(pages: usize) -> Self {
        let len = pages * PAGE;
        // SAFETY: a new mapping, nobody else's.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len + 2 * PAGE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED);
        // SAFETY: inside the mapping.
        let base = unsafe { base.cast::<u8>().add(PAGE) };
        // SAFETY: the pages between the first and the last of the mapping.
        let status = unsafe { libc::mprotect(base.cast(), len, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(status, 0);
        Self { base, len }
    }

    /// All bytes.
    #[allow(unsafe_code, reason = "the mapping as a slice")]
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: mapped for reading and writing, zero at first, borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.len) }
    }
}

impl Drop for Fenced {
    #[allow(unsafe_code, reason = "gives the mapping back")]
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody borrows any more.
        unsafe { libc::munmap(self.base.sub(PAGE).cast(), self.len + 2 * PAGE) };
    }
}

/// The last, or the first, `len` bytes.
fn edge(bytes: &mut [u8], len: usize, at_end: bool) -> &mut [u8] {
    let begin = if at_end { bytes.len() - len } else { 0 };
    &mut bytes[begin..begin + len]
}

#[test]
fn nothing_outside_text_and_aad_is_touched() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    let library = Library::new(&key);
    let mut texts: [Fenced; MOST] = core::array::from_fn(|_| Fenced::new(2));
    let mut aads: [Fenced; MOST] = core::array::from_fn(|_| Fenced::new(1));
    let lengths: Vec<usize> =
        (0..=130).chain((131..1024).step_by(9)).chain([1023, 1024, 1025, 1300, 2047, 3000]).collect();
    for aead in lanes(&key) {
        for (round, &len) in lengths.iter().enumerate() {
            for (at_end, count) in [(true, 4), (false, 4), (true, 1), (false, 1), (true, MOST), (false, MOST)] {
                let plain: Vec<Owned> = (0..count)
                    .map(|i| {
                        let unlike = if count < MOST { i } else { 0 };
                        let aad_len = if round % 2 == 0 { round % 17 } else { (round * 5 + unlike) % 97 };
                        let len = if unlike == 3 { len / 2 } else { len };
                        Owned::random(&random, len, aad_len)
                    })
                    .collect();
                let mut sealed = plain.clone();
                seal(&library, &mut sealed);
                let mut batch: Vec<Message<'_>> = Vec::new();
                for ((message, text), aad) in plain.iter().zip(&mut texts).zip(&mut aads) {
                    let text_inout = edge(text.bytes(), message.text.len(), at_end);
                    text_inout.copy_from_slice(&message.text);
                    let aad = edge(aad.bytes(), message.aad.len(), at_end);
                    aad.copy_from_slice(&message.aad);
                    batch.push(Message { nonce: message.nonce, aad, text_inout });
                }
                aead.seal_batch(&mut batch);
                for (found, expected) in batch.iter().zip(&sealed) {
                    assert!(found.text_inout == expected.text, "{} seals {len} bytes at an edge", aead.tier());
                }
                let mut verdicts = vec![Verdict::Unauthentic; batch.len()];
                aead.open_batch(&mut batch, &mut verdicts);
                assert!(verdicts.iter().all(|&verdict| verdict == Verdict::Authentic), "{} {len}", aead.tier());
                for (found, expected) in batch.iter().zip(&plain) {
                    let len = expected.plain().len();
                    assert!(found.text_inout[..len] == *expected.plain(), "{} opens {len} bytes", aead.tier());
                }
            }
        }
    }
}

#[test]
fn no_byte_beside_a_message_of_an_arena_changes() {
    let random = Seeded::replayable(SEED);
    let key = random.array();
    for aead in lanes(&key) {
        for (i, len) in (0..200).chain((200..1100).step_by(7)).chain([1024, 1025, 1999]).enumerate() {
            let count = if i % 2 == 0 { 4 } else { MOST };
            let mut arena = random.bytes(count * (len + TAG_LEN + 7));
            let before = arena.clone();
            let aad = random.bytes(6);
            let mut batch: Vec<Message<'_>> = arena
                .chunks_mut(len + TAG_LEN + 7)
                .map(|chunk| Message { nonce: [7; 12], aad: &aad, text_inout: &mut chunk[3..3 + len + TAG_LEN] })
                .collect();
            aead.seal_batch(&mut batch);
            for (after, before) in arena.chunks(len + TAG_LEN + 7).zip(before.chunks(len + TAG_LEN + 7)) {
                assert_eq!(after[..3], before[..3], "{} {len}", aead.tier());
                assert_eq!(after[3 + len + TAG_LEN..], before[3 + len + TAG_LEN..], "{} {len}", aead.tier());
            }
        }
    }
}
