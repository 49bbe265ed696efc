//! Which file uses which, and the circles among them.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crate::source::Source;

/// The files of each circle, in order: sets of files that reach each other by imports.
///
/// A name that a `mod.rs` only hands on (`pub use child::Name;`) counts as an import of the file that makes it.
pub fn circles(sources: &[Source]) -> BTreeSet<Vec<String>> {
    let edges = edges(sources);
    let reach: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reached(&edges, file))).collect();
    let together = |a: &str, b: &str| reach[a].contains(b) && reach[b].contains(a);
    let circle = |file: &str| edges.keys().filter(|other| together(file, other)).map(|&f| f.to_owned()).collect();
    edges.keys().map(|file| circle(file)).filter(|files: &Vec<String>| !files.is_empty()).collect()
}

/// Each file with the other files that it uses.
fn edges(sources: &[Source]) -> BTreeMap<&str, BTreeSet<&str>> {
    let crate_: BTreeMap<Vec<String>, Module<'_>> = sources
        .iter()
        .filter(|source| source.path != "main.rs")
        .map(|source| (owned(source), Module::new(source)))
        .collect();
    let mut edges = BTreeMap::new();
    for module in crate_.values() {
        let used = module.uses.iter().filter_map(|path| file_of(&crate_, path, 8)).filter(|file| *file != module.file);
        edges.insert(module.file, used.collect());
    }
    edges
}

/// The files that can be reached from `file`, itself only if a circle leads back to it.
fn reached<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, file: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = edges[file].iter().copied().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(&edges[next]);
        }
    }
    found
}

struct Module<'a> {
    file: &'a str,
    /// What its code uses, from the root of the crate.
    uses: BTreeSet<Vec<String>>,
    /// The names that it hands on, each with its path from the root.
    handed_on: BTreeMap<String, Vec<String>>,
}

impl<'a> Module<'a> {
    fn new(source: &'a Source) -> Self {
        let children: BTreeSet<String> = statements(&source.code)
            .filter_map(|statement| statement.split("mod ").nth(1).map(|name| name.trim().to_owned()))
            .collect();
        let mut handed_on = BTreeMap::new();
        let mut rest = String::new();
        for statement in source.code.split_inclusive(';') {
            let Some((who, path)) = statement.trim_end_matches(';').rsplit_once("use ") else {
                // The declaration of a child is no use of what it makes, though it may make something of its name.
                let declared = statement.rsplit_once("mod ").filter(|(_, name)| !name.contains(['{', '}', ' ', '\n']));
                rest.push_str(declared.map_or(statement, |(before, _)| before));
                continue;
            };
            // What only tests use makes no circle of the program.
            if who.trim_end().ends_with("#[cfg(test)]") {
                rest.push_str(who);
                continue;
            }
            let public = who.trim_end().ends_with("pub") || who.trim_end().ends_with(')');
            let (path, name) = path.split_once(" as ").unwrap_or((path, path.rsplit("::").next().unwrap_or(path)));
            if public && !name.contains(['{', '*']) {
                let absolute = absolute(source, &children, path);
                handed_on.insert(name.trim().to_owned(), absolute);
                rest.push_str(who);
            } else {
                rest.push_str(statement);
            }
        }
        let rest = Source { path: source.path.clone(), text: String::new(), code: rest };
        let mut uses = rest.crate_paths();
        for word in rest.words() {
            // A name of its own door: `child::name` or a name that it hands on and uses too.
            if let Some(path) = handed_on.get(word[0].as_str()) {
                uses.insert(path.iter().chain(&word[1..]).cloned().collect());
            } else if word.len() > 1 && children.contains(&word[0]) {
                uses.insert(owned(source).into_iter().chain(word).collect());
            }
        }
        Self { file: &source.path, uses, handed_on }
    }
}

/// The path from the root of what `path` names in `source`.
fn absolute(source: &Source, children: &BTreeSet<String>, path: &str) -> Vec<String> {
    let names: Vec<String> = path.split("::").map(|name| name.trim().to_owned()).collect();
    if children.contains(&names[0]) {
        return owned(source).into_iter().chain(names).collect();
    }
    let line = Source { path: source.path.clone(), text: String::new(), code: path.to_owned() };
    line.crate_paths().into_iter().next().unwrap_or(names)
}

/// The file that makes what `path` names; none for what is not of this crate.
fn file_of<'a>(crate_: &BTreeMap<Vec<String>, Module<'a>>, path: &[String], depth: u32) -> Option<&'a str> {
    let len = (1..=path.len()).rev().find(|&len| crate_.contains_key(&path[..len]))?;
    let module = &crate_[&path[..len]];
    match path.get(len).and_then(|name| module.handed_on.get(name)) {
        Some(to) if depth > 0 => {
            let further: Vec<String> = to.iter().chain(&path[len + 1..]).cloned().collect();
            file_of(crate_, &further, depth - 1)
        }
        _ => Some(module.file),
    }
}

fn owned(source: &Source) -> Vec<String> {
    source.module().into_iter().map(str::to_owned).collect()
}

/// What stands between semicolons and braces.
fn statements(code: &str) -> impl Iterator<Item = &str> {
    code.split([';', '{', '}'])
}
