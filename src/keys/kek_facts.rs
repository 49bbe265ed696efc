//! What nodes show each other of their KEKs: which they have, and that these are the same keys, never a key.
//!
//! ```text
//! off  size  field
//! 0    1     version, 0x01
//! 1    1     KEKs, 0 for a node without encryption
//! 2          of each: id(8), check value(8): HKDF(KEK, "", "sealkv kek check", cluster)
//! ```

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::derive::CHECK_LEN;
use crate::crypto::wrap::KEK_ID_LEN;
use crate::ids::ClusterId;
use crate::keys::kek::KekSet;

/// The KEKs of a node, as it shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KekFacts {
    keks: Vec<([u8; KEK_ID_LEN], [u8; CHECK_LEN])>,
}

/// Two nodes that could not read what the other one seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoKekInCommon {
    /// Operator: one is started with a KEK, the other with `--encryption off`.
    #[error(
        "one of the two nodes has encryption off, the other has a KEK: all nodes of a cluster have the same setting"
    )]
    OneIsOff,
    /// Operator: the KEKs are different keys.
    #[error("the two nodes have no KEK in common: all nodes of a cluster are given the same --kek-file")]
    Others,
}

impl KekFacts {
    /// Of the KEKs that a node was given.
    #[must_use]
    pub fn of(keks: &KekSet, cluster: ClusterId) -> KekFacts {
        KekFacts { keks: keks.all().iter().map(|kek| (kek.id().0, kek.check(cluster))).collect() }
    }

    /// Whether these nodes can read what the other one seals.
    ///
    /// # Errors
    /// [`NoKekInCommon`].
    pub fn check(&self, other: &KekFacts) -> Result<(), NoKekInCommon> {
        match (self.keks.is_empty(), other.keks.is_empty()) {
            (true, true) => Ok(()),
            (false, false) if self.keks.iter().any(|kek| other.keks.contains(kek)) => Ok(()),
            (false, false) => Err(NoKekInCommon::Others),
            _ => Err(NoKekInCommon::OneIsOff),
        }
    }

    /// The bytes drawn at the head of this file.
    ///
    /// # Panics
    /// If there are more than 255.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, u8::try_from(self.keks.len()).expect("a node has few KEKs")];
        for (id, check) in &self.keks {
            out.extend_from_slice(id);
            out.extend_from_slice(check);
        }
        out
    }

    /// Reads them from the front of `reader`.
    ///
    /// # Errors
    /// [`CodecError`].
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<KekFacts, CodecError> {
        let version = reader.u8("version")?;
        if version != VERSION {
            return Err(CodecError::Version { found: version.into(), expected: VERSION.into() });
        }
        let count = reader.u8("count of KEKs")?;
        let kek = |reader: &mut Reader<'_>| Ok((reader.array("KEK id")?, reader.array("check value")?));
        let keks = (0..count).map(|_| kek(reader)).collect::<Result<_, CodecError>>()?;
        Ok(KekFacts { keks })
    }
}

const VERSION: u8 = 0x01;

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::keys::kek::from_bytes;
    use crate::keys::tests::kit::CLUSTER;

    fn facts(bytes: &[u8]) -> KekFacts {
        let keks = bytes.iter().map(|byte| from_bytes(&Zeroizing::new([*byte; 32]))).collect();
        KekFacts::of(&KekSet::new(keks).unwrap(), CLUSTER)
    }

    #[test]
    fn nodes_with_a_kek_in_common_or_none_at_all_understand_each_other() {
        assert_eq!(facts(&[1, 2]).check(&facts(&[2, 3])), Ok(()));
        assert_eq!(facts(&[]).check(&facts(&[])), Ok(()));
        assert_eq!(facts(&[1]).check(&facts(&[2, 3])), Err(NoKekInCommon::Others));
        assert_eq!(facts(&[]).check(&facts(&[1])), Err(NoKekInCommon::OneIsOff));
        assert_eq!(facts(&[1]).check(&facts(&[])), Err(NoKekInCommon::OneIsOff));
    }

    // An id says which key is meant, the check value that it is that key: an id alone is easily copied.
    #[test]
    fn an_id_with_another_check_value_is_another_kek() {
        let mut forged = facts(&[1]);
        forged.keks[0].1[0] ^= 1;
        assert_eq!(facts(&[1]).check(&forged), Err(NoKekInCommon::Others));
    }

    #[test]
    fn facts_come_back_as_they_were_and_no_part_of_them_does() {
        for facts in [facts(&[]), facts(&[1, 2, 3])] {
            let bytes = facts.encode();
            assert_eq!(KekFacts::take(&mut Reader::new(&bytes)), Ok(facts));
            for cut in 0..bytes.len() {
                assert!(KekFacts::take(&mut Reader::new(&bytes[..cut])).is_err());
            }
        }
    }
}
