//! CLIENT: names, the list of connections, ending them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::limits::CLIENT_NAME_BYTES_MAX;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::SYNTAX;
use crate::resp::local::subcommand::Subcommand;
use crate::resp::registry::Client;
use crate::resp::registry::Registry;
use crate::resp::registry::lock;

/// CLIENT ...
pub(super) fn client_command(
    registry: &Registry,
    client: &Client,
    sub: &Subcommand<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    if sub.is("id") {
        sub.exactly(0)?;
        encoder.integer(i64::try_from(client.id).unwrap_or(i64::MAX));
    } else if sub.is("getname") {
        sub.exactly(0)?;
        match lock(&client.names).name.as_str() {
            "" => encoder.null(),
            name => encoder.bulk(name.as_bytes()),
        }
    } else if sub.is("setname") {
        sub.exactly(1)?;
        lock(&client.names).name = check_name(sub.slice(0), NAME_REFUSAL)?;
        encoder.simple("OK");
    } else if sub.is("setinfo") {
        sub.exactly(2)?;
        set_library(client, sub)?;
        encoder.simple("OK");
    } else if sub.is("info") {
        sub.exactly(0)?;
        let mut line = String::new();
        client.describe(&mut line);
        encoder.text(&line);
    } else if sub.is("list") {
        encoder.text(&list(registry, sub)?);
    } else if sub.is("kill") {
        kill(registry, client, sub, encoder)?;
    } else if sub.is("no-evict") || sub.is("no-touch") {
        sub.exactly(1)?;
        match sub.slice(0).to_ascii_lowercase().as_slice() {
            b"on" | b"off" => encoder.simple("OK"),
            _ => return Err(SYNTAX),
        }
    } else if REFUSED.iter().any(|(word, _)| sub.is(word)) {
        let (_, line) = REFUSED.into_iter().find(|(word, _)| sub.is(word)).expect("found above");
        return Err(ErrorLine::fixed(line));
    } else if sub.is("unpause") {
        sub.exactly(0)?;
        encoder.simple("OK");
    } else if sub.is("getredir") {
        sub.exactly(0)?;
        encoder.integer(-1);
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&HELP, encoder);
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

fn set_library(client: &Client, sub: &Subcommand<'_>) -> Result<(), ErrorLine> {
    let option = String::from_utf8_lossy(sub.slice(0)).to_ascii_lowercase();
    let mut names = lock(&client.names);
    let target = match option.as_str() {
        "lib-name" => &mut names.library,
        "lib-ver" => &mut names.library_version,
        _ => return Err(ErrorLine::made(format!("ERR Unrecognized option '{option}'"))),
    };
    let refusal = format!("ERR {option} cannot contain spaces, newlines or special characters.");
    *target = check_name(sub.slice(1), &refusal)?;
    Ok(())
}

fn list(registry: &Registry, sub: &Subcommand<'_>) -> Result<String, ErrorLine> {
    let mut clients = registry.all();
    match sub.count() {
        0 => {}
        2 if sub.slice(0).eq_ignore_ascii_case(b"type") => {
            let is_normal = is_normal_type(sub.slice(1))?;
            clients.retain(|_| is_normal);
        }
        count if count > 1 && sub.slice(0).eq_ignore_ascii_case(b"id") => {
            let ids = (1..count).map(|position| parse_id(sub.slice(position), LIST_ID));
            let ids = ids.collect::<Result<Vec<u64>, ErrorLine>>()?;
            clients.retain(|client| ids.contains(&client.id));
        }
        _ => return Err(SYNTAX),
    }
    let mut lines = String::new();
    for client in &clients {
        client.describe(&mut lines);
    }
    Ok(lines)
}

fn kill(registry: &Registry, me: &Client, sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    if sub.count() == 0 {
        return Err(sub.arity());
    }
    if sub.count() == 1 {
        let address = sub.slice(0);
        let killed = kill_where(registry, |client| client.address.to_string().as_bytes() == address);
        if killed == 0 {
            return Err(ErrorLine::fixed("ERR No such client"));
        }
        encoder.simple("OK");
        return Ok(());
    }
    let filter = KillFilter::parse(sub)?;
    let killed = kill_where(registry, |client| (!filter.skips_me || client.id != me.id) && filter.matches(client));
    encoder.integer(i64::try_from(killed).unwrap_or(i64::MAX));
    Ok(())
}

fn kill_where(registry: &Registry, mut is_meant: impl FnMut(&Client) -> bool) -> usize {
    let clients = registry.all();
    let meant: Vec<&Arc<Client>> = clients.iter().filter(|client| is_meant(client)).collect();
    for client in &meant {
        registry.kill(client);
    }
    meant.len()
}

/// CLIENT KILL ID 1 ADDR a:p ...: all must match.
#[derive(Default)]
struct KillFilter<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    is_type: Option<bool>,
    is_user: bool,
    skips_me: bool,
}

