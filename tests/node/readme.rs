//! README's tables say what the binary has.

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
