//! Goal: a tier is used only if it may be, can be, and is right. Method: choices parsed and resolved; a liar caught.

use super::*;
use crate::crypto::aead::TagMessage;
use crate::crypto::aead::Tags;
use crate::crypto::aead::TierChoice;
use crate::crypto::aead::TierError;
use crate::crypto::aead::known;

#[test]
fn choices_are_read_as_written() {
    assert_eq!("fastest".parse(), Ok(TierChoice::Fastest));
    assert_eq!("vaes256".parse(), Ok(TierChoice::Only(Tier::Vaes256)));
    assert_eq!("-vaes512,-aesni".parse(), Ok(TierChoice::Without([true, false, true, false])));
    for wrong in ["", "zmm", "-", "-vaes512,aesni", "vaes512,aesni", "-vaes512,"] {
        assert!(matches!(wrong.parse::<TierChoice>(), Err(TierError::Unknown { .. })), "{wrong:?}");
    }
}

#[test]
fn each_tier_of_this_machine_gives_known_answers_and_can_be_forced() {
    for tier in Tier::ALL {
        match tier.key(&[3; KEY_LEN]) {
            Some(aead) => {
                assert_eq!(tier.check(), Ok(()));
                assert_eq!(TierChoice::Only(tier).resolve(), Ok(tier));
                assert_eq!(aead.tier(), tier.name());
                println!("{tier}: run");
            }
            None => {
                let missing = TierChoice::Only(tier).resolve().expect_err("it is not there");
                assert_eq!(missing, TierError::Missing { tier });
                assert!(missing.to_string().ends_with("library"), "it names what is there: {missing}");
                println!("{tier}: NOT RUN, this CPU lacks it");
            }
        }
    }
}

#[test]
fn denied_tiers_are_not_taken() {
    for tier in Tier::ALL {
        let mut denied = [false; 4];
        denied[tier as usize] = true;
        if let Ok(taken) = TierChoice::Without(denied).resolve() {
            assert_ne!(taken, tier);
        }
    }
    assert_eq!(TierChoice::Without([true, true, true, false]).resolve(), Ok(Tier::Library));
    assert_eq!(TierChoice::Without([true; 4]).resolve(), Err(TierError::NothingLeft));
}

/// Seals as the library does but for one byte, or vouches for everything.
struct Liar {
    library: Library,
    vouches: bool,
}

impl Aead for Liar {
    fn seal_batch(&self, messages: &mut [Message<'_>]) {
        self.library.seal_batch(messages);
        if let Some(last) = messages.last_mut().filter(|_| !self.vouches) {
            last.text_inout[0] ^= 1;
        }
    }

    fn open_batch(&self, messages: &mut [Message<'_>], verdicts_inout: &mut [Verdict]) {
        self.library.open_batch(messages, verdicts_inout);
        if self.vouches {
            verdicts_inout.fill(Verdict::Authentic);
        }
    }

    fn tier(&self) -> &'static str {
        "liar"
    }
}

#[test]
fn a_tier_that_computes_or_judges_wrongly_is_caught() {
    for vouches in [false, true] {
        let liar = |key: &[u8; KEY_LEN]| Some(Arc::new(Liar { library: Library::new(key), vouches }) as Arc<dyn Aead>);
        assert!(!known::answers_are_right(liar));
    }
    assert!(!known::answers_are_right(|_| None));
    assert!(known::answers_are_right(|key| Some(Arc::new(Library::new(key)))));
}

/// Tags of the library but for one bit.
struct TagLiar;

impl Tags for TagLiar {
    fn tags(&self, messages: &[TagMessage<'_>], tags_inout: &mut [[u8; TAG_LEN]]) {
        Tier::Library.tag_key(&known::TAG_KEYS).expect("everywhere").tags(messages, tags_inout);
        tags_inout[3][15] ^= 0x80;
    }
}

#[test]
fn a_tier_whose_tags_are_wrong_is_caught() {
    assert!(!known::tags_are_right(&TagLiar, &known::TAG_KEYS));
}
