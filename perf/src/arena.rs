//! Frames end to end, as in a log segment: header (AAD, nonce), text, tag.

use sealkv::crypto::aead::Message;

/// AAD of an entry's frame.
pub const AAD_LEN: usize = 6;
/// AAD of a stored value with a short key.
pub const LONG_AAD_LEN: usize = 31;
/// AAD and nonce.
pub const HEADER_LEN: usize = AAD_LEN + 12;
/// Space for the tag.
pub const TAG_LEN: usize = 16;
/// Bytes of frames in one pass, at least: as in a segment that is being written, within the second-level cache.
const PASS_BYTES: usize = 128 << 10;
/// Frames in one pass, at least.
const PASS_FRAMES: usize = 64;

/// The frames of one pass.
pub struct Arena {
    bytes: Vec<u8>,
    frame_len: usize,
    /// AADs as long as those of stored values, elsewhere; and those of the frames, copied.
    long_aads: Vec<[u8; LONG_AAD_LEN]>,
    aads: Vec<[u8; AAD_LEN]>,
}

impl Arena {
    /// Frames of `text_len`, with texts and AADs from a fixed seed and a nonce each.
    pub fn new(text_len: usize) -> Self {
        let frame_len = HEADER_LEN + text_len + TAG_LEN;
        let count = (PASS_BYTES / frame_len).max(PASS_FRAMES);
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        let mut bytes: Vec<u8> = (0..frame_len * count).map(|_| next()).collect();
        for (i, frame) in bytes.chunks_mut(frame_len).enumerate() {
            frame[AAD_LEN..HEADER_LEN][4..].copy_from_slice(&(i as u64).to_be_bytes());
        }
        let aads = bytes.chunks(frame_len).map(|frame| *frame.first_chunk().expect("a header")).collect();
        let long_aads = (0..count).map(|_| core::array::from_fn(|_| next())).collect();
        Self { bytes, frame_len, long_aads, aads }
    }

    /// Frames in a pass.
    pub fn count(&self) -> usize {
        self.bytes.len() / self.frame_len
    }

    /// A message for each frame.
    pub fn messages(&mut self, aad_len: usize) -> Vec<Message<'_>> {
        let aads: Vec<&[u8]> = if aad_len == AAD_LEN {
            self.aads.iter().map(<[u8; AAD_LEN]>::as_slice).collect()
        } else {
            self.long_aads.iter().map(<[u8; LONG_AAD_LEN]>::as_slice).collect()
        };
        let frames = self.bytes.chunks_mut(self.frame_len).zip(aads);
        frames
            .map(|(frame, aad)| {
                let (header, text_inout) = frame.split_at_mut(HEADER_LEN);
                let nonce = header[AAD_LEN..].try_into().expect("twelve bytes");
                Message { nonce, aad, text_inout }
            })
            .collect()
    }

    /// Whether all but the tags is as in `plain`.
    pub fn same_texts(&self, plain: &[u8]) -> bool {
        let text_end = self.frame_len - TAG_LEN;
        let frames = self.bytes.chunks(self.frame_len).zip(plain.chunks(self.frame_len));
        frames.into_iter().all(|(found, plain)| found[..text_end] == plain[..text_end])
    }

    /// All bytes, to compare.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
