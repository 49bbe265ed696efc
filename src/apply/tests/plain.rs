//! The seals of [`crate::design`] written out once more, plainly, for the twin: one thing at a time, nothing kept.
//!
//! It reads the keyring record and has the KEKs. Every data key is unwrapped and every key derived anew for each use, with
//! the library's AES-GCM: no key store, no node's keys, no arena, no batch, no lanes. Offsets are the drawings of the design.

use crate::apply::tests::kit::CLUSTER;
use crate::crypto::aead::Aead;
use crate::crypto::aead::Library;
use crate::crypto::aead::Message;
use crate::crypto::aead::TagMessage;
use crate::crypto::aead::Verdict;
use crate::crypto::derive::derive;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::Purpose;
use crate::crypto::siv::TagKey;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::ids::KeyId;
use crate::ids::Position;
use crate::keys::kek::KekSet;
use crate::keys::keyring::DekState;
use crate::keys::keyring::Keyring;
use crate::keys::keyring::Naming;
use crate::keys::keyring::WrappedDek;
use crate::testing::leader::CLEAR_NAMES;

/// Why something sealed does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    NoCipher,
    /// With the id as it stands there.
    UnknownKey(u32),
    Unauthentic,
    Malformed,
}

/// What stands in the first 18 bytes of an envelope.
struct Head {
    version: u8,
    key_id: u32,
    nonce: [u8; 12],
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// `version(1) | flag(1) | key_id(4) | nonce(12) | ciphertext | tag(16)`.
fn head(envelope: &[u8]) -> Result<Head, Closed> {
    if envelope.len() < 34 || ![1, 2, 3].contains(&envelope[0]) || envelope[1] != 0 {
        return Err(Closed::Malformed);
    }
    let key_id = u32::try_from(number(&envelope[2..6])).unwrap();
    if key_id == 0 {
        return Err(Closed::Malformed);
    }
    Ok(Head { version: envelope[0], key_id, nonce: envelope[6..18].try_into().unwrap() })
}

/// The key id that a whole envelope names, for the line of a halt.
pub(super) fn named_key(envelope: &[u8]) -> Option<u32> {
    head(envelope).ok().map(|head| head.key_id)
}

/// The data key itself, unwrapped under its place in the keyring, if it is the one that the record means.
fn unwrap(keks: &KekSet, keyring: &Keyring, dek: &WrappedDek) -> Result<Dek, Closed> {
    let id = dek.id.value();
    let place = [&keyring.cluster().0[..], &id.to_be_bytes(), &[dek.purpose as u8]].concat();
    let key = keks.unwrap("sealkv dek", &[&place], &dek.wrapped);
    let key = key.map_err(|_| if keks.is_empty() { Closed::NoCipher } else { Closed::UnknownKey(id) })?;
    let check = derive::<8>(key.expose(), b"", "sealkv check", &[]);
    if *check == dek.check { Ok(key) } else { Err(Closed::UnknownKey(id)) }
}

fn data_key(keks: &KekSet, keyring: &Keyring, id: u32, purpose: Purpose) -> Result<Dek, Closed> {
    let found = keyring.deks().find(|dek| dek.id.value() == id && dek.purpose == purpose);
    let usable = found.filter(|dek| dek.state != DekState::Retired);
    unwrap(keks, keyring, usable.ok_or(Closed::UnknownKey(id))?)
}

fn decrypt(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Closed> {
    let mut text = sealed.to_vec();
    let mut verdicts = [Verdict::Unauthentic];
    Library::new(key).open_batch(&mut [Message { nonce, aad, text_inout: &mut text }], &mut verdicts);
    if verdicts != [Verdict::Authentic] {
        return Err(Closed::Unauthentic);
    }
    text.truncate(text.len() - 16);
    Ok(text)
}

/// The text in an entry's envelope, and whether it is that of a control entry.
pub(super) fn open_envelope(
    keks: &KekSet,
    keyring: &Keyring,
    at: Position,
    proposal_id: u64,
    envelope: &[u8],
) -> Result<(Vec<u8>, bool), Closed> {
    if keks.is_empty() {
        return Err(Closed::NoCipher);
    }
    let Head { version, key_id, nonce } = head(envelope)?;
    let cluster = &keyring.cluster().0;
    let id = key_id.to_be_bytes();
    let (letter, key) = match version {
        2 => {
            let opener = keyring.opener().filter(|opener| opener.term == at.term).ok_or(Closed::UnknownKey(key_id))?;
            let dek = data_key(keks, keyring, key_id, Purpose::Entry)?;
            let parts = [&cluster[..], &id, &at.term.0.to_be_bytes()];
            (b'R', derive::<32>(dek.expose(), &opener.salt, "sealkv entry", &parts))
        }
        3 => {
            let dek = data_key(keks, keyring, key_id, Purpose::Entry)?;
            (b'C', derive::<32>(dek.expose(), b"", "sealkv control", &[&cluster[..], &id]))
        }
        _ => return Err(Closed::Malformed),
    };
    let mut aad = vec![letter, version, 0];
    aad.extend_from_slice(&id);
    aad.extend_from_slice(&at.term.0.to_be_bytes());
    aad.extend_from_slice(&at.index.0.to_be_bytes());
    aad.extend_from_slice(&proposal_id.to_be_bytes());
    Ok((decrypt(&key, nonce, &aad, &envelope[18..])?, version == 3))
}

fn value_aad(key_id: u32, header: &[u8; 9], store_key: &[u8]) -> Vec<u8> {
    [&[1, 0], &key_id.to_be_bytes()[..], header, store_key].concat()
}

/// The body in a sealed row.
pub(super) fn open_row(
    keks: &KekSet,
    keyring: Option<&Keyring>,
    store_key: &[u8],
    row: &[u8],
) -> Result<Vec<u8>, Closed> {
    if keks.is_empty() {
        return Err(Closed::NoCipher);
    }
    let (header, envelope) = row.split_first_chunk::<9>().ok_or(Closed::Malformed)?;
    // Of a value's envelope the reserved id is an unknown key, not a malformation.
    if envelope.len() >= 34 && [1, 2, 3].contains(&envelope[0]) && envelope[1] == 0 && number(&envelope[2..6]) == 0 {
        return Err(Closed::UnknownKey(0));
    }
    let Head { version, key_id, nonce } = head(envelope)?;
    if version != 1 {
        return Err(Closed::Malformed);
    }
    let dek = data_key(keks, keyring.ok_or(Closed::UnknownKey(key_id))?, key_id, Purpose::Value)?;
    let key = derive::<32>(dek.expose(), b"", "sealkv value", &[]);
    decrypt(&key, nonce, &value_aad(key_id, header, store_key), &envelope[18..])
}

/// The value DEK that is active; asked for before a value is sealed.
pub(super) fn active_value(keks: &KekSet, keyring: &Keyring) -> Result<(KeyId, u64, Dek), Closed> {
    let active = keyring.active_value();
    Ok((active.id, active.active_from.0, unwrap(keks, keyring, active)?))
}

/// Which write of which entry a value is sealed for.
pub(super) struct SealedFor<'a> {
    pub(super) store_key: &'a [u8],
    pub(super) header: [u8; 9],
    pub(super) index: u64,
    pub(super) op: u64,
    pub(super) entry_tag: [u8; 16],
}

/// A sealed row: `header | envelope`, its nonce `delta(36 bits) | op(16) | 44 bits of T`.
pub(super) fn seal_row((key_id, active_from, dek): &(KeyId, u64, Dek), of: &SealedFor<'_>, body: &[u8]) -> Vec<u8> {
    let place = u128::from(of.index - active_from) << 60 | u128::from(of.op) << 44;
    let low_12 = |bits: u128| -> [u8; 12] { bits.to_be_bytes()[4..].try_into().unwrap() };
    let tag_key = TagKey::from_bytes(&derive::<48>(dek.expose(), b"", "sealkv value nonce", &[]));
    let aad: [&[u8]; 3] = [&of.entry_tag, &of.header, of.store_key];
    let tag = tag_key.tags(&[TagMessage { aad: &aad, plaintext: body, place: low_12(place) }])[0];
    let nonce = low_12(place | u128::from_be_bytes(tag) >> 84);
    let key_id = key_id.value();
    let mut text = [body, &[0; 16]].concat();
    let aad = value_aad(key_id, &of.header, of.store_key);
    let key = derive::<32>(dek.expose(), b"", "sealkv value", &[]);
    Library::new(&key).seal_batch(&mut [Message { nonce, aad: &aad, text_inout: &mut text }]);
    [&of.header[..], &[1, 0], &key_id.to_be_bytes(), &nonce, &text].concat()
}

/// The name of a row: the tag of RFC 8452 over the user's key under keys derived anew.
pub(super) fn name_key(keks: &KekSet, keyring: Option<&Keyring>) -> Result<TagKey, Closed> {
    let clear = || derive::<48>(&CLEAR_NAMES.0, b"", "sealkv name clear", &[&CLUSTER.0]);
    let keys = match keyring {
        Some(keyring) => match keyring.naming() {
            Naming::Secret(name) => {
                let place = [&keyring.cluster().0[..], &[0, 0, 0, 0, 4]].concat();
                let lack = if keks.is_empty() { Closed::NoCipher } else { Closed::UnknownKey(0) };
                let key = keks.unwrap("sealkv dek", &[&place], &name.wrapped).map_err(|_| lack)?;
                if *derive::<8>(key.expose(), b"", "sealkv check", &[]) != name.check {
                    return Err(lack);
                }
                derive::<48>(key.expose(), b"", "sealkv name", &[&keyring.cluster().0])
            }
            Naming::Clear => clear(),
        },
        None => clear(),
    };
    Ok(TagKey::from_bytes(&keys))
}

pub(super) fn name(key: &TagKey, database: Database, user_key: &[u8]) -> RowName {
    let message = TagMessage { aad: &[], plaintext: user_key, place: [0; 12] };
    RowName::new(database, key.tags(&[message])[0])
}
