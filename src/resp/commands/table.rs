//! The table of commands, by name. Arity and keys are those of Redis 7.

use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::CommandDocs;
use crate::resp::commands::CommandSpec;
use crate::resp::commands::Kind;
use crate::resp::commands::Local;
use crate::resp::commands::Parse;
use crate::resp::commands::bits;
use crate::resp::commands::key_specs;
use crate::resp::commands::key_specs::KeySpec;
use crate::resp::commands::keys;
use crate::resp::commands::replace;
use crate::resp::commands::scan;
use crate::resp::commands::strings;

/// Every command, sorted by name.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[CommandSpec] = &[
    local("acl", -2, Local::Acl, docs("server", "6.0.0", "<WHOAMI | USERS | LIST | CAT [category] | LOG [count | RESET]>", "A container for Access List Control commands ")),
    command("append", 3, Kind::Write, key_specs::EXTEND, docs("string", "2.0.0", "key value", "Append a value to a key"), strings::append),
    local("asking", 1, Local::Cluster, docs("cluster", "3.0.0", "", "Sent by cluster clients after an -ASK redirect")),
    local("auth", -2, Local::Auth, docs("connection", "1.0.0", "[username] password", "Authenticate to the server")),
    local("bgsave", -1, Local::Save, docs("server", "1.0.0", "[SCHEDULE]", "Asynchronously save the dataset to disk")),
    command("bitcount", -2, Kind::Read, key_specs::READ, docs("bitmap", "2.6.0", "key [start end [BYTE | BIT]]", "Count set bits in a string"), bits::bitcount),
    command("bitfield", -2, Kind::Write, key_specs::BITFIELD, docs("bitmap", "3.2.0", "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> ...]", "Perform arbitrary bitfield integer operations on strings"), bits::bitfield),
    command("bitfield_ro", -2, Kind::Read, key_specs::READ, docs("bitmap", "6.0.0", "key [GET encoding offset ...]", "Perform arbitrary bitfield integer operations on strings. Read-only variant of BITFIELD"), bits::bitfield_ro),
    command("bitop", -4, Kind::Write, key_specs::BITOP, docs("bitmap", "2.6.0", "operation destkey key [key ...]", "Perform bitwise operations between strings"), bits::bitop),
    command("bitpos", -3, Kind::Read, key_specs::READ, docs("bitmap", "2.8.7", "key bit [start [end [BYTE | BIT]]]", "Find first bit set or clear in a string"), bits::bitpos),
    local("client", -2, Local::Client, docs("connection", "2.4.0", "subcommand [argument ...]", "A container for client connection commands")),
    local("cluster", -2, Local::Cluster, docs("cluster", "3.0.0", "subcommand [argument ...]", "A container for cluster commands")),
    local("command", -1, Local::Command, docs("server", "2.8.13", "[subcommand [argument ...]]", "Get array of Redis command details")),
    local("config", -2, Local::Config, docs("server", "2.0.0", "subcommand [argument ...]", "A container for server configuration commands")),
    command("copy", -3, Kind::Write, key_specs::COPY, docs("generic", "6.2.0", "source destination [DB destination-db] [REPLACE]", "Copy a key"), replace::copy),
    command("dbsize", 1, Kind::Read, key_specs::NONE, docs("server", "1.0.0", "", "Return the number of keys in the selected database"), keys::dbsize),
    command("decr", 2, Kind::Write, key_specs::CHANGE, docs("string", "1.0.0", "key", "Decrement the integer value of a key by one"), strings::decr),
    command("decrby", 3, Kind::Write, key_specs::CHANGE, docs("string", "1.0.0", "key decrement", "Decrement the integer value of a key by the given number"), strings::decrby),
    command("del", -2, Kind::Write, key_specs::REMOVE_ALL, docs("generic", "1.0.0", "key [key ...]", "Delete a key"), keys::del),
    command("delex", -2, Kind::Write, key_specs::DELEX, docs("string", "8.4.0", "key [IFEQ value | IFNE value]", "Delete a key if it has a value"), replace::delex),
    command("delifeq", 3, Kind::Write, key_specs::REMOVE_IF, docs("string", "8.4.0", "key value", "Delete a key if it has that value"), replace::delifeq),
    local("discard", 1, Local::Discard, docs("transactions", "2.0.0", "", "Discard all commands issued after MULTI")),
    command("dump", 2, Kind::Read, key_specs::READ, docs("generic", "2.6.0", "key", "Return a serialized version of the value stored at the specified key"), replace::dump),
    local("echo", 2, Local::Echo, docs("connection", "1.0.0", "message", "Echo the given string")),
    local("exec", 1, Local::Exec, docs("transactions", "1.2.0", "", "Execute all commands issued after MULTI")),
    command("exists", -2, Kind::Read, key_specs::LOOK_AT_ALL, docs("generic", "1.0.0", "key [key ...]", "Determine if a key exists"), keys::exists),
    command("expire", -3, Kind::Write, key_specs::UPDATE, docs("generic", "1.0.0", "key seconds [NX | XX | GT | LT]", "Set a key's time to live in seconds"), keys::expire),
    command("expireat", -3, Kind::Write, key_specs::UPDATE, docs("generic", "1.2.0", "key unix-time-seconds [NX | XX | GT | LT]", "Set the expiration for a key as a UNIX timestamp"), keys::expireat),
    command("expiretime", 2, Kind::Read, key_specs::READ, docs("generic", "7.0.0", "key", "Get the expiration Unix timestamp for a key"), keys::expiretime),
    command("flushall", -1, Kind::Write, key_specs::NONE, docs("server", "1.0.0", "[ASYNC | SYNC]", "Remove all keys from all databases"), keys::flush),
    command("flushdb", -1, Kind::Write, key_specs::NONE, docs("server", "1.0.0", "[ASYNC | SYNC]", "Remove all keys from the current database"), keys::flush),
    local("function", -2, Local::Function, docs("scripting", "7.0.0", "<FLUSH [ASYNC | SYNC] | LIST>", "A container for function commands")),
    command("get", 2, Kind::Read, key_specs::READ, docs("string", "1.0.0", "key", "Get the value of a key"), strings::get),
    command("getbit", 3, Kind::Read, key_specs::READ, docs("bitmap", "2.2.0", "key offset", "Returns the bit value at offset in the string value stored at key"), bits::getbit),
    command("getdel", 2, Kind::Write, key_specs::TAKE, docs("string", "6.2.0", "key", "Get the value of a key and delete the key"), strings::getdel),
    command("getex", -2, Kind::Write, key_specs::GETEX, docs("string", "6.2.0", "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]", "Get the value of a key and optionally set its expiration"), strings::getex),
    command("getrange", 4, Kind::Read, key_specs::READ, docs("string", "2.4.0", "key start end", "Get a substring of the string stored at a key"), strings::getrange),
    command("getset", 3, Kind::Write, key_specs::CHANGE, docs("string", "1.0.0", "key value", "Set the string value of a key and return its old value"), strings::getset),
    local("hello", -1, Local::Hello, docs("connection", "6.0.0", "[protover [AUTH username password] [SETNAME clientname]]", "Handshake with Redis")),
    local("host:", -1, Local::CrossProtocol, docs("server", "3.0.0", "", "Not a command: what a web browser sends")),
    command("incr", 2, Kind::Write, key_specs::CHANGE, docs("string", "1.0.0", "key", "Increment the integer value of a key by one"), strings::incr),
    command("incrby", 3, Kind::Write, key_specs::CHANGE, docs("string", "1.0.0", "key increment", "Increment the integer value of a key by the given amount"), strings::incrby),
    command("incrbyfloat", 3, Kind::Write, key_specs::CHANGE, docs("string", "2.6.0", "key increment", "Increment the float value of a key by the given amount"), strings::incrbyfloat),
    local("info", -1, Local::Info, docs("server", "1.0.0", "[section ...]", "Get information and statistics about the server")),
    command("keys", 2, Kind::Read, key_specs::NONE, docs("generic", "1.0.0", "pattern", "Find all keys matching the given pattern"), scan::keys),
    local("lastsave", 1, Local::LastSave, docs("server", "1.0.0", "", "Get the UNIX time stamp of the last successful save to disk")),
    local("latency", -2, Local::Latency, docs("server", "2.8.13", "<LATEST | HISTORY event | RESET [event ...] | HISTOGRAM [command ...] | DOCTOR>", "A container for latency diagnostics commands")),
    command("lcs", -3, Kind::Read, key_specs::READ_TWO, docs("string", "7.0.0", "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]", "Find longest common substring"), strings::lcs),
    command("memory", -2, Kind::Read, key_specs::LOOK_AT_SECOND, docs("server", "4.0.0", "USAGE key [SAMPLES count]", "A container for memory diagnostics commands"), keys::memory),
    command("mget", -2, Kind::Read, key_specs::READ_ALL, docs("string", "1.0.0", "key [key ...]", "Get the values of all the given keys"), strings::mget),
    local("module", -2, Local::Module, docs("server", "4.0.0", "LIST", "A container for module commands")),
    command("move", 3, Kind::Write, key_specs::CHANGE, docs("generic", "1.0.0", "key db", "Move a key to another database"), replace::move_to),
    command("mset", -3, Kind::Write, key_specs::OVERWRITE_PAIRS, docs("string", "1.0.1", "key value [key value ...]", "Set multiple keys to multiple values"), strings::mset),
    command("msetnx", -3, Kind::Write, key_specs::INSERT_PAIRS, docs("string", "1.0.1", "key value [key value ...]", "Set multiple keys to multiple values, only if none of the keys exist"), strings::msetnx),
    local("multi", 1, Local::Multi, docs("transactions", "1.2.0", "", "Mark the start of a transaction block")),
    command("object", -2, Kind::Read, key_specs::LOOK_AT_SECOND, docs("generic", "2.2.3", "<ENCODING | FREQ | IDLETIME | REFCOUNT> key", "A container for object introspection commands"), keys::object),
    command("persist", 2, Kind::Write, key_specs::UPDATE, docs("generic", "2.2.0", "key", "Remove the expiration from a key"), keys::persist),
    command("pexpire", -3, Kind::Write, key_specs::UPDATE, docs("generic", "2.6.0", "key milliseconds [NX | XX | GT | LT]", "Set a key's time to live in milliseconds"), keys::pexpire),
    command("pexpireat", -3, Kind::Write, key_specs::UPDATE, docs("generic", "2.6.0", "key unix-time-milliseconds [NX | XX | GT | LT]", "Set the expiration for a key as a UNIX timestamp specified in milliseconds"), keys::pexpireat),
    command("pexpiretime", 2, Kind::Read, key_specs::READ, docs("generic", "7.0.0", "key", "Get the expiration Unix timestamp for a key in milliseconds"), keys::pexpiretime),
    command("ping", -1, Kind::Local, key_specs::NONE, docs("connection", "1.0.0", "[message]", "Ping the server"), keys::ping),
    local("post", -1, Local::CrossProtocol, docs("server", "3.0.0", "", "Not a command: what a web browser sends")),
    command("psetex", 4, Kind::Write, key_specs::OVERWRITE, docs("string", "2.6.0", "key milliseconds value", "Set the value and expiration in milliseconds of a key"), strings::psetex),
    command("pttl", 2, Kind::Read, key_specs::READ, docs("generic", "2.6.0", "key", "Get the time to live for a key in milliseconds"), keys::pttl),
    local("quit", -1, Local::Quit, docs("connection", "1.0.0", "", "Close the connection")),
    command("randomkey", 1, Kind::Read, key_specs::NONE, docs("generic", "1.0.0", "", "Return a random key from the keyspace"), scan::random_key),
    local("readonly", 1, Local::Cluster, docs("cluster", "3.0.0", "", "Enables read queries for a connection to a cluster replica node")),
    local("readwrite", 1, Local::Cluster, docs("cluster", "3.0.0", "", "Disables read queries for a connection to a cluster replica node")),
    command("rename", 3, Kind::Write, key_specs::RENAME, docs("generic", "1.0.0", "key newkey", "Rename a key"), replace::rename),
    command("renamenx", 3, Kind::Write, key_specs::RENAME_NEW, docs("generic", "1.0.0", "key newkey", "Rename a key, only if the new key does not exist"), replace::renamenx),
    local("reset", 1, Local::Reset, docs("connection", "6.2.0", "", "Reset the connection")),
    command("restore", -4, Kind::Write, key_specs::OVERWRITE, docs("generic", "2.6.0", "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]", "Create a key using the provided serialized value, previously obtained using DUMP"), replace::restore),
    local("role", 1, Local::Role, docs("server", "2.8.12", "", "Return the role of the instance in the context of replication")),
    local("save", 1, Local::Save, docs("server", "1.0.0", "", "Synchronously save the dataset to disk")),
    command("scan", -2, Kind::Read, key_specs::NONE, docs("generic", "2.8.0", "cursor [MATCH pattern] [COUNT count] [TYPE type]", "Incrementally iterate the keys space"), scan::scan),
    local("sealkv", -2, Local::Sealkv, docs("server", "7.0.0", "ENCRYPTION <ENABLE | STATUS | ROTATE <ENTRY | VALUE> | SCAN>", "A container for the encryption commands of this node")),
    local("select", 2, Local::Select, docs("connection", "1.0.0", "index", "Change the selected database for the current connection")),
    command("set", -3, Kind::Write, key_specs::SET, docs("string", "1.0.0", "key value [NX | XX | IFEQ old-value | IFNE old-value] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]", "Set the string value of a key"), strings::set),
    command("setbit", 4, Kind::Write, key_specs::CHANGE, docs("bitmap", "2.2.0", "key offset value", "Sets or clears the bit at offset in the string value stored at key"), bits::setbit),
    command("setex", 4, Kind::Write, key_specs::OVERWRITE, docs("string", "2.0.0", "key seconds value", "Set the value and expiration of a key"), strings::setex),
    command("setnx", 3, Kind::Write, key_specs::INSERT, docs("string", "1.0.0", "key value", "Set the value of a key, only if the key does not exist"), strings::setnx),
    command("setrange", 4, Kind::Write, key_specs::UPDATE, docs("string", "2.2.0", "key offset value", "Overwrite part of a string at key starting at the specified offset"), strings::setrange),
    local("shutdown", -1, Local::Shutdown, docs("server", "1.0.0", "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", "Synchronously save the dataset to disk and then shut down the server")),
    local("slowlog", -2, Local::Slowlog, docs("server", "2.2.12", "<GET [count] | LEN | RESET>", "A container for slow log commands")),
    command("strlen", 2, Kind::Read, key_specs::LOOK, docs("string", "2.2.0", "key", "Get the length of the value stored in a key"), strings::strlen),
    command("substr", 4, Kind::Read, key_specs::READ, docs("string", "1.0.0", "key start end", "Get a substring of the string stored at a key"), strings::getrange),
    local("time", 1, Local::Time, docs("server", "2.6.0", "", "Return the current server time")),
    command("touch", -2, Kind::Read, key_specs::LOOK_AT_ALL, docs("generic", "3.2.1", "key [key ...]", "Alters the last access time of a key(s). Returns the number of existing keys specified"), keys::exists),
    command("ttl", 2, Kind::Read, key_specs::READ, docs("generic", "1.0.0", "key", "Get the time to live for a key in seconds"), keys::ttl),
    command("type", 2, Kind::Read, key_specs::LOOK, docs("generic", "1.0.0", "key", "Determine the type stored at key"), keys::type_of),
    command("unlink", -2, Kind::Write, key_specs::REMOVE_ALL, docs("generic", "4.0.0", "key [key ...]", "Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non blocking"), keys::del),
    local("unwatch", 1, Local::Unwatch, docs("transactions", "2.2.0", "", "Forget about all watched keys")),
    local("wait", 3, Local::Wait, docs("generic", "3.0.0", "numreplicas timeout", "Wait for the synchronous replication of all the write commands sent in the context of the current connection")),
    CommandSpec { keys: key_specs::LOOK_AT_ALL, ..local("watch", -2, Local::Watch, docs("transactions", "2.2.0", "key [key ...]", "Watch the given keys to determine execution of the MULTI/EXEC block")) },
];

