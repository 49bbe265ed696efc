//! Key store, wrapping, and NO-SECRETS-OUT.

use std::sync::Arc;

use super::Seeded;
use super::key_id;
use super::known_entry_dek;
use super::known_store;
use super::unhex;
use crate::crypto::aead;
use crate::crypto::aead::TagMessage;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::EntryDek;
use crate::crypto::keystore::KeyError;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::TermSalt;
use crate::crypto::keystore::ValueDek;
use crate::crypto::open::EntryKeys;
use crate::crypto::open::OpenArena;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entries;
use crate::crypto::seal::seal_entries;
use crate::crypto::selftest::KNOWN_CLUSTER;
use crate::crypto::selftest::KNOWN_ENTRY_DEK;
use crate::crypto::selftest::KNOWN_PAYLOAD;
use crate::crypto::selftest::KNOWN_POSITION;
use crate::crypto::selftest::KNOWN_PROPOSAL;
use crate::crypto::selftest::KNOWN_TERM_SALT;
use crate::crypto::siv::TagKey;
use crate::crypto::stored::ValueArena;
use crate::crypto::stored::ValueBinding;
use crate::crypto::wrap::Kek;
use crate::crypto::wrap::KekId;
use crate::crypto::wrap::WrapError;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;

#[test]
fn a_key_id_is_set_once() {
    let store = KeyStore::new(KNOWN_CLUSTER);
    assert_eq!(store.insert(key_id(1), Purpose::Entry, Dek::new(&[1; 32])), Ok(()));
    assert_eq!(store.insert(key_id(1), Purpose::Entry, Dek::new(&[1; 32])), Ok(()), "the same again is nothing");
    let conflict = Err(KeyError::Conflict { key_id: key_id(1) });
    assert_eq!(store.insert(key_id(1), Purpose::Entry, Dek::new(&[2; 32])), conflict);
    assert_eq!(store.insert(key_id(1), Purpose::Value, Dek::new(&[1; 32])), conflict);
    let first = entry_dek(&store, 1);
    store.insert(key_id(1), Purpose::Entry, Dek::new(&[1; 32])).unwrap();
    assert!(std::ptr::eq(&*first, &*entry_dek(&store, 1)), "each key is expanded once");
}

fn entry_dek(store: &KeyStore, id: u32) -> Arc<EntryDek> {
    store.snapshot().entry(key_id(id)).unwrap().clone()
}

/// No key has two uses: neither two ids nor two purposes.
#[test]
fn equal_keys_under_two_ids_are_refused() {
    let store = KeyStore::new(KNOWN_CLUSTER);
    store.insert(key_id(1), Purpose::Entry, Dek::new(&[1; 32])).unwrap();
    let refused = Err(KeyError::SameKey { key_id: key_id(2), other: key_id(1) });
    assert_eq!(store.insert(key_id(2), Purpose::Value, Dek::new(&[1; 32])), refused);
    assert_eq!(store.insert(key_id(2), Purpose::Entry, Dek::new(&[1; 32])), refused);
    assert_eq!(store.snapshot().ids().collect::<Vec<_>>(), [(key_id(1), Purpose::Entry)]);
}

#[test]
fn purposes_are_kept_apart_and_ids_ascend() {
    let store = known_store();
    let keys = store.snapshot();
    assert!(keys.entry(key_id(7)).is_none());
    assert!(keys.value(key_id(0xCAFE_BABE)).is_none());
    assert!(keys.entry(key_id(1)).is_none() && keys.value(key_id(1)).is_none());
    let expected = [(key_id(7), Purpose::Value), (key_id(0xCAFE_BABE), Purpose::Entry)];
    assert_eq!(keys.ids().collect::<Vec<_>>(), expected);
    for purpose in [Purpose::Entry, Purpose::Value] {
        assert_eq!(Purpose::of(purpose as u8), Some(purpose));
    }
    assert_eq!((Purpose::of(0), Purpose::of(3)), (None, None));
}

#[test]
fn a_snapshot_does_not_change_under_its_reader() {
    let store = known_store();
    let before = store.snapshot();
    assert!(store.remove(key_id(7)));
    assert!(!store.remove(key_id(7)));
    store.insert(key_id(8), Purpose::Value, Dek::new(&[8; 32])).unwrap();
    assert!(before.value(key_id(7)).is_some() && before.value(key_id(8)).is_none());
    let after = store.snapshot();
    assert!(after.value(key_id(7)).is_none() && after.value(key_id(8)).is_some());
}

/// A removed key's expanded form lives as long as its last reader, and no longer.
#[test]
fn a_removed_key_goes_with_its_last_snapshot() {
    let store = known_store();
    let watched = Arc::downgrade(store.snapshot().value(key_id(7)).unwrap());
    let reader = store.snapshot();
    store.remove(key_id(7));
    assert!(watched.upgrade().is_some());
    drop(reader);
    assert!(watched.upgrade().is_none());
}

