//! What a machine can see of the house rules: who may import whom, where `unsafe` may stand, how long a file and a function
//! may be, that no word stands for two things, and that files do not import each other in circles.
//!
//! A new edge in [`EDGES`] is a design decision: change the table in a separate commit and say why. No rule has exceptions
//! but [`CIRCLES`], which is empty and should stay so.

#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::graph::circles;
use crate::source::Source;
use crate::source::sources;
use crate::source::texts;

/// Room, then the rooms (or deeper paths) that it may import. The roofs know every room.
const EDGES: &[(&str, &[&str])] = &[
    ("codec", &[]),
    ("debug", &[]),
    ("design", &[]),
    ("exit", &[]),
    ("ids", &[]),
    ("limits", &[]),
    ("world", &[]),
    ("entry", &["ids"]),
    ("members", &["ids", "codec", "limits"]),
    ("disk", &["limits"]),
    ("crypto", &["ids", "limits"]),
    // What is in an entry is opaque to the log: of crypto it sees only the seal of its own frames.
    ("wal", &["ids", "entry", "exit", "codec", "limits", "world", "disk", "crypto::aead"]),
    ("keys", &["ids", "codec", "exit", "limits", "world", "crypto"]),
    ("fsm", &["ids", "members", "codec", "exit", "limits", "crypto", "keys"]),
    ("raft", &["ids", "codec", "entry", "members", "limits", "world", "wal"]),
    ("propose", &["codec", "exit", "ids", "limits", "world", "crypto", "keys", "fsm", "raft"]),
    // A key of TLS is a small file that matters, like a KEK: of keys it sees only how such files are opened.
    ("tls", &["ids", "limits", "world", "keys::file"]),
    // What peers say to each other is opaque to it: raft reads its own messages.
    ("peers", &["ids", "codec", "limits", "world", "raft", "tls"]),
    (
        "apply",
        &["ids", "codec", "entry", "members", "exit", "limits", "world", "crypto", "keys", "fsm", "raft", "propose"],
    ),
    // Clients' connections may begin with a handshake: of TLS it sees what that needs, and the words for a failure.
    ("resp", &["limits", "fsm", "propose", "tls"]),
];

/// What stands above all other rooms: it may import each of them, and none of them may import it.
const ROOFS: &[&str] = &["node", "cli", "seam", "testing", "main", "lib"];

/// Heavy crates and the rooms that own them.
const OWNERS: &[(&str, &[&str])] = &[
    ("aes", &["crypto"]),
    ("aes_gcm", &["crypto"]),
    ("axum", &["node"]),
    ("clap", &["node", "main"]),
    ("crc32c", &["wal", "keys", "node", "peers", "testing"]),
    ("crossbeam_channel", &["wal", "raft", "apply", "node", "testing"]),
    ("flate2", &["node", "crypto"]),
    ("getrandom", &["world"]),
    // Only for its feature: the tables of the AEAD are wiped.
    ("ghash", &[]),
    ("hashbrown", &["fsm"]),
    ("hkdf", &["crypto", "wal"]),
    ("hmac", &["crypto"]),
    ("io_uring", &["disk"]),
    ("libc", &["disk"]),
    ("memchr", &["resp"]),
    ("memmap2", &["crypto"]),
    // The binary chooses it; the room shows what it counts.
    ("mimalloc", &["main", "node"]),
    ("polyval", &["crypto"]),
    ("pprof", &["node"]),
    ("prometheus", &["node"]),
    ("protobuf", &["raft"]),
    ("raft", &["raft"]),
    ("rayon", &["apply", "node", "wal"]),
    ("rcgen", &["tls"]),
    ("rocksdb", &["fsm"]),
    ("rustix", &["cli", "disk", "fsm", "keys", "node", "peers", "resp", "world"]),
    ("rustls", &["tls"]),
    ("serde", &["node", "crypto"]),
    ("serde_json", &["cli", "node", "crypto"]),
    ("sha2", &["crypto", "keys", "wal", "resp"]),
    ("slog", &["raft"]),
    ("tokio", &["resp", "node", "peers"]),
    ("tokio_rustls", &["peers", "resp"]),
    ("toml", &["node"]),
    ("tracing_subscriber", &["node"]),
    ("triomphe", &["fsm"]),
];

