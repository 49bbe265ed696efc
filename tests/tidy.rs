//! What a machine can see of the house rules: who may import whom, where `unsafe` may stand, how long a file may be.
//!
//! A new edge in [`EDGES`] is a design decision: change the table in a commit of its own and say why.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Room, then the rooms (or deeper paths) that it may import. `node` and `cli` know every room.
const EDGES: &[(&str, &[&str])] = &[
    ("ids", &[]),
    ("limits", &[]),
    ("stage", &[]),
    ("world", &[]),
    ("disk", &["limits", "world"]),
    ("crypto", &["ids", "limits"]),
    // What is in an entry is opaque to the log: of crypto it sees only the seal of its own frames.
    ("wal", &["ids", "limits", "world", "disk", "crypto::aead"]),
    ("keys", &["ids", "limits", "world", "crypto"]),
    ("fsm", &["ids", "limits", "crypto", "keys"]),
    ("raft", &["ids", "limits", "world", "wal"]),
    ("propose", &["ids", "limits", "stage", "world", "crypto", "keys", "fsm", "wal", "raft"]),
    ("apply", &["ids", "limits", "stage", "world", "crypto", "keys", "fsm", "wal", "raft", "propose"]),
    ("resp", &["ids", "limits", "world", "fsm", "propose"]),
];

/// Rooms that stand above all others.
const ROOFS: &[&str] = &["node", "cli", "testing", "main", "lib"];

/// Heavy crates and the rooms that own them.
const OWNERS: &[(&str, &[&str])] = &[
    ("raft", &["raft"]),
    ("rocksdb", &["fsm"]),
    ("io_uring", &["disk"]),
    ("aes_gcm", &["crypto"]),
    ("aes", &["crypto"]),
    ("ghash", &["crypto"]),
    ("polyval", &["crypto"]),
    ("rayon", &["apply", "node"]),
    ("clap", &["node", "main", "cli"]),
    ("axum", &["node"]),
    ("prometheus", &["node"]),
    ("pprof", &["node"]),
    ("mimalloc", &["main"]),
];

/// The only rooms with `unsafe`.
const UNSAFE_ROOMS: &[&str] = &["crypto/aead/", "disk/"];

/// Lines of one file, tests included only up to their `mod tests`.
const FILE_LINES_MAX: usize = 600;

#[test]
fn imports_go_only_along_the_table() {
    let mut wrong = BTreeSet::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        if ROOFS.contains(&room.as_str()) {
            continue;
        }
        let allowed = EDGES.iter().find(|(name, _)| *name == room).map(|(_, edges)| *edges);
        let Some(allowed) = allowed else {
            wrong.insert(format!("{}: room {room} is not in the table", path.display()));
            continue;
        };
        for target in imports(code_of(&text)) {
            let own = target == room || target.starts_with(&format!("{room}::"));
            let listed = allowed.iter().any(|edge| target == *edge || target.starts_with(&format!("{edge}::")));
            if !own && !listed {
                wrong.insert(format!("{}: {room} imports {target}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports outside the table:\n{}", join(&wrong));
}

#[test]
fn each_heavy_crate_has_one_owner() {
    let mut wrong = BTreeSet::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        for (name, owners) in OWNERS {
            // A room of ours may have the crate's name: then only the leading colons tell them apart.
            let is_room = EDGES.iter().any(|(room, _)| room == name);
            let body = if is_room { format!("::{name}::") } else { format!(" {name}::") };
            let used = code_of(&text).lines().map(str::trim).filter(|line| !line.starts_with("//")).any(|line| {
                let ours = line.contains("crate::") || line.contains("super::");
                !ours && (line.starts_with(&format!("use {name}::")) || line.contains(&body))
            });
            if used && !owners.contains(&room.as_str()) {
                wrong.insert(format!("{}: uses {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "heavy crates outside their rooms:\n{}", join(&wrong));
}

#[test]
fn unsafe_stands_only_in_the_two_rooms_and_each_block_gives_its_reason() {
    let mut wrong = BTreeSet::new();
    for (path, text) in sources() {
        let relative = path.strip_prefix(src()).expect("below src").to_string_lossy().into_owned();
        let may = UNSAFE_ROOMS.iter().any(|room| relative.starts_with(room));
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_unsafe = code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
            if is_unsafe && !may {
                wrong.insert(format!("{relative}:{}: unsafe", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe outside crypto/aead and disk:\n{}", join(&wrong));
}

#[test]
fn files_stay_short_enough_to_hold_in_the_head() {
    let mut wrong = BTreeSet::new();
    for (path, text) in sources() {
        let lines = code_of(&text).lines().count();
        if lines > FILE_LINES_MAX && !path.ends_with("tests.rs") {
            wrong.insert(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "files over {FILE_LINES_MAX} lines without tests:\n{}", join(&wrong));
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    let bare: BTreeSet<String> = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(bare.is_empty(), "files without a first line of //!:\n{}", join(&bare));
}

#[test]
fn the_top_level_is_what_the_owner_fixed() {
    let allowed = ["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "benches", "perf", "tests", "scripts"];
    let root = src().parent().expect("src has a parent").to_owned();
    for entry in fs::read_dir(root).expect("the checkout is readable") {
        let name = entry.expect("readable").file_name().to_string_lossy().into_owned();
        let ok = name.starts_with('.') || name == "target" || allowed.contains(&name.as_str());
        assert!(ok, "{name} does not belong at the top");
    }
}

/// `a::b` for each `use crate::a::b::...;` and each `crate::a::b` in a body.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let whole_word = at == 0 || !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
            let parts: Vec<&str> = line[at + "crate::".len()..]
                .split("::")
                .take(2)
                .map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default())
                .collect();
            if whole_word {
                found.insert(parts.join("::"));
            }
        }
    }
    found
}

/// The text up to its tests, which may import what they like.
fn code_of(text: &str) -> &str {
    match text.find("#[cfg(test)]\nmod ") {
        Some(at) => &text[..at],
        None => text,
    }
}

fn room_of(path: &Path) -> String {
    let relative = path.strip_prefix(src()).expect("below src");
    let first = relative.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file and its text, test-only files left out.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![src()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("src is readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() && path.file_name().is_some_and(|name| name == "tests") {
                continue;
            } else if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                if name != "tests.rs" && !name.ends_with("_tests.rs") {
                    found.push((path, text));
                }
            }
        }
    }
    assert!(found.len() > 20, "the sources were found");
    found
}

fn join(lines: &BTreeSet<String>) -> String {
    lines.iter().cloned().collect::<Vec<_>>().join("\n")
}
