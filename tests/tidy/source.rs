//! The files of `src`: their code without comments, literals and tests, and the paths that the code names.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// One file of `src` that is not only for tests.
#[derive(Clone, Debug)]
pub struct Source {
    /// Below `src`, with `/`.
    pub path: String,
    /// As it is.
    pub text: String,
    /// As long as the text, line by line: comments, literals and `mod tests { .. }` bodies are spaces.
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: without_tests(&without_prose(text)) }
    }

    /// The first name of its path: `wal` for `wal/mod.rs`, `ids` for `ids.rs`.
    pub fn room(&self) -> &str {
        self.path.split('/').next().expect("split gives one").trim_end_matches(".rs")
    }

    /// The module of the file: `["wal", "frame"]`, and `["wal"]` for its `mod.rs`.
    pub fn module(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.path.trim_end_matches(".rs").split('/').collect();
        if matches!(names.last(), Some(&"mod" | &"lib" | &"main")) {
            names.pop();
        }
        names
    }

    /// Its lines without those of its test modules.
    pub fn lines(&self) -> usize {
        let tests = self.text.lines().zip(self.code.lines()).filter(|(_, code)| code.starts_with(TEST_LINE)).count();
        self.text.lines().count() - tests
    }

    /// Each path that begins in the crate, from its root: `crate::a::b` and `super::b` are both `["a", "b"]`.
    pub fn crate_paths(&self) -> BTreeSet<Vec<String>> {
        let mut found = BTreeSet::new();
        for (at, path) in paths(&self.code) {
            // `pub(super)` and `pub(in crate::a)` say who may see, not what is used.
            let before = self.code[..at].trim_end();
            if before.ends_with("pub(") || before.ends_with("(in") {
                continue;
            }
            let mut module: Vec<String> = self.module().iter().map(|&name| name.to_owned()).collect();
            let mut names = path.iter().peekable();
            match names.peek().map(|name| name.as_str()) {
                Some("crate") => module.clear(),
                Some("self" | "super") => {}
                _ => continue,
            }
            for name in names {
                match name.as_str() {
                    "crate" | "self" => {}
                    "super" => drop(module.pop()),
                    _ => module.push(name.clone()),
                }
            }
            if !module.is_empty() {
                found.insert(module);
            }
        }
        found
    }

    /// Each path and single name of the code.
    pub fn words(&self) -> BTreeSet<Vec<String>> {
        paths(&self.code).into_iter().map(|(_, path)| path).collect()
    }

    /// The first names of paths that may begin with a crate: of `use name;`, `name::x` and `::name`.
    pub fn crates(&self) -> BTreeSet<String> {
        let ours = self.crate_paths();
        let mut found = BTreeSet::new();
        for (at, path) in paths(&self.code) {
            let before = self.code[..at].trim_end();
            let in_use = before.ends_with("use") || before.ends_with("extern crate");
            // `use crate::raft;` makes the word ours; then only leading colons name the library.
            let named = || (path.len() > 1 || in_use) && !ours.contains(&path[..1]);
            if before.ends_with("::") || named() {
                found.insert(path[0].clone());
            }
        }
        found
    }

    /// `(name, line, lines)` of each function with a body.
    pub fn functions(&self) -> Vec<(String, usize, usize)> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("fn ") {
            let name: String = self.code[at + 3..].chars().take_while(|&c| is_word(c)).collect();
            if name.is_empty() || self.code[..at].ends_with(is_word) {
                continue;
            }
            let rest = &self.code[at..];
            // Array types in a signature have a `;` inside their brackets.
            let mut depth = 0_i32;
            let open = rest.char_indices().find(|(_, c)| {
                depth += i32::from(matches!(c, '[' | '(')) - i32::from(matches!(c, ']' | ')'));
                depth == 0 && matches!(c, '{' | ';')
            });
            if let Some((open, '{')) = open {
                let end = at + open + body_len(&rest[open..]);
                let lines = self.code[at..end].matches('\n').count() + 1;
                found.push((name, self.code[..at].matches('\n').count() + 1, lines));
            }
        }
        found
    }

    /// The types that the file makes at its top level.
    pub fn types(&self) -> Vec<String> {
        let mut found = Vec::new();
        for line in self.code.lines().filter(|line| !line.starts_with([' ', '#'])) {
            let mut words = line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).peekable();
            while words.next_if(|word| matches!(*word, "pub" | "crate" | "super" | "in" | "unsafe")).is_some() {}
            if matches!(words.next(), Some("struct" | "enum" | "trait" | "type" | "union")) {
                found.extend(words.next().map(str::to_owned));
            }
        }
        found
    }
}

