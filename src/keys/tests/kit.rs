//! Chance that replays, golden bytes, and a cluster's keys for tests.

use std::sync::Mutex;

use zeroize::Zeroizing;

use crate::crypto::names::ClearNameKey;
use crate::crypto::wrap::Kek;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::ids::Term;
use crate::keys::change::BootstrapKind;
use crate::keys::change::Change;
use crate::keys::kek::KekSet;
use crate::keys::kek::from_bytes;
use crate::keys::keyring::Keyring;
use crate::keys::make::make_bootstrap;
use crate::keys::rules::Facts;
use crate::keys::rules::decide;
use crate::testing::seed::Seeded;
use crate::world::Entropy;

pub(crate) const CLUSTER: ClusterId = ClusterId(*b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf");

/// What `keys.py` has.
pub(crate) const CLEAR_NAMES: ClearNameKey = ClearNameKey([0xcc; 32]);

/// Bytes from `tests/data/golden/keys.txt`, which `keys.py` beside it made from the drawings.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let text = include_str!("../../../tests/data/golden/keys.txt");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    hex::decode(line.expect("a golden record of that name")).unwrap()
}

/// 0, 1, 2, ...: what `keys.py` draws.
#[derive(Default)]
pub(crate) struct Counting(Mutex<u64>);

impl Counting {
    pub(crate) fn from(next: u64) -> Counting {
        Counting(Mutex::new(next))
    }
}

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) {
        let mut next = self.0.lock().unwrap();
        for byte in out {
            *byte = *next as u8;
            *next += 1;
        }
    }
}

pub(crate) fn kek() -> Kek {
    from_bytes(&Zeroizing::new(std::array::from_fn(|i| 0x40 + i as u8)))
}

pub(crate) fn other_kek() -> Kek {
    from_bytes(&Zeroizing::new([9; 32]))
}

pub(crate) fn keks() -> KekSet {
    KekSet::new(vec![kek()]).unwrap()
}

pub(crate) fn other_keks() -> KekSet {
    KekSet::new(vec![other_kek()]).unwrap()
}

pub(crate) fn at(term: u64, index: u64) -> Position {
    Position { term: Term(term), index: Index(index) }
}

pub(crate) fn key_id(id: u32) -> KeyId {
    KeyId::new(id).unwrap()
}

pub(crate) fn facts() -> Facts {
    Facts { cluster: CLUSTER, client_command_applied: false }
}

pub(crate) fn bootstrap(kind: BootstrapKind) -> Change {
    make_bootstrap(&keks(), CLUSTER, kind, &Counting::default()).unwrap()
}

/// As `keyring-new`: the bootstrap at (2, 3) is the cutover.
pub(crate) fn keyring_new() -> Keyring {
    decide(None, &bootstrap(BootstrapKind::Cutover), at(2, 3), facts()).unwrap()
}

/// Every decoder must refuse `bytes` with one byte changed, cut short, or with more behind, or else read another value;
/// it must never panic.
pub(crate) fn hurt<T: PartialEq, E>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, E>) {
    let whole = decode(bytes).ok().expect("the whole record is read");
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "cut to {len} bytes");
    }
    let longer = [bytes, &[0]].concat();
    assert!(decode(&longer).is_err(), "one byte longer");
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.to_vec();
            changed[place] ^= 1 << bit;
            assert!(
                decode(&changed).is_err() || decode(&changed).ok() != Some(decode(bytes).ok().unwrap()),
                "byte {place} bit {bit}"
            );
        }
    }
    drop(whole);
}

/// Garbage of every small length, with the given first bytes now and then, is refused or read, never a panic.
pub(crate) fn garbage<T, E>(seed: u64, prefix: &[u8], decode: impl Fn(&[u8]) -> Result<T, E>) {
    let chance = Seeded::replayable(seed);
    for round in 0..4000 {
        let mut bytes = vec![0; chance.below(600) as usize];
        chance.fill(&mut bytes);
        if round % 2 == 0 {
            let len = prefix.len().min(bytes.len());
            bytes[..len].copy_from_slice(&prefix[..len]);
        }
        let _ = decode(&bytes);
    }
}