#[test]
fn readers_and_writers_do_not_disturb_each_other() {
    let store = known_store();
    std::thread::scope(|scope| {
        for thread in 0..2_u32 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..100_u32 {
                    let mut bytes = [0xab; 32];
                    bytes[..8].copy_from_slice(&[thread.to_be_bytes(), n.to_be_bytes()].concat());
                    store.insert(key_id(100 + thread * 1000 + n), Purpose::Entry, Dek::new(&bytes)).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..1000 {
                assert!(store.snapshot().value(key_id(7)).is_some());
            }
        });
    });
    assert_eq!(store.snapshot().ids().count(), 202);
}

/// A leadership key depends on DEK, id, cluster, term and salt; its nonces alone depend on the opener's index.
#[test]
fn leadership_keys_differ_by_everything_they_are_made_from() {
    let dek = |cluster, id, bytes: &[u8; 32]| EntryDek::new(cluster, key_id(id), Dek::new(bytes));
    let known = dek(KNOWN_CLUSTER, 1, &[1; 32]);
    let fingerprint = |dek: &EntryDek, term_salt: &TermSalt| {
        let mut tag = [0; 16];
        dek.leadership(term_salt).aead.seal_batch(&mut [aead::Message {
            nonce: [0; 12],
            aad: b"",
            text_inout: &mut tag,
        }]);
        tag
    };
    let all = [
        fingerprint(&known, &KNOWN_TERM_SALT),
        fingerprint(&known, &TermSalt { term: Term(6), ..KNOWN_TERM_SALT }),
        fingerprint(&known, &TermSalt { salt: [0; 32], ..KNOWN_TERM_SALT }),
        fingerprint(&dek(ClusterId([0; 16]), 1, &[1; 32]), &KNOWN_TERM_SALT),
        fingerprint(&dek(KNOWN_CLUSTER, 2, &[1; 32]), &KNOWN_TERM_SALT),
        fingerprint(&dek(KNOWN_CLUSTER, 1, &[2; 32]), &KNOWN_TERM_SALT),
    ];
    for (n, one) in all.iter().enumerate() {
        assert!(all[..n].iter().all(|other| other != one), "{n}");
    }
    assert_eq!(all[0], fingerprint(&known, &TermSalt { index: Index(9), ..KNOWN_TERM_SALT }));
}

#[test]
fn the_newest_leadership_key_is_derived_once() {
    let dek = known_entry_dek(&known_store());
    let one = dek.leadership(&KNOWN_TERM_SALT);
    assert!(Arc::ptr_eq(&one, &dek.leadership(&KNOWN_TERM_SALT)));
    let renewed = TermSalt { index: Index(101), ..KNOWN_TERM_SALT };
    assert_eq!(dek.leadership(&renewed).term_salt(), &renewed);
    assert_eq!(dek.leadership(&KNOWN_TERM_SALT).term_salt(), &KNOWN_TERM_SALT);
}

/// NO-SECRETS-OUT: no Debug of this room shows a byte of a key or of plaintext, in hex or decimal.
#[test]
fn debug_shows_no_byte_of_keys_or_plaintext() {
    let secret = [0xd7; 32];
    let store = KeyStore::new(KNOWN_CLUSTER);
    store.insert(key_id(1), Purpose::Entry, Dek::new(&secret)).unwrap();
    store.insert(key_id(2), Purpose::Value, Dek::new(&[0xd8; 32])).unwrap();
    let keys = store.snapshot();
    let entry = keys.entry(key_id(1)).unwrap();
    let mut arena = OpenArena::default();
    let sealed = seal_entries(&entry.leadership(&KNOWN_TERM_SALT), [0; 7], Index(101), &[(KNOWN_PROPOSAL, &secret)]);
    let position = position_at(101);
    let entry_keys = EntryKeys::new(store.snapshot(), Some(KNOWN_TERM_SALT));
    open_entries(&entry_keys, &[OpenJob { position, data: &sealed.unwrap()[0] }], &mut arena);
    assert_eq!(arena.get(0), Ok(&secret[..]));
    let mut message = [0xd7; 20];
    let message = aead::Message { nonce: [0xd7; 12], aad: &secret, text_inout: &mut message };
    let frame = EntryFrame { proposal_id: KNOWN_PROPOSAL, payload: &secret };
    let job = OpenJob { position, data: &secret };
    let binding = ValueBinding { store_key: &secret, header: [0; 9], entry_tag: [0xd7; 16], delta: 1, op: 2 };
    let value_dek = ValueDek::new(key_id(1), Dek::new(&secret));
    let mut values = ValueArena::new(&value_dek, 0);
    values.add(&binding, secret.len(), |out| out.extend_from_slice(&secret)).unwrap();
    let tag_item = TagMessage { aad: &[&secret], plaintext: &secret, place: [0xd7; 12] };
    let shown = [
        format!("{message:?} {frame:?} {job:?} {binding:?} {values:?} {tag_item:?}"),
        format!("{:?} {:?}", Dek::new(&secret), Kek::new(KekId([1; 8]), &secret)),
        format!("{:?} {:?} {:?}", EntryDek::new(KNOWN_CLUSTER, key_id(1), Dek::new(&secret)), entry, keys),
        format!("{value_dek:?} {:?}", entry.leadership(&KNOWN_TERM_SALT)),
        format!("{store:#?} {entry_keys:?} {arena:?}"),
        format!("{:?}", aead::Library::new(&secret)),
        format!("{:?}", TagKey::from_bytes(&[0xd7; 48])),
    ];
    for text in shown {
        let text = text.to_lowercase();
        for byte in ["d7", "215", "d8", "216"] {
            assert!(!text.contains(byte), "{byte} in {text}");
        }
    }
}

