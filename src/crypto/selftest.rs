//! The known answers that every start runs: a node whose cryptography is wrong must not write a byte.
//!
//! Each primitive against a published answer, and each envelope kind against bytes that other code computed.

use crate::crypto::aead;
use crate::crypto::aead::Message;
use crate::crypto::aead::TagMessage;
use crate::crypto::aead::Verdict;
use crate::crypto::derive::derive;
use crate::crypto::derive::hmac_sha256;
use crate::crypto::elastickv::envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::EntryDek;
use crate::crypto::keystore::TermSalt;
use crate::crypto::keystore::ValueDek;
use crate::crypto::names::NAME_LEN;
use crate::crypto::names::NameKey;
use crate::crypto::seal::seal_control;
use crate::crypto::seal::seal_entries;
use crate::crypto::siv::TagKey;
use crate::crypto::stored::ValueBinding;
use crate::crypto::stored::seal_values;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;

/// A known answer came out wrong. Operator: this machine or build must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("self-test of {what} gave a wrong answer")]
pub struct SelfTestError {
    /// Which primitive or construction.
    pub what: &'static str,
}

/// What it is about, and whether it came out right.
type KnownAnswer = (&'static str, fn() -> bool);

/// Runs them all; well under a millisecond.
///
/// # Errors
/// [`SelfTestError`] naming the first that is wrong.
pub fn known_answers() -> Result<(), SelfTestError> {
    let answers: [KnownAnswer; 8] = [
        ("AES-256-GCM", gcm_is_right),
        ("HKDF-SHA256", hkdf_is_right),
        ("HMAC-SHA256", hmac_is_right),
        ("RFC 8452 tags", tag_is_right),
        ("version 1 envelopes", version_one_is_right),
        ("entry envelopes", entries_are_right),
        ("stored values", stored_value_is_right),
        ("names", names_are_right),
    ];
    match answers.into_iter().find(|(_, is_right)| !is_right()) {
        None => Ok(()),
        Some((what, _)) => Err(SelfTestError { what }),
    }
}

/// Test case 16 of the GCM submission, several times in one batch, so that every lane of a tier meets it.
fn gcm_is_right() -> bool {
    let key = aead::key(&unhex(GCM_KEY));
    let aad: [u8; 20] = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let nonce = unhex("cafebabefacedbaddecaf888");
    let clear: [u8; 76] = unhex(GCM_CLEAR);
    let sealed: [u8; 76] = unhex(GCM_SEALED);
    let mut texts = [clear; GCM_LANES];
    key.seal_batch(&mut batch(&mut texts, nonce, &aad));
    if texts != [sealed; GCM_LANES] {
        return false;
    }
    texts[1][30] ^= 0x01;
    let mut verdicts = [Verdict::Unauthentic; GCM_LANES];
    key.open_batch(&mut batch(&mut texts, nonce, &aad), &mut verdicts);
    (0..GCM_LANES).all(|n| match n {
        1 => verdicts[n] == Verdict::Unauthentic && texts[n] == [0; 76],
        _ => verdicts[n] == Verdict::Authentic && texts[n][..60] == clear[..60],
    })
}

fn batch<'a>(texts: &'a mut [[u8; 76]], nonce: [u8; 12], aad: &'a [u8]) -> Vec<Message<'a>> {
    texts.iter_mut().map(|text| Message { nonce, aad, text_inout: text }).collect()
}

/// RFC 5869, test case 1.
fn hkdf_is_right() -> bool {
    let salt: [u8; 13] = unhex("000102030405060708090a0b0c");
    let info: [u8; 10] = unhex("f0f1f2f3f4f5f6f7f8f9");
    let expected: [u8; 42] =
        unhex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    *derive::<42>(&[0x0b; 22], &salt, "", &[&info[..4], &info[4..]]) == expected
}

/// RFC 4231, test case 2; HMAC pads its short key with zeros anyway.
fn hmac_is_right() -> bool {
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    hmac_sha256(&key, &[b"what do ya want ", b"for nothing?"])
        == unhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
}

/// RFC 8452, appendix C.2, the case of a 3-byte plaintext and 5 bytes of associated data.
fn tag_is_right() -> bool {
    let keys = TagKey::from_bytes(&unhex(concat!(
        "b546f5a850d0a90adfe39e95c2510fc6",
        "b9d1e239d62cbb5c49273ddac8838bdcc53bca478a770f07087caa4e0a924a55"
    )));
    let (aad, plaintext): ([u8; 5], [u8; 3]) = (unhex("4fbdc66f14"), unhex("671fdd"));
    let item = TagMessage { aad: &[&aad], plaintext: &plaintext, place: unhex("e4b47801afc0577e34699b9e") };
    keys.tags(&[item; 2]) == [unhex("93da9bb81333aee0c785b240d319719d"); 2]
}

/// An entry sealed by elastickv's own code, and the same with a flipped bit.
fn version_one_is_right() -> bool {
    let dek = Dek::new(&KNOWN_ENTRY_DEK);
    let mut envelope: [u8; 55] = unhex(concat!(
        "0100cafebabeabcd000700000000000000016435effe82c401b7dfc07e9bb32c",
        "928958ae5035c0e56df1521650d8249c8bc56c9b339663"
    ));
    let sealed = envelope::seal_entry(&dek, known_key_id(), unhex("abcd00070000000000000001"), KNOWN_PAYLOAD);
    if sealed != envelope || envelope::open_entry(&dek, known_key_id(), &envelope).as_deref() != Ok(KNOWN_PAYLOAD) {
        return false;
    }
    envelope[54] ^= 0x80;
    let refused = envelope::open_entry(&dek, known_key_id(), &envelope);
    refused == Err(OpenError::Unauthentic { key_id: known_key_id() })
}

fn entries_are_right() -> bool {
    let dek = EntryDek::new(KNOWN_CLUSTER, known_key_id(), Dek::new(&KNOWN_ENTRY_DEK));
    let key = dek.leadership(&KNOWN_TERM_SALT);
    let random = [0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6];
    let sealed = seal_entries(&key, random, KNOWN_POSITION.index, &[(KNOWN_PROPOSAL, KNOWN_PAYLOAD)]);
    if sealed.is_ok_and(|sealed| sealed == [&unhex::<64>(KNOWN_ENTRY)[..]]) {
        let nonce = unhex("b0b1b2b3b4b5b6b7b8b9babb");
        let sealed = seal_control(&dek, KNOWN_POSITION, KNOWN_PROPOSAL, nonce, KNOWN_PAYLOAD);
        return sealed.is_ok_and(|sealed| sealed[..] == unhex::<64>(KNOWN_CONTROL));
    }
    false
}

fn stored_value_is_right() -> bool {
    let dek = ValueDek::new(KeyId::new(7).expect("7 is not 0"), Dek::new(&KNOWN_VALUE_DEK));
    let binding = ValueBinding {
        store_key: b"user:1",
        header: unhex("020068e5cf8b010000"),
        entry_tag: unhex("988a9ba1958bf580759db5d27af84987"),
        delta: 0x1_2345_6789,
        op: 0xbeef,
    };
    let body = b"\x00\x00\x00\x00\x00\x00\x00\x00\x67hello";
    seal_values(&dek, &[(binding, body)]).is_ok_and(|rows| rows == [&unhex::<57>(KNOWN_ROW)[..]])
}

fn names_are_right() -> bool {
    let keys = KNOWN_NAMES.map(|(user_key, ..)| user_key);
    let mut names = [[0; NAME_LEN]; KNOWN_NAMES.len()];
    NameKey::new(&Dek::new(&KNOWN_NAME_KEY), KNOWN_CLUSTER).names(&keys, &mut names);
    names == KNOWN_NAMES.map(|(_, name, _)| unhex(name))
}

fn known_key_id() -> KeyId {
    KeyId::new(0xCAFE_BABE).expect("not 0")
}

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).expect("a literal of N bytes");
    bytes
}

