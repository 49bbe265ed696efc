//! COMMAND: the table of commands, as clients ask for it.

use crate::resp::codec::reply::Encoder;
use crate::resp::codec::request::Arguments;
use crate::resp::local::client::write_help;
use crate::resp::local::glob_matches;
use crate::resp::local::subcommand;
use crate::resp::session::Session;
use crate::resp::verbs::Kind;
use crate::resp::verbs::Refusal;
use crate::resp::verbs::SYNTAX;
use crate::resp::verbs::VERBS;
use crate::resp::verbs::Verb;
use crate::resp::verbs::find;

impl Session {
    /// COMMAND [COUNT|DOCS|INFO|LIST|GETKEYS].
    pub(super) fn command_command(&self, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let mut encoder = Encoder::new(out, self.protocol);
        if arguments.len() == 1 {
            encoder.array(shown().count());
            shown().for_each(|verb| write_info(verb, &mut encoder));
            return Ok(());
        }
        let sub = subcommand("command", arguments);
        let named = || arguments.slices_from(2);
        if sub.is("count") {
            sub.exactly(0)?;
            encoder.integer(i64::try_from(shown().count()).unwrap_or(i64::MAX));
        } else if sub.is("info") && sub.count() == 0 {
            encoder.array(shown().count());
            shown().for_each(|verb| write_info(verb, &mut encoder));
        } else if sub.is("info") {
            encoder.array(sub.count());
            named().for_each(|name| match find(name) {
                Some((_, verb)) => write_info(verb, &mut encoder),
                None => encoder.null_array(),
            });
        } else if sub.is("docs") {
            let verbs: Vec<&Verb> = match sub.count() {
                0 => shown().collect(),
                _ => named().filter_map(find).map(|(_, verb)| verb).collect(),
            };
            encoder.map(verbs.len());
            verbs.into_iter().for_each(|verb| write_docs(verb, &mut encoder));
        } else if sub.is("list") {
            let verbs: Vec<&Verb> = match sub.count() {
                0 => shown().collect(),
                3 if sub.slice(0).eq_ignore_ascii_case(b"filterby")
                    && sub.slice(1).eq_ignore_ascii_case(b"pattern") =>
                {
                    shown().filter(|verb| glob_matches(sub.slice(2), verb.name.as_bytes())).collect()
                }
                _ => return Err(SYNTAX),
            };
            encoder.array(verbs.len());
            verbs.into_iter().for_each(|verb| encoder.bulk(verb.name.as_bytes()));
        } else if sub.is("getkeys") {
            write_keys(arguments, &mut encoder)?;
        } else if sub.is("help") {
            sub.exactly(0)?;
            write_help(&HELP, &mut encoder);
        } else {
            return Err(sub.unknown());
        }
        Ok(())
    }
}

/// The commands that are shown: those that are there only to be refused are not.
fn shown() -> impl Iterator<Item = &'static Verb> {
    VERBS.iter().filter(|verb| !matches!(verb.name, "host:" | "post"))
}

/// COMMAND GETKEYS name argument ...
fn write_keys(arguments: Arguments<'_>, encoder: &mut Encoder<'_>) -> Result<(), Refusal> {
    if arguments.len() < 4 {
        return Err(Refusal::arity("command|getkeys"));
    }
    let Some((_, verb)) = find(arguments.slice(2)) else {
        return Err(Refusal::fixed("ERR Invalid command specified"));
    };
    let count = arguments.len() - 2;
    if verb.keys.first == 0 {
        return Err(Refusal::fixed("ERR The command has no key arguments"));
    }
    if !verb.admits(count) {
        return Err(Refusal::fixed("ERR Invalid number of arguments specified for command"));
    }
    let positions = verb.key_positions(count);
    encoder.array(positions.len());
    positions.into_iter().for_each(|position| encoder.bulk(arguments.slice(position + 2)));
    Ok(())
}

/// The ten members of Redis 7; what is not used here is empty.
fn write_info(verb: &Verb, encoder: &mut Encoder<'_>) {
    encoder.array(10);
    encoder.bulk(verb.name.as_bytes());
    encoder.integer(i64::from(verb.arity));
    let flags = flags(verb);
    encoder.set(flags.len());
    flags.iter().for_each(|flag| encoder.simple(flag));
    encoder.integer(i64::from(verb.keys.first));
    encoder.integer(i64::from(verb.keys.last));
    encoder.integer(i64::from(verb.keys.step));
    encoder.set(0);
    encoder.array(0);
    encoder.array(0);
    encoder.array(0);
}

fn flags(verb: &Verb) -> &'static [&'static str] {
    match verb.kind {
        Kind::Write => &["write", "denyoom"],
        Kind::Read => &["readonly"],
        Kind::Local => &["loading", "stale", "fast"],
        Kind::LocalWithoutAuth => &["noscript", "loading", "stale", "fast", "no_auth"],
    }
}

fn write_docs(verb: &Verb, encoder: &mut Encoder<'_>) {
    encoder.bulk(verb.name.as_bytes());
    encoder.map(3);
    encoder.bulk(b"summary");
    encoder.bulk(verb.summary.as_bytes());
    encoder.bulk(b"since");
    encoder.bulk(b"1.0.0");
    encoder.bulk(b"group");
    encoder.bulk(verb.group.as_bytes());
}

const HELP: [&str; 6] = [
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand), INFO [<command-name> ...]",
    "    Arity, flags and key positions.",
    "COUNT, LIST [FILTERBY PATTERN <pattern>]",
    "DOCS [<command-name> ...]",
    "GETKEYS <full-command>",
];
