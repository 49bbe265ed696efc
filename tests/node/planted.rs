//! Secrets that a test knows, and the search for them in whatever a node says, in every form they could take.

use std::error::Error;
use std::fmt::Debug;
use std::fmt::Write;
use std::fs;

use sealkv::crypto::derive::derive;
use sealkv::crypto::keystore::Dek;
use sealkv::crypto::keystore::Purpose;
use sealkv::keys::identity::Identity;
use sealkv::node::open::OpenedNode;

use crate::harness::Site;

/// Needles by the name of what they belong to.
#[derive(Default)]
pub struct Planted(Vec<(String, Vec<u8>)>);

impl Planted {
    /// Plants every window of 8 bytes that begins at a multiple of 8, in each form: a part of a key is a leak too.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= 8, "shorter ones are found by chance");
        for window in secret.chunks_exact(8) {
            let escaped = window.escape_ascii().to_string();
            let listed: Vec<String> = window.iter().map(u8::to_string).collect();
            let (lower, upper) = (hex::encode(window), hex::encode_upper(window));
            let quoted = listed.join(", ");
            for needle in [window, escaped.as_bytes(), lower.as_bytes(), upper.as_bytes(), quoted.as_bytes()] {
                self.0.push((name.to_owned(), needle.to_vec()));
            }
        }
    }

    /// The KEK, and every key that it wraps or that is derived from those.
    pub fn keys_of(site: &Site, opened: &OpenedNode) -> Planted {
        let mut planted = Planted::default();
        planted.add("KEK", &fs::read(site.kek()).unwrap());
        let keks = opened.node_keys.keks();
        let identity = fs::read(site.data().join("IDENTITY")).unwrap();
        let log_key = Identity::open(&identity, keks).unwrap().1.expect("a sealed log");
        planted.add("log key", log_key.expose());
        let view = opened.node_keys.current();
        let keyring = view.keyring().expect("a sealed cluster");
        let cluster = keyring.cluster().0;
        let unwrap = |number: u32, purpose: u8, wrapped| -> Dek {
            keks.unwrap("sealkv dek", &[&cluster, &number.to_be_bytes(), &[purpose]], wrapped).unwrap()
        };
        planted.add("MAC key", unwrap(0, MAC_PURPOSE, &keyring.mac().wrapped).expose());
        for dek in keyring.deks() {
            let key = unwrap(dek.id.value(), dek.purpose as u8, &dek.wrapped);
            planted.add(&format!("{:?} DEK {}", dek.purpose, dek.id), key.expose());
            match dek.purpose {
                Purpose::Entry => {
                    let id = dek.id.to_bytes();
                    planted.add("control key", &*derive::<32>(key.expose(), b"", "sealkv control", &[&cluster, &id]));
                    let opener = keyring.opener().expect("an opener");
                    let parts: [&[u8]; 3] = [&cluster, &id, &opener.term.0.to_be_bytes()];
                    let leadership = derive::<32>(key.expose(), &opener.salt, "sealkv entry", &parts);
                    planted.add("leadership key", &*leadership);
                }
                Purpose::Value => {
                    planted.add("value key", &*derive::<32>(key.expose(), b"", "sealkv value", &[]));
                    planted.add("nonce keys", &*derive::<48>(key.expose(), b"", "sealkv value nonce", &[]));
                }
            }
        }
        planted
    }

    #[track_caller]
    pub fn assert_absent(&self, place: &str, said: impl AsRef<[u8]>) {
        for (name, needle) in &self.0 {
            if let Some(at) = memchr::memmem::find(said.as_ref(), needle) {
                // Test keys only: showing where it stands is what a failure is for.
                let near = &said.as_ref()[at.saturating_sub(200)..(at + 100).min(said.as_ref().len())];
                panic!("{name} stands in {place}, near {:?}", String::from_utf8_lossy(near));
            }
        }
    }
}

/// Everything that printing an error could show: each form, and its sources.
pub fn everything_in(error: &(dyn Error + 'static)) -> String {
    let mut said = String::new();
    let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    for error in chain {
        writeln!(said, "{error}\n{error:#}\n{error:?}\n{error:#?}").unwrap();
    }
    said
}

/// Both debug forms.
pub fn debugged(value: &dyn Debug) -> String {
    format!("{value:?}\n{value:#?}")
}

/// Of the MAC key's wrap (`keys/keyring.rs`).
const MAC_PURPOSE: u8 = 3;

#[test]
fn the_search_finds_a_planted_secret_in_each_form() {
    let mut planted = Planted::default();
    let secret: Vec<u8> = (200..232).collect();
    planted.add("key", &secret);
    planted.assert_absent("nothing", "of it: 1, 2, 3, c8c9cacb");
    let forms = [
        secret.clone(),
        hex::encode(&secret[7..20]).into_bytes(),
        hex::encode_upper(&secret).into_bytes(),
        format!("{:?}", &secret[5..]).into_bytes(),
        format!("{:?}", bytes::Bytes::from(secret)).to_lowercase().into_bytes(),
    ];
    for form in forms {
        assert!(std::panic::catch_unwind(|| planted.assert_absent("a form", &form)).is_err(), "{form:?}");
    }
}