/// The only rooms with `unsafe`.
const UNSAFE_ROOMS: &[&str] = &["crypto/aead/", "disk/"];

/// Lines of one file without its test modules.
const FILE_LINES_MAX: usize = 450;

/// Lines of one function.
const FUNCTION_LINES_MAX: usize = 70;

/// Files that reach each other by imports. A circle stands within one room, and none is added: the table only gets shorter.
const CIRCLES: &[&[&str]] = &[];
const _: () = assert!(CIRCLES.len() <= 3);

/// A rule: it finds what is wrong in the files that it is given.
type Rule = fn(&[Source]) -> BTreeSet<String>;

#[test]
fn imports_go_only_along_the_table() {
    none(imports_outside_the_table(sources()), "imports outside the table");
}

#[test]
fn each_heavy_crate_has_one_owner() {
    none(crates_outside_their_rooms(sources()), "heavy crates outside their rooms");
}

#[test]
fn the_tables_allow_no_more_than_is_used() {
    let mut paths: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut crates: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for source in sources() {
        paths.entry(source.room()).or_default().extend(source.crate_paths().iter().map(|path| path.join("::")));
        crates.entry(source.room()).or_default().extend(source.crates());
    }
    let mut unused = BTreeSet::new();
    for (room, edge) in EDGES.iter().flat_map(|(room, edges)| edges.iter().map(move |edge| (room, edge))) {
        if !paths[room].iter().any(|path| path == edge || path.starts_with(&format!("{edge}::"))) {
            unused.insert(format!("{room} does not import {edge}"));
        }
    }
    for (name, owner) in OWNERS.iter().flat_map(|(name, owners)| owners.iter().map(move |owner| (name, owner))) {
        if !crates[owner].contains(*name) {
            unused.insert(format!("{owner} does not use {name}"));
        }
    }
    none(unused, "allowed and not used: take it off the tables");
}

#[test]
fn what_is_forbidden_is_found_in_each_door_wherever_it_stands() {
    let doors: Vec<&Source> = sources().iter().filter(|source| source.path.ends_with("mod.rs")).collect();
    assert!(doors.len() > 10, "the doors were found");
    for door in doors {
        let foreign: Vec<&str> =
            OWNERS.iter().filter(|(_, owners)| !owners.contains(&door.room())).map(|(name, _)| *name).collect();
        let a_crate = |at: usize| foreign[at % foreign.len()].to_owned();
        planted_everywhere(
            door,
            foreign.len(),
            a_crate,
            |name| format!("use {name}::Thing;"),
            crates_outside_their_rooms,
        );
        let absolute = |name: &str| format!("fn planted() {{ ::{name}::call(); }}");
        planted_everywhere(door, foreign.len(), a_crate, absolute, crates_outside_their_rooms);
        if ROOFS.contains(&door.room()) {
            continue;
        }
        let up = "super::".repeat(door.module().len());
        let mut forbidden = vec!["node::wiring", "cli::serve", "testing::disk"];
        if matches!(door.room(), "raft" | "wal" | "disk") {
            forbidden.extend(["keys::node_keys", "crypto::open", "fsm::store"]);
        }
        for room in forbidden {
            let name = |at: usize| format!("{room}::planted_{at}");
            for line in ["use crate::{};", "fn planted() { crate::{}(); }", &format!("use {up}{{}};")] {
                let line = |name: &str| line.replace("{}", name);
                planted_everywhere(door, usize::MAX, name, line, imports_outside_the_table);
            }
        }
    }
}

/// Plants a line with a name between any two items of `door`, behind its test modules too, `at_once` of them together,
/// and demands that `rule` finds each name.
fn planted_everywhere(
    door: &Source,
    at_once: usize,
    name: impl Fn(usize) -> String,
    line: impl Fn(&str) -> String,
    rule: Rule,
) {
    let places = places(door);
    assert!(places.len() > 1, "{}: {} places", door.path, places.len());
    for some in places.chunks(at_once.min(places.len())) {
        let mut text = String::new();
        let mut names = Vec::new();
        for (at, of_door) in door.text.lines().chain([""]).enumerate() {
            if some.contains(&at) {
                names.push(name(names.len()));
                text.extend([&line(&names[names.len() - 1]), "\n"]);
            }
            text.extend([of_door, "\n"]);
        }
        assert_eq!(names.len(), some.len());
        let found = rule(&[Source::new(&door.path, &text)]);
        for name in names {
            assert!(found.iter().any(|wrong| wrong.ends_with(&format!(" {name}"))), "{}: {name}\n{text}", door.path);
        }
    }
}

