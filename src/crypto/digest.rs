//! The digest of contents that are too large to be held: SHA-256 over parts, each with its length.

use sha2::Digest;
use sha2::Sha256;

/// A digest under way.
#[derive(Clone, Default)]
pub struct ContentDigest(Sha256);

impl ContentDigest {
    /// Takes one more part. Parts keep their borders: `ab`, `c` is not `a`, `bc`.
    pub fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The digest of everything that was added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

debug_fields!(self: ContentDigest {});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_borders_and_their_order() {
        let digest = |parts: &[&[u8]]| {
            let mut digest = ContentDigest::default();
            parts.iter().for_each(|part| digest.add(part));
            digest.finish()
        };
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
        let others: [&[&[u8]]; 4] = [&[b"a", b"bc"], &[b"c", b"ab"], &[b"abc"], &[b"ab", b"c", b""]];
        for other in others {
            assert_ne!(digest(&[b"ab", b"c"]), digest(other), "{other:?}");
        }
    }
}