const GCM_LANES: usize = 9;
const GCM_KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
/// 60 bytes of text and space for the tag.
const GCM_CLEAR: &str = concat!(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657",
    "ba637b3900000000000000000000000000000000"
);
const GCM_SEALED: &str = concat!(
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0a",
    "bcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
);

/// 00 01 .. 1f, as in elastickv's own example.
pub(crate) const KNOWN_ENTRY_DEK: [u8; 32] = counting(0);
/// 20 21 .. 3f.
pub(crate) const KNOWN_VALUE_DEK: [u8; 32] = counting(32);
pub(crate) const KNOWN_CLUSTER: ClusterId =
    ClusterId([0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xce, 0xcf]);
pub(crate) const KNOWN_TERM_SALT: TermSalt = TermSalt { term: Term(5), index: Index(100), salt: [0x5a; 32] };
pub(crate) const KNOWN_POSITION: Position = Position { term: Term(5), index: Index(103) };
pub(crate) const KNOWN_PROPOSAL: ProposalId = ProposalId(31337);
pub(crate) const KNOWN_PAYLOAD: &[u8] = b"op=put key=k1 v=hello";
/// frame 9 | version, flag, key id | delta 3, random a0..a6 | ciphertext | tag.
pub(crate) const KNOWN_ENTRY: &str = concat!(
    "010000000000007a69",
    "0200cafebabe",
    "0000000003a0a1a2a3a4a5a6",
    "519b20f6f0722e3f6ceaf71b56690fb186c5b1f254",
    "988a9ba1958bf580759db5d27af84987"
);
/// frame 9 | version, flag, key id | nonce | ciphertext | tag.
pub(crate) const KNOWN_CONTROL: &str = concat!(
    "010000000000007a69",
    "0300cafebabe",
    "b0b1b2b3b4b5b6b7b8b9babb",
    "306613bf5f4bb792af3875893189d62335e3652d80",
    "1b95c59d23ba6c0e76b2ec30be34427f"
);
/// value header | version, flag, key id | delta 36 bits, op 16, T 44 | ciphertext | tag.
pub(crate) const KNOWN_ROW: &str = concat!(
    "020068e5cf8b010000",
    "010000000007",
    "123456789beefdc6af298fe6",
    "776c9bc601b266212645ec56b8cc",
    "ed008c3c4a230e563280f7925f0510ca"
);

/// 40 41 .. 5f.
pub(crate) const KNOWN_NAME_KEY: [u8; 32] = counting(64);
/// A user's key, its name under that name key, and the one that it has if the same bytes are the clear name key.
pub(crate) const KNOWN_NAMES: [(&[u8], &str, &str); 4] = [
    (b"", "bc894df045b86111694a8d8ce3677c58", "5efb6625838799829327aaf2ebed6d8a"),
    (b"user:1", "043ae850c51b8fc48a623d4ed8803dcb", "edc9eba7bded824526ebf1ee784691a8"),
    (b"user:2", "8d10091ae0a11bae2021216714f0b36f", "76a87b2e5ad039ab5bb5e7ca00bdb16a"),
    (b"a key of sixteen", "344979d97011ae68b0a692ce8c66dee0", "41ba533a6b7e8bef7db90066a68c4679"),
];

const fn counting(first: u8) -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut n = 0;
    while n < 32 {
        bytes[n] = first + n as u8;
        n += 1;
    }
    bytes
}