/// The lines of `door` before which an item may stand, and its end.
fn places(door: &Source) -> Vec<usize> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut item_begins = true;
    for (at, (text, code)) in door.text.lines().zip(door.code.lines()).enumerate() {
        if depth == 0 && item_begins && !text.starts_with("//!") {
            found.push(at);
        }
        depth += code.matches(['{', '(', '[']).count();
        depth -= code.matches(['}', ')', ']']).count();
        // Behind an attribute the line would be the attribute's item.
        item_begins = code.trim_end().ends_with([';', '}', '~']);
    }
    found.push(door.text.lines().count());
    found
}

#[test]
fn only_test_modules_may_import_what_they_like() {
    let text = "//! A door.\n#[cfg(test)]\nmod tests {\n    use crate::node::x;\n}\n\nuse crate::ids::Index;\n";
    assert!(imports_outside_the_table(&[Source::new("wal/mod.rs", text)]).is_empty());
    let behind = format!("{text}use crate::node::x;\n");
    assert_eq!(imports_outside_the_table(&[Source::new("wal/mod.rs", &behind)]).len(), 1);
    let in_prose = "//! A door.\n\n// crate::node::x\nconst X: &str = \"crate::node::x\";\nconst Y: char = '\"';\n";
    assert!(imports_outside_the_table(&[Source::new("wal/mod.rs", in_prose)]).is_empty());
    assert_eq!(
        imports_outside_the_table(&[Source::new("wal/mod.rs", &format!("{in_prose}use crate::node::x;"))]).len(),
        1
    );
}

#[test]
fn unsafe_stands_only_in_the_two_rooms() {
    none(unsafe_elsewhere(sources()), "unsafe outside crypto/aead and disk");
}

#[test]
fn nothing_prints_by_a_macro_that_panics_when_nobody_reads() {
    none(printing(sources()), "print macros: log with tracing, or say it with `cli::say`");
    let text = "//! .\nfn f() {\n    println!(\"x\");\n}\n#[cfg(test)]\nmod tests {\n    fn g() { eprintln!(); }\n}\n";
    assert_eq!(printing(&[Source::new("wal/mod.rs", text)]), BTreeSet::from(["wal/mod.rs:3".to_owned()]));
}

#[test]
fn files_stay_short_enough_to_hold_in_the_head() {
    let long =
        |source: &Source| (source.lines() > FILE_LINES_MAX).then(|| format!("{}: {}", source.path, source.lines()));
    none(sources().iter().filter_map(long).collect(), "files that are too long without their tests");
}

#[test]
fn functions_stay_short_enough_to_see_at_once() {
    let mut wrong = BTreeSet::new();
    for source in sources() {
        for (name, line, lines) in source.functions() {
            if lines > FUNCTION_LINES_MAX {
                wrong.insert(format!("{}:{line}: {name} has {lines} lines", source.path));
            }
        }
    }
    none(wrong, "functions that are too long");
}

#[test]
fn files_import_each_other_in_no_circle_but_the_listed_ones() {
    let found = circles(sources());
    let listed: BTreeSet<Vec<String>> =
        CIRCLES.iter().map(|files| files.iter().map(|&file| file.to_owned()).collect()).collect();
    let text = |circles: Vec<&Vec<String>>| circles.into_iter().map(|files| files.join(" ")).collect();
    none(text(found.difference(&listed).collect()), "circles that are not in the table");
    none(text(listed.difference(&found).collect()), "circles that are gone: take them off the table");
    for files in &listed {
        let rooms: BTreeSet<_> = files.iter().map(|file| file.split('/').next()).collect();
        assert_eq!(rooms.len(), 1, "a circle through rooms: {}", files.join(" "));
    }
}

