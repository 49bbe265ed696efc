//! SLOWLOG, LATENCY, ACL and MODULE: what monitoring tools ask, answered as a Redis answers that has nothing to show.

use crate::resp::codec::reply::Encoder;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::COMMANDS;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::ErrorLine;
use crate::resp::local::client::write_help;
use crate::resp::local::subcommand::Subcommand;

/// SLOWLOG GET|LEN|RESET. Commands are not timed one by one: they are applied many at once.
pub(super) fn slowlog_command(sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    if sub.is("get") {
        match sub.count() {
            0 => {}
            1 => {
                let refusal = ErrorLine::fixed("ERR count should be greater than or equal to -1");
                parse_integer(sub.slice(0)).filter(|count| *count >= -1).ok_or(refusal)?;
            }
            _ => return Err(sub.arity()),
        }
        encoder.array(0);
    } else if sub.is("len") {
        sub.exactly(0)?;
        encoder.integer(0);
    } else if sub.is("reset") {
        sub.exactly(0)?;
        encoder.simple("OK");
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&SLOWLOG_HELP, encoder);
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

/// LATENCY LATEST|HISTORY|RESET|HISTOGRAM|DOCTOR.
pub(super) fn latency_command(sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    if sub.is("latest") {
        sub.exactly(0)?;
        encoder.array(0);
    } else if sub.is("history") {
        sub.exactly(1)?;
        encoder.array(0);
    } else if sub.is("reset") {
        encoder.integer(0);
    } else if sub.is("histogram") {
        encoder.map(0);
    } else if sub.is("doctor") {
        sub.exactly(0)?;
        encoder.text("Latencies are in the metrics of the node's admin port, not here.\n");
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&LATENCY_HELP, encoder);
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

/// ACL WHOAMI|USERS|LIST|CAT|LOG: there is one user, who may do everything.
pub(super) fn acl_command(
    has_password: bool,
    user: &[u8],
    sub: &Subcommand<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    if sub.is("whoami") {
        sub.exactly(0)?;
        encoder.bulk(user);
    } else if sub.is("users") {
        sub.exactly(0)?;
        encoder.array(1);
        encoder.bulk(b"default");
    } else if sub.is("list") {
        sub.exactly(0)?;
        encoder.array(1);
        // A hash of the password would help who wants to guess it.
        let secret = if has_password { "" } else { "nopass " };
        encoder.bulk(format!("user default on {secret}~* &* +@all").as_bytes());
    } else if sub.is("cat") {
        categories(sub, encoder)?;
    } else if sub.is("log") {
        match sub.count() {
            1 if sub.slice(0).eq_ignore_ascii_case(b"reset") => encoder.simple("OK"),
            0 | 1 => encoder.array(0),
            _ => return Err(sub.arity()),
        }
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&ACL_HELP, encoder);
    } else if ["setuser", "deluser", "getuser", "genpass", "dryrun", "load", "save"].iter().any(|word| sub.is(word)) {
        return Err(ErrorLine::fixed("ERR there is one user, whose password is in --requirepass-file"));
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

/// The groups of commands, or the commands of a group.
fn categories(sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    let mut groups: Vec<&str> = COMMANDS.iter().map(CommandSpec::category).collect();
    groups.sort_unstable();
    groups.dedup();
    match sub.count() {
        0 => {
            encoder.array(groups.len());
            groups.iter().for_each(|group| encoder.bulk(group.as_bytes()));
        }
        1 => {
            let asked = String::from_utf8_lossy(sub.slice(0)).to_ascii_lowercase();
            if !groups.contains(&&asked[..]) {
                return Err(ErrorLine::made(format!("ERR Unknown category '{asked}'")));
            }
            let found: Vec<&CommandSpec> = COMMANDS.iter().filter(|command| command.category() == asked).collect();
            encoder.array(found.len());
            found.iter().for_each(|command| encoder.bulk(command.name.as_bytes()));
        }
        _ => return Err(sub.arity()),
    }
    Ok(())
}

/// MODULE LIST: there are none.
pub(super) fn module_command(sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    if sub.is("list") {
        sub.exactly(0)?;
        encoder.array(0);
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&MODULE_HELP, encoder);
    } else if sub.is("load") || sub.is("loadex") || sub.is("unload") {
        return Err(ErrorLine::fixed("ERR sealkv loads no modules"));
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

const SLOWLOG_HELP: [&str; 3] = [
    "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET [<count>], LEN, RESET",
    "    Commands are not timed one by one: there is never an entry.",
];
const LATENCY_HELP: [&str; 3] = [
    "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LATEST, HISTORY <event>, RESET [<event> ...], HISTOGRAM [<command> ...], DOCTOR",
    "    Nothing is kept here: see the metrics of the admin port.",
];
const ACL_HELP: [&str; 5] = [
    "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "WHOAMI, USERS, LIST",
    "    There is one user, default.",
    "CAT [<category>], LOG [<count> | RESET]",
    "    Categories and their commands; the log is empty.",
];
const MODULE_HELP: [&str; 3] =
    ["MODULE <subcommand> [<arg> [value] [opt] ...]. Subcommands are:", "LIST", "    There are no modules."];
