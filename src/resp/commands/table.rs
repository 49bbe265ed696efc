//! The table of commands, by name. Arity and key positions are those of Redis 7.

use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::KeySpec;
use crate::resp::commands::Kind;
use crate::resp::commands::Local;
use crate::resp::commands::Parse;
use crate::resp::commands::keys;
use crate::resp::commands::scan;
use crate::resp::commands::strings;

/// Every command, sorted by name.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[CommandSpec] = &[
    command("append", 3, Kind::Write, ONE_KEY, "string", "Append a value to a key", strings::append),
    local("auth", -2, Local::Auth, "connection", "Authenticate to the server"),
    local("client", -2, Local::Client, "connection", "A container for client connection commands"),
    local("command", -1, Local::Command, "server", "Get array of command details"),
    local("config", -2, Local::Config, "server", "A container for server configuration commands"),
    command("dbsize", 1, Kind::Read, NO_KEY, "server", "Return the number of keys", keys::dbsize),
    command("decr", 2, Kind::Write, ONE_KEY, "string", "Decrement the integer value of a key by one", strings::decr),
    command("decrby", 3, Kind::Write, ONE_KEY, "string", "Decrement the integer value of a key by the given number", strings::decrby),
    command("del", -2, Kind::Write, ALL_KEYS, "generic", "Delete a key", keys::del),
    local("discard", 1, Local::Discard, "transactions", "Discard a transaction"),
    local("echo", 2, Local::Echo, "connection", "Echo the given string"),
    local("exec", 1, Local::Exec, "transactions", "Execute all commands of a transaction"),
    command("exists", -2, Kind::Read, ALL_KEYS, "generic", "Determine if a key exists", keys::exists),
    command("expire", -3, Kind::Write, ONE_KEY, "generic", "Set a key's time to live in seconds", keys::expire),
    command("expireat", -3, Kind::Write, ONE_KEY, "generic", "Set the expiration for a key as a UNIX timestamp", keys::expireat),
    command("expiretime", 2, Kind::Read, ONE_KEY, "generic", "Get the expiration Unix timestamp for a key", keys::expiretime),
    command("flushall", -1, Kind::Write, NO_KEY, "server", "Remove all keys", keys::flush),
    command("flushdb", -1, Kind::Write, NO_KEY, "server", "Remove all keys", keys::flush),
    local("function", -2, Local::Function, "scripting", "A container for function commands"),
    command("get", 2, Kind::Read, ONE_KEY, "string", "Get the value of a key", strings::get),
    command("getdel", 2, Kind::Write, ONE_KEY, "string", "Get the value of a key and delete the key", strings::getdel),
    command("getex", -2, Kind::Write, ONE_KEY, "string", "Get the value of a key and optionally set its expiration", strings::getex),
    command("getrange", 4, Kind::Read, ONE_KEY, "string", "Get a substring of the string stored at a key", strings::getrange),
    command("getset", 3, Kind::Write, ONE_KEY, "string", "Set the string value of a key and return its old value", strings::getset),
    local("hello", -1, Local::Hello, "connection", "Handshake with the server"),
    local("host:", -1, Local::CrossProtocol, "server", "Not a command: what a web browser sends"),
    command("incr", 2, Kind::Write, ONE_KEY, "string", "Increment the integer value of a key by one", strings::incr),
    command("incrby", 3, Kind::Write, ONE_KEY, "string", "Increment the integer value of a key by the given amount", strings::incrby),
    command("incrbyfloat", 3, Kind::Write, ONE_KEY, "string", "Increment the float value of a key by the given amount", strings::incrbyfloat),
    local("info", -1, Local::Info, "server", "Get information and statistics about the server"),
    command("keys", 2, Kind::Read, NO_KEY, "generic", "Return all key names that match a pattern", scan::keys),
    command("mget", -2, Kind::Read, ALL_KEYS, "string", "Get the values of all the given keys", strings::mget),
    command("mset", -3, Kind::Write, KEYS_AND_VALUES, "string", "Set multiple keys to multiple values", strings::mset),
    command("msetnx", -3, Kind::Write, KEYS_AND_VALUES, "string", "Set multiple keys to multiple values, only if none of the keys exist", strings::msetnx),
    local("multi", 1, Local::Multi, "transactions", "Start a transaction"),
    command("persist", 2, Kind::Write, ONE_KEY, "generic", "Remove the expiration from a key", keys::persist),
    command("pexpire", -3, Kind::Write, ONE_KEY, "generic", "Set a key's time to live in milliseconds", keys::pexpire),
    command("pexpireat", -3, Kind::Write, ONE_KEY, "generic", "Set the expiration for a key as a UNIX timestamp in milliseconds", keys::pexpireat),
    command("pexpiretime", 2, Kind::Read, ONE_KEY, "generic", "Get the expiration Unix timestamp for a key in milliseconds", keys::pexpiretime),
    command("ping", -1, Kind::Local, NO_KEY, "connection", "Ping the server", keys::ping),
    local("post", -1, Local::CrossProtocol, "server", "Not a command: what a web browser sends"),
    command("psetex", 4, Kind::Write, ONE_KEY, "string", "Set the value and expiration in milliseconds of a key", strings::psetex),
    command("pttl", 2, Kind::Read, ONE_KEY, "generic", "Get the time to live for a key in milliseconds", keys::pttl),
    local("quit", -1, Local::Quit, "connection", "Close the connection"),
    command("randomkey", 1, Kind::Read, NO_KEY, "generic", "Return a random key name from the database", scan::random_key),
    local("reset", 1, Local::Reset, "connection", "Reset the connection"),
    local("role", 1, Local::Role, "server", "Return the role of the instance in the context of replication"),
    command("scan", -2, Kind::Read, NO_KEY, "generic", "Iterate over the key names in the database", scan::scan),
    local("sealkv", -2, Local::Sealkv, "server", "A container for the encryption commands of this node"),
    local("select", 2, Local::Select, "connection", "Change the selected database for the current connection"),
    command("set", -3, Kind::Write, ONE_KEY, "string", "Set the string value of a key", strings::set),
    command("setex", 4, Kind::Write, ONE_KEY, "string", "Set the value and expiration of a key", strings::setex),
    command("setnx", 3, Kind::Write, ONE_KEY, "string", "Set the value of a key, only if the key does not exist", strings::setnx),
    command("setrange", 4, Kind::Write, ONE_KEY, "string", "Overwrite part of a string at key starting at the specified offset", strings::setrange),
    command("strlen", 2, Kind::Read, ONE_KEY, "string", "Get the length of the value stored in a key", strings::strlen),
    command("substr", 4, Kind::Read, ONE_KEY, "string", "Get a substring of the string stored at a key", strings::getrange),
    local("time", 1, Local::Time, "server", "Return the current server time"),
    command("touch", -2, Kind::Read, ALL_KEYS, "generic", "Count the keys that exist", keys::exists),
    command("ttl", 2, Kind::Read, ONE_KEY, "generic", "Get the time to live for a key in seconds", keys::ttl),
    command("type", 2, Kind::Read, ONE_KEY, "generic", "Determine the type stored at key", keys::type_of),
    command("unlink", -2, Kind::Write, ALL_KEYS, "generic", "Delete a key", keys::del),
    local("unwatch", 1, Local::Unwatch, "transactions", "Forget about watched keys of a transaction"),
    CommandSpec { keys: ALL_KEYS, ..local("watch", -2, Local::Watch, "transactions", "Monitor changes to keys to determine the execution of a transaction") },
];

