//! The table of commands, by name. Arity and key positions are those of Redis 7.

use crate::resp::verbs::Action;
use crate::resp::verbs::Call;
use crate::resp::verbs::KeySpec;
use crate::resp::verbs::Kind;
use crate::resp::verbs::Refusal;
use crate::resp::verbs::Verb;
use crate::resp::verbs::keys;
use crate::resp::verbs::strings;

/// Every command, sorted by name.
#[rustfmt::skip]
pub(crate) static VERBS: &[Verb] = &[
    verb("append", 3, Kind::Write, ONE_KEY, "string", "Append a value to a key", strings::append),
    verb("auth", -2, Kind::LocalWithoutAuth, NO_KEY, "connection", "Authenticate to the server", keys::auth),
    verb("client", -2, Kind::Local, NO_KEY, "connection", "A container for client connection commands", keys::client),
    verb("command", -1, Kind::Local, NO_KEY, "server", "Get array of command details", keys::command),
    verb("config", -2, Kind::Local, NO_KEY, "server", "A container for server configuration commands", keys::config),
    verb("dbsize", 1, Kind::Read, NO_KEY, "server", "Return the number of keys", keys::dbsize),
    verb("decr", 2, Kind::Write, ONE_KEY, "string", "Decrement the integer value of a key by one", strings::decr),
    verb("decrby", 3, Kind::Write, ONE_KEY, "string", "Decrement the integer value of a key by the given number", strings::decrby),
    verb("del", -2, Kind::Write, ALL_KEYS, "generic", "Delete a key", keys::del),
    verb("echo", 2, Kind::Local, NO_KEY, "connection", "Echo the given string", keys::echo),
    verb("exists", -2, Kind::Read, ALL_KEYS, "generic", "Determine if a key exists", keys::exists),
    verb("expire", -3, Kind::Write, ONE_KEY, "generic", "Set a key's time to live in seconds", keys::expire),
    verb("expireat", -3, Kind::Write, ONE_KEY, "generic", "Set the expiration for a key as a UNIX timestamp", keys::expireat),
    verb("expiretime", 2, Kind::Read, ONE_KEY, "generic", "Get the expiration Unix timestamp for a key", keys::expiretime),
    verb("flushall", -1, Kind::Write, NO_KEY, "server", "Remove all keys", keys::flush),
    verb("flushdb", -1, Kind::Write, NO_KEY, "server", "Remove all keys", keys::flush),
    verb("function", -2, Kind::Local, NO_KEY, "scripting", "A container for function commands", keys::function),
    verb("get", 2, Kind::Read, ONE_KEY, "string", "Get the value of a key", strings::get),
    verb("getdel", 2, Kind::Write, ONE_KEY, "string", "Get the value of a key and delete the key", strings::getdel),
    verb("getex", -2, Kind::Write, ONE_KEY, "string", "Get the value of a key and optionally set its expiration", strings::getex),
    verb("getrange", 4, Kind::Read, ONE_KEY, "string", "Get a substring of the string stored at a key", strings::getrange),
    verb("getset", 3, Kind::Write, ONE_KEY, "string", "Set the string value of a key and return its old value", strings::getset),
    verb("hello", -1, Kind::LocalWithoutAuth, NO_KEY, "connection", "Handshake with the server", keys::hello),
    verb("host:", -1, Kind::LocalWithoutAuth, NO_KEY, "server", "Not a command: what a web browser sends", keys::cross_protocol),
    verb("incr", 2, Kind::Write, ONE_KEY, "string", "Increment the integer value of a key by one", strings::incr),
    verb("incrby", 3, Kind::Write, ONE_KEY, "string", "Increment the integer value of a key by the given amount", strings::incrby),
    verb("incrbyfloat", 3, Kind::Write, ONE_KEY, "string", "Increment the float value of a key by the given amount", strings::incrbyfloat),
    verb("info", -1, Kind::Local, NO_KEY, "server", "Get information and statistics about the server", keys::info),
    verb("mget", -2, Kind::Read, ALL_KEYS, "string", "Get the values of all the given keys", strings::mget),
    verb("mset", -3, Kind::Write, KEYS_AND_VALUES, "string", "Set multiple keys to multiple values", strings::mset),
    verb("msetnx", -3, Kind::Write, KEYS_AND_VALUES, "string", "Set multiple keys to multiple values, only if none of the keys exist", strings::msetnx),
    verb("persist", 2, Kind::Write, ONE_KEY, "generic", "Remove the expiration from a key", keys::persist),
    verb("pexpire", -3, Kind::Write, ONE_KEY, "generic", "Set a key's time to live in milliseconds", keys::pexpire),
    verb("pexpireat", -3, Kind::Write, ONE_KEY, "generic", "Set the expiration for a key as a UNIX timestamp in milliseconds", keys::pexpireat),
    verb("pexpiretime", 2, Kind::Read, ONE_KEY, "generic", "Get the expiration Unix timestamp for a key in milliseconds", keys::pexpiretime),
    verb("ping", -1, Kind::Local, NO_KEY, "connection", "Ping the server", keys::ping),
    verb("post", -1, Kind::LocalWithoutAuth, NO_KEY, "server", "Not a command: what a web browser sends", keys::cross_protocol),
    verb("psetex", 4, Kind::Write, ONE_KEY, "string", "Set the value and expiration in milliseconds of a key", strings::psetex),
    verb("pttl", 2, Kind::Read, ONE_KEY, "generic", "Get the time to live for a key in milliseconds", keys::pttl),
    verb("quit", -1, Kind::LocalWithoutAuth, NO_KEY, "connection", "Close the connection", keys::quit),
    verb("reset", 1, Kind::LocalWithoutAuth, NO_KEY, "connection", "Reset the connection", keys::reset),
    verb("role", 1, Kind::Local, NO_KEY, "server", "Return the role of the instance in the context of replication", keys::role),
    verb("sealkv", -2, Kind::Local, NO_KEY, "server", "A container for the encryption commands of this node", keys::sealkv),
    verb("select", 2, Kind::Local, NO_KEY, "connection", "Change the selected database for the current connection", keys::select),
    verb("set", -3, Kind::Write, ONE_KEY, "string", "Set the string value of a key", strings::set),
    verb("setex", 4, Kind::Write, ONE_KEY, "string", "Set the value and expiration of a key", strings::setex),
    verb("setnx", 3, Kind::Write, ONE_KEY, "string", "Set the value of a key, only if the key does not exist", strings::setnx),
    verb("setrange", 4, Kind::Write, ONE_KEY, "string", "Overwrite part of a string at key starting at the specified offset", strings::setrange),
    verb("strlen", 2, Kind::Read, ONE_KEY, "string", "Get the length of the value stored in a key", strings::strlen),
    verb("substr", 4, Kind::Read, ONE_KEY, "string", "Get a substring of the string stored at a key", strings::getrange),
    verb("time", 1, Kind::Local, NO_KEY, "server", "Return the current server time", keys::time),
    verb("touch", -2, Kind::Read, ALL_KEYS, "generic", "Count the keys that exist", keys::exists),
    verb("ttl", 2, Kind::Read, ONE_KEY, "generic", "Get the time to live for a key in seconds", keys::ttl),
    verb("type", 2, Kind::Read, ONE_KEY, "generic", "Determine the type stored at key", keys::type_of),
    verb("unlink", -2, Kind::Write, ALL_KEYS, "generic", "Delete a key", keys::del),
];

const NO_KEY: KeySpec = KeySpec { first: 0, last: 0, step: 0 };
const ONE_KEY: KeySpec = KeySpec { first: 1, last: 1, step: 1 };
const ALL_KEYS: KeySpec = KeySpec { first: 1, last: -1, step: 1 };
const KEYS_AND_VALUES: KeySpec = KeySpec { first: 1, last: -1, step: 2 };

const fn verb(
    name: &'static str,
    arity: i32,
    kind: Kind,
    keys: KeySpec,
    group: &'static str,
    summary: &'static str,
    parse: fn(&Call<'_>) -> Result<Action, Refusal>,
) -> Verb {
    Verb { name, arity, kind, keys, group, summary, parse }
}
