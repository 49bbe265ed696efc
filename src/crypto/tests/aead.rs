//! The library backend: published answers, refusal with wiping, and the tag of RFC 8452.

use super::Seeded;
use super::unhex;
use crate::crypto::aead;
use crate::crypto::aead::Aead;
use crate::crypto::aead::Message;
use crate::crypto::aead::TAG_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::aead::Verdict;
use crate::crypto::derive::derive;
use crate::crypto::derive::hmac_sha256;
use crate::crypto::derive::hmac_verify;
use crate::crypto::siv::TagKey;

fn open(key: &dyn Aead, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> Verdict {
    let mut verdicts = [Verdict::Unauthentic];
    key.open_batch(&mut [Message { nonce, aad, text_inout: text }], &mut verdicts);
    verdicts[0]
}

/// GCM submission, test cases 13 to 15 (key of 256 bits).
#[test]
fn published_gcm_answers_are_given() {
    let zero = [0; 32];
    let cases = [
        (zero.to_vec(), "000000000000000000000000", "", "530f8afbc74536b9a963b4f1c4cb738b"),
        (
            zero.to_vec(),
            "000000000000000000000000",
            "00000000000000000000000000000000",
            "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"),
            "cafebabefacedbaddecaf888",
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c",
        ),
    ];
    for (key, nonce, clear, sealed) in cases {
        let key = aead::key(key[..].try_into().unwrap());
        let nonce = unhex(nonce).try_into().unwrap();
        let mut text = [unhex(clear), vec![0; TAG_LEN]].concat();
        key.seal_batch(&mut [Message { nonce, aad: b"", text_inout: &mut text }]);
        assert_eq!(hex::encode(&text), sealed);
        assert_eq!(open(&*key, nonce, b"", &mut text), Verdict::Authentic);
        assert_eq!(hex::encode(&text[..text.len() - TAG_LEN]), clear);
    }
}

fn messages<'a>(texts: &'a mut [Vec<u8>], nonces: &[[u8; 12]]) -> Vec<Message<'a>> {
    let texts = texts.iter_mut().zip(nonces);
    texts.map(|(text, nonce)| Message { nonce: *nonce, aad: b"aad", text_inout: text }).collect()
}

/// One bad message in a batch of random lengths: it alone is refused, and it alone is zeros, tag included.
#[test]
fn a_bad_message_fails_alone_and_is_wiped() {
    let random = Seeded::fresh();
    let key = aead::key(&random.array());
    for count in 1..20 {
        let clear: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let len = random.index(300);
                random.bytes(len)
            })
            .collect();
        let mut texts: Vec<Vec<u8>> = clear.iter().map(|text| [&text[..], &[0; TAG_LEN]].concat()).collect();
        let nonces: Vec<[u8; 12]> = (0..count).map(|_| random.array()).collect();
        key.seal_batch(&mut messages(&mut texts, &nonces));
        let bad = random.below(count) as usize;
        let bit = random.index(texts[bad].len() * 8);
        texts[bad][bit / 8] ^= 1 << (bit % 8);
        let mut verdicts = vec![Verdict::Unauthentic; count as usize];
        key.open_batch(&mut messages(&mut texts, &nonces), &mut verdicts);
        for n in 0..count as usize {
            let text_len = texts[n].len() - TAG_LEN;
            if n == bad {
                assert_eq!(verdicts[n], Verdict::Unauthentic);
                assert!(texts[n].iter().all(|byte| *byte == 0));
            } else {
                assert_eq!(verdicts[n], Verdict::Authentic);
                assert_eq!(texts[n][..text_len], clear[n][..]);
            }
        }
    }
}

#[test]
fn nonce_aad_and_key_are_authenticated() {
    let (key, other) = (aead::key(&[1; 32]), aead::key(&[2; 32]));
    let mut sealed = [7; 5 + TAG_LEN];
    key.seal_batch(&mut [Message { nonce: [3; 12], aad: b"aad", text_inout: &mut sealed }]);
    assert_eq!(open(&*key, [4; 12], b"aad", &mut sealed.clone()), Verdict::Unauthentic);
    assert_eq!(open(&*key, [3; 12], b"aae", &mut sealed.clone()), Verdict::Unauthentic);
    assert_eq!(open(&*key, [3; 12], b"", &mut sealed.clone()), Verdict::Unauthentic);
    assert_eq!(open(&*other, [3; 12], b"aad", &mut sealed.clone()), Verdict::Unauthentic);
    assert_eq!(open(&*key, [3; 12], b"aad", &mut sealed), Verdict::Authentic);
    assert_eq!(sealed[..5], [7; 5]);
}

/// What has no space for a tag is not authentic, and nothing panics.
#[test]
fn a_text_shorter_than_a_tag_is_refused_and_wiped() {
    let key = aead::key(&[1; 32]);
    for len in 0..TAG_LEN {
        let mut text = vec![0xee; len];
        assert_eq!(open(&*key, [0; 12], b"", &mut text), Verdict::Unauthentic);
        assert_eq!(text, vec![0; len]);
    }
}

/// GMAC, as the log's headers use it: all is AAD, the text is only the tag.
#[test]
fn an_empty_text_authenticates_its_aad() {
    let key = aead::key(&[9; 32]);
    let mut tag = [0; TAG_LEN];
    key.seal_batch(&mut [Message { nonce: [0xff; 12], aad: &[5; 4064], text_inout: &mut tag }]);
    assert_ne!(tag, [0; TAG_LEN]);
    assert_eq!(open(&*key, [0xff; 12], &[5; 4064], &mut tag.clone()), Verdict::Authentic);
    assert_eq!(open(&*key, [0xff; 12], &[6; 4064], &mut tag), Verdict::Unauthentic);
}