impl<'a> KillFilter<'a> {
    fn parse(sub: &Subcommand<'a>) -> Result<KillFilter<'a>, ErrorLine> {
        let mut filter = KillFilter { skips_me: true, ..KillFilter::default() };
        if !sub.count().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        for position in (0..sub.count()).step_by(2) {
            let value = sub.slice(position + 1);
            match sub.slice(position).to_ascii_lowercase().as_slice() {
                b"id" => filter.id = Some(parse_id(value, KILL_ID)?),
                b"addr" => filter.address = Some(value),
                b"laddr" => filter.local_address = Some(value),
                b"type" => filter.is_type = Some(is_normal_type(value)?),
                b"user" if value == b"default" => filter.is_user = true,
                b"user" => {
                    let name = String::from_utf8_lossy(value);
                    return Err(ErrorLine::made(format!("ERR No such user '{name}'")));
                }
                b"skipme" => {
                    filter.skips_me = match value.to_ascii_lowercase().as_slice() {
                        b"yes" => true,
                        b"no" => false,
                        _ => return Err(SYNTAX),
                    };
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(filter)
    }

    fn matches(&self, client: &Client) -> bool {
        let is_authenticated = client.is_authenticated.load(Ordering::Relaxed);
        self.id.is_none_or(|id| id == client.id)
            && self.address.is_none_or(|address| client.address.to_string().as_bytes() == address)
            && self.local_address.is_none_or(|address| client.local_address.to_string().as_bytes() == address)
            && self.is_type.unwrap_or(true)
            && (!self.is_user || is_authenticated)
    }
}

/// A name without blanks and control characters, as CLIENT LIST needs it.
pub(crate) fn check_name(name: &[u8], refusal: &str) -> Result<String, ErrorLine> {
    if name.len() > CLIENT_NAME_BYTES_MAX {
        return Err(ErrorLine::made(format!("ERR a client's name is limited to {CLIENT_NAME_BYTES_MAX} bytes")));
    }
    match std::str::from_utf8(name) {
        Ok(text) if name.iter().all(u8::is_ascii_graphic) => Ok(text.to_owned()),
        _ => Err(ErrorLine::made(refusal.to_owned())),
    }
}

/// Writes lines as an array, as every HELP does.
pub(super) fn write_help(lines: &[&'static str], encoder: &mut Encoder<'_>) {
    encoder.array(lines.len());
    for line in lines {
        encoder.simple(line);
    }
}

fn parse_id(digits: &[u8], refusal: ErrorLine) -> Result<u64, ErrorLine> {
    parse_integer(digits).filter(|id| *id > 0).map(i64::unsigned_abs).ok_or(refusal)
}

/// Every client here is a normal one.
fn is_normal_type(name: &[u8]) -> Result<bool, ErrorLine> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(ErrorLine::made(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(name)))),
    }
}

const NAME_REFUSAL: &str = "ERR Client names cannot contain spaces, newlines or special characters.";
const KILL_ID: ErrorLine = ErrorLine::fixed("ERR client-id should be greater than 0");
const LIST_ID: ErrorLine = ErrorLine::fixed("ERR Invalid client ID");
/// Subcommands that are not here, and why.
const REFUSED: [(&str, &str); 5] = [
    (
        "caching",
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
    ),
    ("pause", "ERR CLIENT PAUSE is not supported: no client can hold up the others"),
    ("reply", "ERR CLIENT REPLY is not supported: every command is answered"),
    ("tracking", "ERR CLIENT TRACKING is not supported: sealkv tells nobody of changed keys"),
    ("unblock", "ERR CLIENT UNBLOCK is not supported: no command blocks"),
];
const HELP: [&str; 10] = [
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME, SETNAME <name>",
    "    The name of this connection.",
    "ID, INFO, LIST [ID <id> ...]",
    "    This connection, and all of them.",
    "KILL <ip:port> | ID <id> | ADDR <ip:port> | LADDR <ip:port> | TYPE <type> | USER <user> | SKIPME <yes|no>",
    "    End connections.",
    "SETINFO <lib-name|lib-ver> <value>",
    "    What the client library calls itself.",
    "NO-EVICT <on|off>, NO-TOUCH <on|off>: accepted, without effect.",
];
