//! COMMAND GETKEYS and GETKEYSANDFLAGS, and the keys in COMMAND INFO.

use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::KeySpec;
use crate::resp::commands::admits;
use crate::resp::commands::find;
use crate::resp::local::subcommand::Subcommand;

/// COMMAND GETKEYS|GETKEYSANDFLAGS name argument ...
pub(super) fn write_keys(
    sub: &Subcommand<'_>,
    arguments: Arguments<'_>,
    has_flags: bool,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    if sub.count() < 2 {
        return Err(sub.arity());
    }
    let found = find(sub.slice(0)).and_then(|(_, command)| facts_of(command, sub.slice(1)));
    let Some((keys, arity)) = found else { return Err(ErrorLine::fixed("ERR Invalid command specified")) };
    if keys.is_empty() {
        return Err(ErrorLine::fixed("ERR The command has no key arguments"));
    }
    let asked = arguments.behind(2);
    if !admits(arity, asked.len()) {
        return Err(ErrorLine::fixed("ERR Invalid number of arguments specified for command"));
    }
    let all = || keys.iter().flat_map(|spec| spec.positions(asked.len()).map(move |position| (spec, position)));
    encoder.array(all().count());
    for (spec, position) in all() {
        if has_flags {
            encoder.array(2);
        }
        encoder.bulk(asked.slice(position));
        if has_flags {
            write_flags(spec.flags_of(asked), encoder);
        }
    }
    Ok(())
}

/// The ways in which a command uses keys, as COMMAND INFO has them.
pub(super) fn write_specs(specs: &[KeySpec], encoder: &mut Encoder<'_>) {
    encoder.array(specs.len());
    for spec in specs {
        encoder.map(if spec.notes.is_some() { 4 } else { 3 });
        if let Some(notes) = spec.notes {
            encoder.bulk(b"notes");
            encoder.bulk(notes.as_bytes());
        }
        encoder.bulk(b"flags");
        write_flags(spec.flags, encoder);
        // From the first key on, the last one is counted from there.
        let last = if spec.last < 0 { spec.last } else { spec.last - spec.first };
        write_search("begin_search", "index", &[("index", spec.first)], encoder);
        write_search("find_keys", "range", &[("lastkey", last), ("keystep", spec.step), ("limit", 0)], encoder);
    }
}

fn write_search(name: &str, kind: &str, numbers: &[(&str, i32)], encoder: &mut Encoder<'_>) {
    encoder.bulk(name.as_bytes());
    encoder.map(2);
    encoder.bulk(b"type");
    encoder.bulk(kind.as_bytes());
    encoder.bulk(b"spec");
    encoder.map(numbers.len());
    for (name, number) in numbers {
        encoder.bulk(name.as_bytes());
        encoder.integer(i64::from(*number));
    }
}

fn write_flags(flags: &[&str], encoder: &mut Encoder<'_>) {
    encoder.set(flags.len());
    flags.iter().for_each(|flag| encoder.simple(flag));
}

/// The keys of a command and the number of its arguments. OBJECT and MEMORY have both by their subcommands; nothing if there is
/// none of that name.
fn facts_of(command: &CommandSpec, word: &[u8]) -> Option<(&'static [KeySpec], i32)> {
    let words: &[(&str, &'static [KeySpec], i32)] = match command.name {
        "object" => &[
            ("encoding", command.keys, 3),
            ("freq", command.keys, 3),
            ("idletime", command.keys, 3),
            ("refcount", command.keys, 3),
            ("help", &[], 2),
        ],
        "memory" => &[("usage", command.keys, -3), ("help", &[], 2)],
        _ => return Some((command.keys, command.arity)),
    };
    let found = words.iter().find(|(name, ..)| word.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, keys, arity)| (*keys, *arity))
}