/// However the AAD is cut into parts, the tag is the published one, at every place of a batch.
#[test]
fn rfc_8452_tags_are_given_however_the_aad_is_cut() {
    for (keys, place, aad, plaintext, tag) in RFC_8452 {
        let keys = TagKey::from_bytes(&unhex(keys).try_into().unwrap());
        let (aad, plaintext) = (unhex(aad), unhex(plaintext));
        let place = unhex(place).try_into().unwrap();
        for cut in 0..=aad.len() {
            let parts = [&aad[..cut / 2], &aad[cut / 2..cut], &aad[cut..]];
            let whole = TagMessage { aad: &[&aad], plaintext: &plaintext, place };
            let tags = keys.tags(&[whole, TagMessage { aad: &parts, ..whole }, whole]);
            let tags: [[u8; 16]; 3] = tags.try_into().unwrap();
            assert_eq!(tags.map(hex::encode), [tag; 3], "AAD cut at {cut}");
        }
    }
}

#[test]
fn derived_keys_differ_by_label_salt_and_parts() {
    let key = |salt: &[u8], label, parts: &[&[u8]]| *derive::<32>(&[1; 32], salt, label, parts);
    let all = [
        key(b"", "a", &[]),
        key(b"", "b", &[]),
        key(b"s", "a", &[]),
        key(b"", "a", &[b"c"]),
        key(b"", "a", &[b"d"]),
        *derive::<32>(&[2; 32], b"", "a", &[]),
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| other != one));
    }
    assert_eq!(key(b"", "a", &[b"b", b"c"]), key(b"", "ab", &[b"", b"c"]), "parts are appended to the label");
}

/// RFC 4231 test case 6 has a key longer than ours; case 4's of 25 bytes is padded with zeros, as HMAC does.
#[test]
fn macs_are_right_and_every_bit_of_them_counts() {
    let mut key = [0; 32];
    key[..25].copy_from_slice(&unhex("0102030405060708090a0b0c0d0e0f10111213141516171819"));
    let mac = hmac_sha256(&key, &[&[0xcd; 20], &[0xcd; 30]]);
    assert_eq!(hex::encode(mac), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
    assert!(hmac_verify(&key, &[&[0xcd; 50]], &mac));
    assert!(!hmac_verify(&key, &[&[0xcd; 49]], &mac));
    for bit in 0..256 {
        let mut bad = mac;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!hmac_verify(&key, &[&[0xcd; 50]], &bad));
    }
}

const RFC_KEYS: &str =
    "b5d3c529dfafac43136d2d11be284d7fb914f4742be9e1d7a2f84addbf96dec3456e3c6c05ecc157cdbf0700fedad222";
const RFC_PLACE: &str = "030000000000000000000000";
/// RFC 8452 appendix C.2: both keys, nonce, AAD, plaintext, tag.
const RFC_8452: [(&str, &str, &str, &str, &str); 12] = [
    (RFC_KEYS, RFC_PLACE, "", "", "07f5f4169bbf55a8400cd47ea6fd400f"),
    (RFC_KEYS, RFC_PLACE, "", "0100000000000000", "843122130f7364b761e0b97427e3df28"),
    (RFC_KEYS, RFC_PLACE, "01", "020000000000000000000000", "c1a4a19ae800941ccdc57cc8413c277f"),
    (RFC_KEYS, RFC_PLACE, "01", "02000000000000000000000000000000", "b292d28ff61189e8e49f3875ef91aff7"),
    (
        RFC_KEYS,
        RFC_PLACE,
        "01",
        "0200000000000000000000000000000003000000000000000000000000000000",
        "aea1bad12702e1965604374aab96dbbc",
    ),
    (
        RFC_KEYS,
        RFC_PLACE,
        "01",
        "020000000000000000000000000000000300000000000000000000000000000004000000000000000000000000000000",
        "03332742b228c647173616cfd44c54eb",
    ),
    (
        RFC_KEYS,
        RFC_PLACE,
        "01",
        "02000000000000000000000000000000030000000000000000000000000000000400000000000000000000000000000005000000000000000000000000000000",
        "5bde0285037c5de81e5b570a049b62a0",
    ),
    (RFC_KEYS, RFC_PLACE, "010000000000000000000000", "02000000", "1835e517741dfddccfa07fa4661b74cf"),
    (
        RFC_KEYS,
        RFC_PLACE,
        "010000000000000000000000000000000200",
        "0300000000000000000000000000000004000000",
        "b879ad976d8242acc188ab59cabfe307",
    ),
    (
        RFC_KEYS,
        RFC_PLACE,
        "0100000000000000000000000000000002000000",
        "030000000000000000000000000000000400",
        "cfcdf5042112aa29685c912fc2056543",
    ),
    (
        "e40d26f82774aa27f47b047b608b95857c7c3d9a542cef53dde0e6de9b5800400f82e73ec5f7ee41b7ba8dcb9ba078c3",
        "e0eaf5284d884a0e77d31646",
        "",
        "",
        "169fbb2fbf389a995f6390af22228a62",
    ),
    (
        "0533fd71f4119257361a3ff1469dd4e54feba89799be8ac3684fa2bb30ade0ea51390e6d87dcf3627d2ee44493853abe",
        "9f572c614b4745914474e7c7",
        "489c8fde2be2cf97e74e932d4ed87d",
        "c9882e5386fd9f92ec",
        "c0fd3dc6628dfe55ebb0b9fb2295c8c2",
    ),
];
