//! IDENTITY: golden bytes, and no byte of it can be changed, cut or taken from elsewhere without a refusal.

use crate::codec::CodecError;
use crate::ids::NodeId;
use crate::keys::identity::IDENTITY_LEN_MAX;
use crate::keys::identity::Identity;
use crate::keys::identity::IdentityError;
use crate::keys::identity::LOG_FORMAT;
use crate::keys::identity::LogKey;
use crate::keys::identity::STATE_FORMAT;
use crate::keys::kek::KekSet;
use crate::keys::tests::kit::CLUSTER;
use crate::keys::tests::kit::Counting;
use crate::keys::tests::kit::garbage;
use crate::keys::tests::kit::golden;
use crate::keys::tests::kit::kek;
use crate::keys::tests::kit::keks;
use crate::keys::tests::kit::other_kek;
use crate::keys::tests::kit::other_keks;
use crate::testing::seed::Seeded;

fn identity() -> Identity {
    Identity { node: NodeId::new(7).unwrap(), cluster: CLUSTER, log_slots: 8 }
}

fn log_key() -> LogKey {
    LogKey::make(&keks(), identity().node, CLUSTER, &Counting::default()).unwrap()
}

#[test]
fn identity_has_its_golden_bytes() {
    assert_eq!(hex::encode(identity().encode(None)), hex::encode(golden("identity-clear")));
    assert_eq!(hex::encode(identity().encode(Some(&log_key()))), hex::encode(golden("identity-sealed")));
    assert_eq!(golden("identity-sealed").len(), IDENTITY_LEN_MAX);
}

#[test]
fn identity_is_read_as_written() {
    let (read, key) = Identity::open(&golden("identity-clear"), &KekSet::default()).unwrap();
    assert!(read == identity() && key.is_none());
    let both = KekSet::new(vec![other_kek(), kek()]).unwrap();
    for keks in [keks(), both] {
        let (read, key) = Identity::open(&golden("identity-sealed"), &keks).unwrap();
        assert_eq!(read, identity());
        assert_eq!(key.unwrap().expose(), log_key().expose());
    }
}

#[test]
fn no_log_key_without_a_kek() {
    assert!(LogKey::make(&KekSet::default(), identity().node, CLUSTER, &Counting::default()).is_none());
}

#[test]
fn wrong_kek_missing_kek_and_kek_for_a_clear_directory_are_told_apart() {
    let fails = |name, keks: &KekSet| Identity::open(&golden(name), keks).unwrap_err();
    let wrapped_by = kek().id();
    assert_eq!(fails("identity-sealed", &KekSet::default()), IdentityError::KekMissing { wrapped_by });
    assert_eq!(
        fails("identity-sealed", &other_keks()),
        IdentityError::OtherKek { wrapped_by, given: other_kek().id() }
    );
    assert_eq!(fails("identity-clear", &keks()), IdentityError::KekForClear);
}

/// Every single bit counts: node, cluster, formats, slots, wrap, MAC.
#[test]
fn identity_with_a_changed_bit_is_refused() {
    for (name, keks) in [("identity-sealed", keks()), ("identity-clear", KekSet::default())] {
        let bytes = golden(name);
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[place] ^= 1 << bit;
                assert!(Identity::open(&changed, &keks).is_err(), "{name} byte {place} bit {bit}");
            }
        }
        for len in 0..bytes.len() {
            assert!(Identity::open(&bytes[..len], &keks).is_err(), "{name} cut to {len}");
        }
        assert!(Identity::open(&[&bytes[..], &[0]].concat(), &keks).is_err());
    }
}

/// NO-WAY-DOWN: an IDENTITY in the clear, forged for a sealed node, is refused because its KEK is configured.
#[test]
fn sealed_node_does_not_take_a_forged_clear_identity() {
    let forged = identity().encode(None);
    assert_eq!(Identity::open(&forged, &keks()).unwrap_err(), IdentityError::KekForClear);
}

#[test]
fn another_format_says_which_and_whose() {
    for (place, what, expected) in [(11, "identity", 1), (15, "log", LOG_FORMAT), (19, "state", STATE_FORMAT)] {
        for name in ["identity-sealed", "identity-clear"] {
            let mut bytes = golden(name);
            bytes[place] = 9;
            // Whatever lies behind is another version's business: not judged.
            bytes.truncate(24);
            let error = Identity::open(&bytes, &keks()).unwrap_err();
            assert_eq!(error, IdentityError::Format { what, found: 9, expected });
        }
    }
}

#[test]
fn node_id_0_is_refused() {
    let mut bytes = golden("identity-clear");
    bytes[20..28].fill(0);
    let expected = IdentityError::Damaged(CodecError::Field { field: "node id" });
    assert_eq!(Identity::open(&bytes, &KekSet::default()).unwrap_err(), expected);
}

#[test]
fn identity_is_bound_to_its_node_and_cluster() {
    // The wrap of one node in the file of another.
    let chance = Seeded::replayable(5);
    let other = Identity { node: NodeId::new(8).unwrap(), ..identity() };
    let key = LogKey::make(&keks(), other.node, CLUSTER, &chance).unwrap();
    let error = Identity::open(&identity().encode(Some(&key)), &keks()).unwrap_err();
    assert_eq!(error, IdentityError::Unauthentic { what: "its wrapped log key" });
}

#[test]
fn garbage_never_panics() {
    for keks in [keks(), KekSet::default()] {
        garbage(6, &golden("identity-sealed")[..49], |bytes| Identity::open(bytes, &keks));
        garbage(7, &golden("identity-clear")[..49], |bytes| Identity::open(bytes, &keks));
    }
}