/// The command of that name, in any letter case, and its number in [`COMMANDS`].
pub(crate) fn find(name: &[u8]) -> Option<(usize, &'static CommandSpec)> {
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let position = COMMANDS.binary_search_by(|command| command.name.as_bytes().cmp(lower)).ok()?;
    Some((position, &COMMANDS[position]))
}

/// Longer than every name of the table; a longer one is unknown.
const NAME_BYTES_MAX: usize = 16;
const NO_KEY: KeySpec = KeySpec { first: 0, last: 0, step: 0 };
const ONE_KEY: KeySpec = KeySpec { first: 1, last: 1, step: 1 };
const ALL_KEYS: KeySpec = KeySpec { first: 1, last: -1, step: 1 };
const KEYS_AND_VALUES: KeySpec = KeySpec { first: 1, last: -1, step: 2 };

/// A command that reaches the state, or whose arguments decide whether it does.
const fn command(
    name: &'static str,
    arity: i32,
    kind: Kind,
    keys: KeySpec,
    group: &'static str,
    summary: &'static str,
    parse: fn(&Call<'_>) -> ActionResult,
) -> CommandSpec {
    CommandSpec { name, arity, kind, keys, group, summary, parse: Parse::Arguments(parse) }
}

/// A command that never reaches the state.
const fn local(
    name: &'static str,
    arity: i32,
    local: Local,
    group: &'static str,
    summary: &'static str,
) -> CommandSpec {
    CommandSpec { name, arity, kind: local.kind(), keys: NO_KEY, group, summary, parse: Parse::Local(local) }
}
