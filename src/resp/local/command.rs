//! COMMAND: the table of commands, as clients ask for it.

use crate::fsm::glob::Glob;
use crate::fsm::glob::LetterCase;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::COMMANDS;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::DocArgument;
use crate::resp::commands::DocKind;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Kind;
use crate::resp::commands::SYNTAX;
use crate::resp::commands::find;
use crate::resp::commands::range_of;
use crate::resp::local::client::write_help;
use crate::resp::local::command_keys::write_keys;
use crate::resp::local::command_keys::write_specs;
use crate::resp::local::subcommand::subcommand;

/// COMMAND [COUNT|DOCS|INFO|LIST|GETKEYS|GETKEYSANDFLAGS].
pub(super) fn command_command(arguments: Arguments<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    if arguments.len() == 1 {
        encoder.array(shown().count());
        shown().for_each(|command| write_info(command, encoder));
        return Ok(());
    }
    let sub = subcommand("command", arguments);
    let named = || arguments.slices_from(2);
    if sub.is("count") {
        sub.exactly(0)?;
        encoder.integer(i64::try_from(shown().count()).unwrap_or(i64::MAX));
    } else if sub.is("info") && sub.count() == 0 {
        encoder.array(shown().count());
        shown().for_each(|command| write_info(command, encoder));
    } else if sub.is("info") {
        encoder.array(sub.count());
        named().for_each(|name| match find(name) {
            Some((_, command)) => write_info(command, encoder),
            None => encoder.null_array(),
        });
    } else if sub.is("docs") {
        let commands: Vec<&CommandSpec> = match sub.count() {
            0 => shown().collect(),
            _ => named().filter_map(find).map(|(_, command)| command).collect(),
        };
        encoder.map(commands.len());
        commands.into_iter().for_each(|command| write_docs(command, encoder));
    } else if sub.is("list") {
        let commands: Vec<&CommandSpec> = match sub.count() {
            0 => shown().collect(),
            3 if sub.slice(0).eq_ignore_ascii_case(b"filterby") && sub.slice(1).eq_ignore_ascii_case(b"pattern") => {
                let pattern = Glob::new(sub.pattern(2)?, LetterCase::Any);
                shown().filter(|command| pattern.matches(command.name.as_bytes())).collect()
            }
            3 if sub.slice(0).eq_ignore_ascii_case(b"filterby") && sub.slice(1).eq_ignore_ascii_case(b"aclcat") => {
                let category = sub.slice(2).to_ascii_lowercase();
                shown().filter(|command| command.category().as_bytes() == category).collect()
            }
            // There are no modules.
            3 if sub.slice(0).eq_ignore_ascii_case(b"filterby") && sub.slice(1).eq_ignore_ascii_case(b"module") => {
                Vec::new()
            }
            _ => return Err(SYNTAX),
        };
        encoder.array(commands.len());
        commands.into_iter().for_each(|command| encoder.bulk(command.name.as_bytes()));
    } else if sub.is("getkeys") || sub.is("getkeysandflags") {
        write_keys(&sub, arguments, sub.is("getkeysandflags"), encoder)?;
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&HELP, encoder);
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

/// The commands that are shown: those that are there only to be refused are not.
fn shown() -> impl Iterator<Item = &'static CommandSpec> {
    COMMANDS.iter().filter(|command| !matches!(command.name, "host:" | "post"))
}

/// The ten members of Redis 7; what is not used here is empty.
fn write_info(command: &CommandSpec, encoder: &mut Encoder<'_>) {
    encoder.array(10);
    encoder.bulk(command.name.as_bytes());
    encoder.integer(i64::from(command.arity));
    let flags = flags(command);
    encoder.set(flags.len());
    flags.iter().for_each(|flag| encoder.simple(flag));
    let (first, last, step) = range_of(command.keys);
    [first, last, step].into_iter().for_each(|number| encoder.integer(i64::from(number)));
    let of_kind = match command.kind {
        Kind::Write => Some("@write"),
        Kind::Read => Some("@read"),
        Kind::Local | Kind::LocalWithoutAuth => None,
    };
    encoder.set(1 + usize::from(of_kind.is_some()));
    of_kind.iter().for_each(|category| encoder.simple(category));
    encoder.simple(&format!("@{}", command.category()));
    encoder.array(0);
    write_specs(command.keys, encoder);
    encoder.array(0);
}

fn flags(command: &CommandSpec) -> &'static [&'static str] {
    match command.kind {
        Kind::Write => &["write", "denyoom"],
        Kind::Read => &["readonly"],
        Kind::Local => &["loading", "stale", "fast"],
        Kind::LocalWithoutAuth => &["noscript", "loading", "stale", "fast", "no_auth"],
    }
}

fn write_docs(command: &CommandSpec, encoder: &mut Encoder<'_>) {
    encoder.bulk(command.name.as_bytes());
    let arguments = command.docs.arguments();
    encoder.map(if arguments.is_empty() { 3 } else { 4 });
    encoder.bulk(b"summary");
    encoder.bulk(command.docs.summary.as_bytes());
    encoder.bulk(b"since");
    encoder.bulk(command.docs.since.as_bytes());
    encoder.bulk(b"group");
    encoder.bulk(command.docs.group.as_bytes());
    if !arguments.is_empty() {
        encoder.bulk(b"arguments");
        write_arguments(&arguments, encoder);
    }
}

/// What redis-cli makes its hints of.
fn write_arguments(arguments: &[DocArgument], encoder: &mut Encoder<'_>) {
    encoder.array(arguments.len());
    for argument in arguments {
        let (kind, inner): (&str, &[DocArgument]) = match &argument.kind {
            DocKind::Value(kind) => (kind, &[]),
            DocKind::Token => ("pure-token", &[]),
            DocKind::Block(inner) => ("block", inner),
            DocKind::OneOf(inner) => ("oneof", inner),
        };
        let flags = [(argument.is_optional, "optional"), (argument.is_multiple, "multiple")];
        let flags: Vec<&str> = flags.into_iter().filter(|(is_so, _)| *is_so).map(|(_, flag)| flag).collect();
        let members = [true, true, argument.token.is_some(), !flags.is_empty(), !inner.is_empty()];
        encoder.map(members.into_iter().filter(|is_there| *is_there).count());
        let mut text = |name: &str, value: &str| {
            encoder.bulk(name.as_bytes());
            encoder.bulk(value.as_bytes());
        };
        text("name", &argument.name);
        text("type", kind);
        if let Some(token) = argument.token {
            text("token", token);
        }
        if !flags.is_empty() {
            encoder.bulk(b"flags");
            encoder.set(flags.len());
            flags.iter().for_each(|flag| encoder.simple(flag));
        }
        if !inner.is_empty() {
            encoder.bulk(b"arguments");
            write_arguments(inner, encoder);
        }
    }
}

const HELP: [&str; 7] = [
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand), INFO [<command-name> ...]",
    "    Arity, flags and key positions.",
    "COUNT, LIST [FILTERBY <PATTERN <pattern> | ACLCAT <category> | MODULE <name>>]",
    "DOCS [<command-name> ...]",
    "GETKEYS <full-command>, GETKEYSANDFLAGS <full-command>",
    "    The keys of a command; and how it uses each.",
];