#[test]
fn a_circle_is_found_through_names_that_a_door_hands_on() {
    let file = Source::new;
    let door = file("wal/mod.rs", "//! .\nmod a;\nmod b;\npub use a::A;\npub(crate) use b::B as Other;\n");
    let a = file("wal/a.rs", "//! .\nuse crate::wal::Other;\npub struct A(Other);\n");
    let b = file("wal/b.rs", "//! .\nuse super::A;\npub struct B(Vec<A>);\n");
    let c = file("wal/c.rs", "//! .\nuse crate::wal::A;\nuse crate::wal::Other;\n");
    let found = circles(&[door.clone(), a.clone(), b, c]);
    assert_eq!(found, BTreeSet::from([vec!["wal/a.rs".to_owned(), "wal/b.rs".to_owned()]]));
    let b = file("wal/b.rs", "//! .\npub struct B(u8);\n");
    assert!(circles(&[door, a, b]).is_empty());
    let door = file("wal/mod.rs", "//! .\nmod a;\npub struct Door(u8);\nfn open() { a::open(); }\n");
    let a = file("wal/a.rs", "//! .\npub fn open() -> crate::wal::Door { todo!() }\n");
    assert_eq!(circles(&[door, a]).len(), 1, "a door that does work is a file like any other");
}

#[test]
fn no_type_name_stands_twice() {
    let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for name in source.types() {
            names.entry(name).or_default().push(source.path.clone());
        }
    }
    names.retain(|_, files| files.len() > 1);
    none(
        names.iter().map(|(name, files)| format!("{name}: {}", files.join(" "))).collect(),
        "type names that stand twice",
    );
}

#[test]
fn nothing_cites_a_document_that_is_not_here() {
    let mut wrong = BTreeSet::new();
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/design.md")).expect("readable");
    for (path, text) in texts().into_iter().chain([("design.md".to_owned(), page)]) {
        for (number, line) in text.lines().enumerate() {
            let section = line.split("design ").skip(1).any(|behind| behind.starts_with(|c: char| c.is_ascii_digit()));
            if section || line.contains("findings/") {
                wrong.insert(format!("{path}:{}", number + 1));
            }
        }
    }
    none(wrong, "cites of documents that are not in the repository");
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let bare = |source: &&Source| !source.text.starts_with("//!");
    none(
        sources().iter().filter(bare).map(|source| source.path.clone()).collect(),
        "files without a first line of //!",
    );
}

#[test]
fn the_top_level_is_what_the_owner_fixed() {
    let allowed = ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "benches", "perf", "tests", "scripts"];
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the checkout is readable") {
        let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
        let ok = name.starts_with('.') || name == "target" || allowed.contains(&name.as_str());
        assert!(ok, "{name} does not belong at the top");
    }
}

fn imports_outside_the_table(sources: &[Source]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for source in sources.iter().filter(|source| !ROOFS.contains(&source.room())) {
        let room = source.room();
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == room) else {
            wrong.insert(format!("{}: room {room} is not in the table", source.path));
            continue;
        };
        for target in source.crate_paths() {
            let target = target.join("::");
            let below = |edge: &str| target == edge || target.starts_with(&format!("{edge}::"));
            if !below(room) && !allowed.iter().any(|edge| below(edge)) {
                wrong.insert(format!("{}: {room} imports {target}", source.path));
            }
        }
    }
    wrong
}

fn crates_outside_their_rooms(sources: &[Source]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for source in sources {
        let used = source.crates();
        let foreign = |(name, owners): &&(&str, &[&str])| used.contains(*name) && !owners.contains(&source.room());
        wrong.extend(OWNERS.iter().filter(foreign).map(|(name, _)| format!("{}: uses {name}", source.path)));
    }
    wrong
}

fn unsafe_elsewhere(sources: &[Source]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for source in sources.iter().filter(|source| !UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room))) {
        for (number, line) in source.code.lines().enumerate() {
            if ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| line.contains(word)) {
                wrong.insert(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    wrong
}

fn printing(sources: &[Source]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for source in sources.iter().filter(|source| source.room() != "testing") {
        for (number, line) in source.code.lines().enumerate() {
            // `eprint!` and `eprintln!` end in these words.
            if line.contains("print!(") || line.contains("println!(") {
                wrong.insert(format!("{}:{}", source.path, number + 1));
            }
        }
    }
    wrong
}

fn none(wrong: BTreeSet<String>, what: &str) {
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}