/// Every file of `src`, those left out that only tests compile. Read once.
pub fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let mut found: Vec<Source> = texts().iter().map(|(path, text)| Source::new(path, text)).collect();
        assert!(found.len() > 20, "the sources were found");
        let tests: Vec<String> = found.iter().flat_map(test_modules).collect();
        found.retain(|source| {
            let path = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
            !tests.iter().any(|test| path == test || path.starts_with(&format!("{test}/")))
        });
        found
    });
    &SOURCES
}

/// The path and the text of every file of `src` that ends in `.rs`, tests too.
pub fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut found);
    found
}

fn read(dir: &Path, below: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("readable").path();
        let name = format!("{below}{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), found);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).expect("readable");
            found.push((name, text));
        }
    }
}

/// The modules in files of their own that `source` declares under `#[cfg(test)]`, as paths without `.rs`.
fn test_modules(source: &Source) -> Vec<String> {
    let (dir, file) = source.path.rsplit_once('/').map_or(("", source.path.as_str()), |(dir, file)| (dir, file));
    let mut found = Vec::new();
    for (at, _) in source.text.match_indices("#[cfg(test)]\n") {
        let mut named = None;
        for line in source.text[at..].lines().skip(1) {
            let line = line.trim();
            if let Some(path) = line.strip_prefix("#[path = \"") {
                named = Some(join(dir, path.trim_end_matches("\"]").trim_end_matches(".rs")));
            } else if !line.starts_with("#[") {
                let name = line.strip_suffix(';').and_then(|line| line.split("mod ").nth(1));
                let own = match file {
                    "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
                    _ => join(dir, file.trim_end_matches(".rs")),
                };
                found.extend(name.map(|name| named.unwrap_or_else(|| join(&own, name))));
                break;
            }
        }
    }
    found
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// Each path in `code` with the place where it begins: names joined by `::`, and single names.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found: Vec<(usize, Vec<String>)> = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let word: String = rest.chars().take_while(|&c| is_word(c)).collect();
        if word.is_empty() {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let begins = at;
        let mut names = vec![word];
        at += names[0].len();
        while let Some(more) = code[at..].strip_prefix("::") {
            let name: String = more.chars().take_while(|&c| is_word(c)).collect();
            if name.is_empty() {
                break;
            }
            at += 2 + name.len();
            names.push(name);
        }
        found.push((begins, names));
    }
    found
}

/// `text` with comments, strings and characters made spaces.
fn without_prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let len = prose_len(rest, text[..at].ends_with(is_word));
        if len == 0 {
            let c = rest.chars().next().expect("not at the end");
            out.push(c);
            at += c.len_utf8();
        } else {
            out.extend(rest[..len].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at += len;
        }
    }
    out
}

/// The length of the comment or literal that `rest` begins with, or 0.
fn prose_len(rest: &str, in_word: bool) -> usize {
    let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    if rest.starts_with('"') {
        return quoted_len(rest, '"');
    }
    let raw = rest.strip_prefix('b').unwrap_or(rest);
    if !in_word && raw.starts_with('r') {
        let hashes = raw[1..].chars().take_while(|&c| c == '#').count();
        if raw[1 + hashes..].starts_with('"') {
            let open = rest.len() - raw.len() + hashes + 2;
            return until(&format!("\"{}", "#".repeat(hashes)), open);
        }
    }
    // A lifetime has no closing quote behind its first character.
    let is_character = rest.starts_with("'\\") || (rest.starts_with('\'') && rest.chars().nth(2) == Some('\''));
    if is_character { quoted_len(rest, '\'') } else { 0 }
}

fn quoted_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if c == quote && !escaped {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

/// What a line of a test module becomes. Not a space: an empty line of code is not one of tests.
const TEST_LINE: char = '~';

/// `code` with each `#[cfg(test)] mod name { .. }` made lines of [`TEST_LINE`].
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]\nmod ").or_else(|| out.find("#[cfg(test)]\npub(crate) mod ")) {
        let line_end = at + "#[cfg(test)]\n".len() + out[at + "#[cfg(test)]\n".len()..].find('\n').unwrap_or(0);
        let end = match out[at..line_end].find('{') {
            Some(open) => at + open + body_len(&out[at + open..]),
            None => line_end,
        };
        let lines = out[at..end].matches('\n').count();
        out.replace_range(at..end, &vec![TEST_LINE.to_string(); lines + 1].join("\n"));
    }
    out
}

/// The length of the block that `rest` begins with, both braces included.
fn body_len(rest: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in rest.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
