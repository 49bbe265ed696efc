//! README's tables say what the binary has, and what it gives to type is there.

use std::collections::BTreeSet;

use crate::harness::sealkv;

const README: &str = include_str!("../../README.md");

/// The words in backticks in the first column of the tables of a chapter, up to the first blank of each.
fn first_column(chapter: &str) -> BTreeSet<String> {
    let begin = README.find(&format!("\n## {chapter}\n")).expect("README has the chapter") + 1;
    let text = &README[begin..];
    let text = &text[..text[1..].find("\n## ").map_or(text.len(), |end| end + 1)];
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split('`').step_by(2).map(str::to_owned).collect::<Vec<_>>());
    words.filter_map(|word| word.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn the_table_of_settings_has_every_flag_and_no_other() {
    let help = sealkv().args(["serve", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let flags = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: BTreeSet<String> = flags
        .map(|flag| format!("--{}", flag.split([' ', '[', '=']).next().unwrap()))
        .filter(|flag| flag != "--help")
        .collect();
    assert!(flags.len() > 20, "{flags:?}");
    let told: BTreeSet<String> = first_column("Settings").into_iter().filter(|word| word.starts_with("--")).collect();
    assert_eq!(flags, told, "flags of `sealkv serve --help` beside those of README's table");
}

/// What README has in backticks, and the lines of its blocks for a shell.
fn code() -> Vec<&'static str> {
    let mut code = Vec::new();
    let mut is_block = false;
    for line in README.lines() {
        if let Some(language) = line.strip_prefix("```") {
            is_block = language == "sh";
        } else if is_block {
            code.push(line);
        } else {
            code.extend(line.split('`').skip(1).step_by(2));
        }
    }
    code
}

/// `a|b` is both; in tables the bar has a backslash.
fn ways(words: &str) -> Vec<Vec<String>> {
    words.replace('\\', "").split_whitespace().fold(vec![Vec::new()], |ways, word| {
        let with = |way: &Vec<String>, choice: &str| [&way[..], &[choice.to_owned()]].concat();
        ways.iter().flat_map(|way| word.split('|').map(move |choice| with(way, choice))).collect()
    })
}

/// What a command says of itself, and which commands are below it.
fn help(command: &[String]) -> (String, BTreeSet<String>) {
    let output = sealkv().args(command).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("Usage: "), "sealkv {command:?} --help");
    let below = text.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    let names = below.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    (text, names)
}

/// Method: each word of a command is looked for among those that `--help` of the words before it lists, each flag in the help of the
/// whole.
#[test]
fn every_command_that_readme_gives_is_there_with_its_flags() {
    let given = code().into_iter().flat_map(|code| {
        let pieces: Vec<&str> = code.split(" | ").flat_map(|piece| piece.strip_prefix("sealkv ")).collect();
        pieces
    });
    let (mut commands, mut flags) = (0, 0);
    for words in given.flat_map(ways) {
        let mut depth = 0;
        let (mut text, mut below) = help(&[]);
        while words.get(depth).is_some_and(|word| below.contains(word)) {
            depth += 1;
            (text, below) = help(&words[..depth]);
        }
        assert!(depth > 0, "there is no `sealkv {}`", words.join(" "));
        assert!(below.is_empty() || depth == words.len(), "{:?} is not below {:?}", words.get(depth), &words[..depth]);
        commands += 1;
        for flag in words.iter().map(|word| word.trim_matches(['[', ']'])).filter(|word| word.starts_with("--")) {
            assert!(text.contains(&format!("{flag} ")) || text.contains(&format!("{flag}\n")), "{flag} in {words:?}");
            flags += 1;
        }
    }
    assert!(commands > 30 && flags > 30, "vacuous: {commands} commands, {flags} flags");
}

#[test]
fn every_script_that_readme_names_is_there_and_knows_the_name_behind_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for words in code().into_iter().filter_map(|code| code.split("scripts/").nth(1)).flat_map(ways) {
        let name = words[0].trim_matches(['"', ')', ',']);
        let text = std::fs::read_to_string(root.join("scripts").join(name));
        if name.contains("deploy/") {
            assert!(text.is_ok(), "scripts/{name}");
            continue;
        }
        let text = text.unwrap_or_else(|problem| panic!("scripts/{name}: {problem}"));
        let Some(suite) = words.get(1).filter(|word| matches!(name, "bench" | "slow") && !word.starts_with('[')) else {
            continue;
        };
        let is_known = text.lines().any(|line| {
            let names = line.trim_start().split_once(')').map_or("", |(names, _)| names);
            names.split('|').any(|known| known.trim() == suite)
        });
        assert!(is_known || suite.chars().all(char::is_uppercase), "scripts/{name} {suite}");
        found += 1;
    }
    assert!(found > 15, "vacuous: {found} found");
}