/// The command of that name, in any letter case, and its number in [`COMMANDS`].
pub(crate) fn find(name: &[u8]) -> Option<(usize, &'static CommandSpec)> {
    let mut lower = [0; NAME_BYTES_MAX];
    lower.get_mut(..name.len())?.copy_from_slice(name);
    lower.make_ascii_lowercase();
    // A zero in a name would be taken for its end; no command has one.
    if name.contains(&0) {
        return None;
    }
    let position = NAMES.binary_search(&u128::from_be_bytes(lower)).ok()?;
    Some((position, &COMMANDS[position]))
}

/// The names of [`COMMANDS`] as numbers, which compare in one instruction; in the same order.
static NAMES: [u128; COMMANDS.len()] = {
    let mut names = [0; COMMANDS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = number_of(COMMANDS[at].name.as_bytes());
        at += 1;
    }
    names
};

const fn number_of(name: &[u8]) -> u128 {
    let mut bytes = [0; NAME_BYTES_MAX];
    let mut at = 0;
    while at < name.len() {
        bytes[at] = name[at];
        at += 1;
    }
    u128::from_be_bytes(bytes)
}

/// Longer than every name of the table; a longer one is unknown.
const NAME_BYTES_MAX: usize = 16;

/// A command that reaches the state, or whose arguments decide whether it does.
const fn command(
    name: &'static str,
    arity: i32,
    kind: Kind,
    keys: &'static [KeySpec],
    docs: CommandDocs,
    parse: fn(&Call<'_>) -> ActionResult,
) -> CommandSpec {
    CommandSpec { name, arity, kind, keys, docs, parse: Parse::Arguments(parse) }
}

/// A command that never reaches the state.
const fn local(name: &'static str, arity: i32, local: Local, docs: CommandDocs) -> CommandSpec {
    CommandSpec { name, arity, kind: local.kind(), keys: key_specs::NONE, docs, parse: Parse::Local(local) }
}

/// What is said about a command.
const fn docs(group: &'static str, since: &'static str, syntax: &'static str, summary: &'static str) -> CommandDocs {
    CommandDocs { group, since, syntax, summary }
}