fn position_at(index: u64) -> Position {
    Position { index: Index(index), ..KNOWN_POSITION }
}

#[test]
fn deks_are_compared_and_checked_by_their_bytes() {
    assert_eq!(Dek::new(&[1; 32]), Dek::new(&[1; 32]));
    assert_ne!(Dek::new(&[1; 32]), Dek::new(&[2; 32]));
    assert_eq!(hex::encode(Dek::new(&KNOWN_ENTRY_DEK).check()), "48a7959098876ae6");
    assert_eq!(hex::encode(kek().check(KNOWN_CLUSTER)), "706221afb77b1c2c");
}

fn kek() -> Kek {
    Kek::new(KekId(unhex("e0e1e2e3e4e5e6e7").try_into().unwrap()), &[0x77; 32])
}

/// Golden bytes made by other code; every flipped bit, part and label is refused.
#[test]
fn wrapped_keys_have_their_golden_bytes_and_are_bound_to_their_parts() {
    let id = key_id(0xCAFE_BABE).to_bytes();
    let parts: [&[u8]; 3] = [&KNOWN_CLUSTER.0, &id, &[Purpose::Entry as u8]];
    let nonce = unhex("d0d1d2d3d4d5d6d7d8d9dadb").try_into().unwrap();
    let dek = Dek::new(&KNOWN_ENTRY_DEK);
    let wrapped = kek().wrap(nonce, "sealkv dek", &parts, &dek);
    let golden = concat!(
        "e0e1e2e3e4e5e6e7d0d1d2d3d4d5d6d7d8d9dadb2cfbd6d9ffa8d3043ac8947f4a090023fe627c14e41015abecab9cf7f3ef189e",
        "f13d5b996e395f57cb4bd40e00f60458"
    );
    assert_eq!(hex::encode(wrapped), golden);
    assert_eq!(kek().unwrap("sealkv dek", &parts, &wrapped), Ok(dek));
    for bit in 0..wrapped.len() * 8 {
        let mut bad = wrapped;
        bad[bit / 8] ^= 1 << (bit % 8);
        let refused = kek().unwrap("sealkv dek", &parts, &bad).unwrap_err();
        assert_eq!(matches!(refused, WrapError::OtherKek { .. }), bit < 64);
    }
    let other_purpose: [&[u8]; 3] = [&KNOWN_CLUSTER.0, &id, &[Purpose::Value as u8]];
    assert_eq!(kek().unwrap("sealkv dek", &other_purpose, &wrapped), Err(WrapError::Unauthentic));
    assert_eq!(kek().unwrap("sealkv log", &parts, &wrapped), Err(WrapError::Unauthentic));
    let same_id = Kek::new(kek().id(), &[0x78; 32]);
    assert_eq!(same_id.unwrap("sealkv dek", &parts, &wrapped), Err(WrapError::Unauthentic));
    let other = Kek::new(KekId([1; 8]), &[0x77; 32]);
    let refused = WrapError::OtherKek { wrapped_by: kek().id(), kek_id: KekId([1; 8]) };
    assert_eq!(other.unwrap("sealkv dek", &parts, &wrapped), Err(refused));
}

/// The payload of the known answers is nowhere in what is sealed.
#[test]
fn sealed_entries_hold_no_plaintext() {
    let random = Seeded::fresh();
    let dek = known_entry_dek(&known_store());
    let sealed =
        seal_entries(&dek.leadership(&KNOWN_TERM_SALT), random.array(), Index(101), &[(KNOWN_PROPOSAL, KNOWN_PAYLOAD)]);
    let sealed = sealed.unwrap();
    assert!(sealed[0].windows(4).all(|window| !KNOWN_PAYLOAD.windows(4).any(|clear| clear == window)));
}
