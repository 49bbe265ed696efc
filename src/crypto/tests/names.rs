//! Names: the RFC's tag, the same alone and in any batch, another under another key or cluster, and nothing printed.

use super::Seeded;
use crate::crypto::aead::TAG_KEYS_LEN;
use crate::crypto::aead::TagMessage;
use crate::crypto::derive::derive;
use crate::crypto::keystore::Dek;
use crate::crypto::names::ClearNameKey;
use crate::crypto::names::NAME_LEN;
use crate::crypto::names::NameKey;
use crate::crypto::selftest::KNOWN_CLUSTER;
use crate::crypto::selftest::KNOWN_NAME_KEY;
use crate::crypto::selftest::KNOWN_NAMES;
use crate::crypto::siv::TagKey;
use crate::ids::ClusterId;

fn name(key: &NameKey, user_key: &[u8]) -> [u8; NAME_LEN] {
    let mut names = [[0; NAME_LEN]];
    key.names(&[user_key], &mut names);
    names[0]
}

/// RFC 8452, appendix C.3: the one vector with an empty AAD and a nonce of zeros, under the keys that it derives.
#[test]
fn a_vector_of_the_rfc_with_nonce_zero_comes_out() {
    let keys = "dc95c078a24089895275f3d86b4fb868779b38d15bffb63d39d6e9ae76a9b2f375d11b0e3a68c422845c7d4690fa594f";
    let keys: [u8; TAG_KEYS_LEN] = hex::decode(keys).unwrap().try_into().unwrap();
    let text = hex::decode("000000000000000000000000000000004db923dc793ee6497c76dcc03a98e108").unwrap();
    let tags = TagKey::from_bytes(&keys).tags(&[TagMessage { aad: &[], plaintext: &text, place: [0; 12] }]);
    assert_eq!(hex::encode(tags[0]), "ffffffff000000000000000000000000");
}

/// Made by other code: POLYVAL bit by bit in Python, AES and HKDF of the `cryptography` package.
#[test]
fn golden_names_come_out_with_a_name_key_and_without() {
    let secret = NameKey::new(&Dek::new(&KNOWN_NAME_KEY), KNOWN_CLUSTER);
    let clear = NameKey::clear(&ClearNameKey(KNOWN_NAME_KEY), KNOWN_CLUSTER);
    assert!(secret.is_secret() && !clear.is_secret());
    for (user_key, with, without) in KNOWN_NAMES {
        assert_eq!(hex::encode(name(&secret, user_key)), with);
        assert_eq!(hex::encode(name(&clear, user_key)), without);
    }
    let long: Vec<u8> = (0..200).collect();
    assert_eq!(hex::encode(name(&secret, &long)), "f9e1ee16204c3a74a860aa8177aef329");
    assert_eq!(hex::encode(name(&clear, &long)), "607f2a8014d5bd714da46d02378c9d6e");
}

#[test]
fn names_are_the_same_alone_and_in_any_batch() {
    let random = Seeded::fresh();
    let key = NameKey::new(&Dek::new(&random.array()), ClusterId(random.array()));
    for count in [0, 1, 2, 3, 4, 5, 15, 63, 64, 65, 127, 128, 129, 300] {
        let user_keys: Vec<Vec<u8>> = (0..count).map(|_| random.bytes(random.index(90))).collect();
        let slices: Vec<&[u8]> = user_keys.iter().map(Vec::as_slice).collect();
        let mut names = vec![[0; NAME_LEN]; count];
        key.names(&slices, &mut names);
        let alone: Vec<[u8; NAME_LEN]> = slices.iter().map(|user_key| name(&key, user_key)).collect();
        assert_eq!(names, alone, "{count}");
    }
}

/// A name depends on every byte and on the length of its key, on the name key and on the cluster.
#[test]
fn names_differ_by_key_length_name_key_and_cluster() {
    let dek = || Dek::new(&KNOWN_NAME_KEY);
    let key = NameKey::new(&dek(), KNOWN_CLUSTER);
    let mut unlike = vec![name(&key, b""), name(&key, b"\0"), name(&key, &[0; 16]), name(&key, &[0; 17])];
    for place in 0..16 {
        let mut user_key = [0; 16];
        user_key[place] = 1;
        unlike.push(name(&key, &user_key));
    }
    unlike.push(name(&NameKey::new(&dek(), ClusterId([1; 16])), b""));
    unlike.push(name(&NameKey::new(&Dek::new(&[1; 32]), KNOWN_CLUSTER), b""));
    for bytes in [KNOWN_NAME_KEY, [1; 32]] {
        unlike.push(name(&NameKey::clear(&ClearNameKey(bytes), KNOWN_CLUSTER), b""));
        unlike.push(name(&NameKey::clear(&ClearNameKey(bytes), ClusterId([1; 16])), b""));
    }
    let count = unlike.len();
    unlike.sort_unstable();
    unlike.dedup();
    assert_eq!(unlike.len(), count);
}

/// No key has two uses: a name key gives other tags than a value DEK of the same bytes would.
#[test]
fn name_keys_have_a_label_of_their_own() {
    let as_values = derive::<TAG_KEYS_LEN>(&KNOWN_NAME_KEY, b"", "sealkv value nonce", &[]);
    let tags = TagKey::from_bytes(&as_values).tags(&[TagMessage { aad: &[], plaintext: b"k", place: [0; 12] }]);
    assert_ne!(tags[0], name(&NameKey::new(&Dek::new(&KNOWN_NAME_KEY), KNOWN_CLUSTER), b"k"));
}

#[test]
#[should_panic(expected = "a name for each key")]
fn names_of_another_number_than_keys_are_a_bug() {
    NameKey::clear(&ClearNameKey(KNOWN_NAME_KEY), KNOWN_CLUSTER).names(&[b"k"], &mut []);
}

#[test]
fn debug_of_a_name_key_shows_nothing() {
    let key = ClearNameKey(KNOWN_NAME_KEY);
    assert_eq!(format!("{:?}", NameKey::clear(&key, KNOWN_CLUSTER)), "NameKey { .. }");
    assert_eq!(format!("{key:?}"), "ClearNameKey { .. }");
}
