//! Goal: lanes, and the library that they are compared with everywhere else, agree with one more that shares no code with
//! either. Method: `ring` over every length, in batches of neighbours; each opens what the other sealed.

use ring::aead::AES_256_GCM;
use ring::aead::Aad;
use ring::aead::LessSafeKey;
use ring::aead::Nonce;
use ring::aead::UnboundKey;

use super::*;

#[test]
fn every_length_to_5000_is_sealed_as_ring_seals_it_and_each_opens_the_others() {
    let random = Seeded::replayable(SEED);
    let key: [u8; KEY_LEN] = random.array();
    let ring = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("32 bytes"));
    for tier in Tier::ALL {
        let Some(aead) = tier.key(&key) else {
            println!("{tier}: NOT RUN, this CPU lacks it");
            continue;
        };
        for first in (0..=5000).step_by(40) {
            let plain: Vec<Owned> =
                (first..(first + 40).min(5001)).map(|len| Owned::random(&random, len, len % 67)).collect();
            let mut expected = plain.clone();
            for message in &mut expected {
                let (text, tag_out) = message.text.split_last_chunk_mut::<TAG_LEN>().expect("space for the tag");
                let nonce = Nonce::assume_unique_for_key(message.nonce);
                let tag = ring.seal_in_place_separate_tag(nonce, Aad::from(&message.aad), text).expect("short enough");
                tag_out.copy_from_slice(tag.as_ref());
            }
            let mut found = plain.clone();
            seal(aead.as_ref(), &mut found);
            for (expected, found) in expected.iter().zip(&found) {
                assert!(expected == found, "{tier} seals {} bytes otherwise", expected.plain().len());
            }
            let verdicts = open(aead.as_ref(), &mut expected);
            for ((plain, opened), verdict) in plain.iter().zip(&expected).zip(verdicts) {
                assert_eq!(verdict, Verdict::Authentic, "{tier}: {} bytes of ring", plain.plain().len());
                assert!(plain.plain() == opened.plain(), "{tier} opens {} bytes otherwise", plain.plain().len());
            }
            for (plain, message) in plain.iter().zip(&mut found) {
                let nonce = Nonce::assume_unique_for_key(message.nonce);
                let opened = ring.open_in_place(nonce, Aad::from(&message.aad), &mut message.text).expect("authentic");
                assert!(plain.plain() == opened, "ring opens {} bytes of {tier} otherwise", plain.plain().len());
            }
        }
    }
}
