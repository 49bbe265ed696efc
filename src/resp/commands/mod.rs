//! The commands by name: how many arguments, which of them are keys, and how they become a write, a read or a local.
//!
//! Everything a client can get wrong about a command is refused here, in Redis' own words, before anything is
//! queued; what comes out cannot be wrong.

mod arguments;
mod bits;
mod key_specs;
mod keys;
mod missing;
mod replace;
mod scan;
mod strings;
mod syntax;
mod table;

use std::borrow::Cow;

use crate::fsm::command::ReadCommand;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::resp::codec::arguments::Arguments;
use crate::resp::commands::missing::clause_of;

pub(crate) use arguments::database_argument;
pub(crate) use key_specs::KeySpec;
pub(crate) use key_specs::range_of;
pub(crate) use syntax::DocArgument;
pub(crate) use syntax::DocKind;
pub(crate) use table::COMMANDS;
pub(crate) use table::find;

/// What a command asks for.
#[derive(Debug)]
pub(crate) enum Action {
    /// Goes into an entry.
    Write(WriteCommand),
    /// Reads the state.
    Read(ReadCommand),
    /// Concerns this connection or this node only.
    Local(Local),
}

/// An action, or what the client is refused with.
pub(crate) type ActionResult = Result<Action, ErrorLine>;

/// Commands that never reach the state; their arguments are looked at where they are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    Auth,
    Client,
    Command,
    Config,
    /// What a web browser sends: the connection is closed without a word.
    CrossProtocol,
    Discard,
    Echo,
    Exec,
    Hello,
    Info,
    Multi,
    Ping,
    Quit,
    Reset,
    Role,
    Sealkv,
    Select,
    Time,
    Unwatch,
    Watch,
    /// There are no functions to list or to flush.
    Function,
    /// MEMORY HELP.
    Memory,
    /// OBJECT HELP.
    Object,
    Acl,
    /// What only a node of Redis Cluster answers.
    Cluster,
    LastSave,
    Latency,
    Module,
    /// SAVE, BGSAVE.
    Save,
    Shutdown,
    Slowlog,
    Wait,
}

impl Local {
    /// MULTI and its relatives.
    pub(crate) fn is_of_transactions(self) -> bool {
        matches!(self, Local::Multi | Local::Exec | Local::Discard | Local::Watch | Local::Unwatch)
    }

    /// Has subcommands.
    pub(crate) fn is_container(self) -> bool {
        let is_first = matches!(self, Local::Client | Local::Command | Local::Config | Local::Function | Local::Sealkv);
        is_first || matches!(self, Local::Acl | Local::Latency | Local::Module | Local::Slowlog)
    }

    /// Runs at once, inside MULTI too.
    pub(crate) fn is_never_queued(self) -> bool {
        let is_in_redis = matches!(self, Local::Multi | Local::Exec | Local::Discard | Local::Watch);
        is_in_redis || matches!(self, Local::Quit | Local::Reset | Local::CrossProtocol)
    }

    /// A client that has yet to show its password needs the first ones.
    const fn kind(self) -> Kind {
        match self {
            Local::Auth | Local::CrossProtocol | Local::Hello | Local::Quit | Local::Reset => Kind::LocalWithoutAuth,
            Local::Client
            | Local::Command
            | Local::Config
            | Local::Discard
            | Local::Echo
            | Local::Exec
            | Local::Info
            | Local::Multi
            | Local::Ping
            | Local::Role
            | Local::Sealkv
            | Local::Select
            | Local::Time
            | Local::Unwatch
            | Local::Watch
            | Local::Function
            | Local::Memory
            | Local::Object
            | Local::Acl
            | Local::Cluster
            | Local::LastSave
            | Local::Latency
            | Local::Module
            | Local::Save
            | Local::Shutdown
            | Local::Slowlog
            | Local::Wait => Kind::Local,
        }
    }
}

/// The whole error line, as Redis spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorLine(pub(crate) Cow<'static, str>);

impl ErrorLine {
    /// One of the fixed texts.
    pub(crate) const fn fixed(line: &'static str) -> ErrorLine {
        ErrorLine(Cow::Borrowed(line))
    }

    /// A text made for this command.
    pub(crate) fn made(line: String) -> ErrorLine {
        ErrorLine(Cow::Owned(line))
    }

    /// Too few or too many arguments.
    pub(crate) fn arity(name: &str) -> ErrorLine {
        ErrorLine::made(format!("ERR wrong number of arguments for '{name}' command"))
    }

    /// An expire time that is negative, zero or too far away.
    pub(crate) fn expire_time(name: &str) -> ErrorLine {
        ErrorLine::made(format!("ERR invalid expire time in '{name}' command"))
    }

    /// Whether it is about a subcommand and the number of its arguments, which Redis looks at before it queues.
    pub(crate) fn is_of_subcommand(&self) -> bool {
        let is_arity = self.0.starts_with("ERR wrong number of arguments") && self.0.contains('|');
        is_arity || self.0.starts_with("ERR unknown subcommand")
    }

    /// A subcommand that is not there.
    pub(crate) fn subcommand(parent: &str, given: &[u8]) -> ErrorLine {
        let given = String::from_utf8_lossy(&given[..given.len().min(NAME_ECHO_BYTES_MAX)]);
        ErrorLine::made(format!("ERR unknown subcommand '{given}'. Try {} HELP.", parent.to_ascii_uppercase()))
    }
}

/// `ERR syntax error`.
pub(crate) const SYNTAX: ErrorLine = ErrorLine::fixed("ERR syntax error");
/// Not an i64.
pub(crate) const NOT_AN_INTEGER: ErrorLine = ErrorLine::fixed("ERR value is not an integer or out of range");

/// What kind of command it is, for COMMAND and for AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes the state.
    Write,
    /// Reads the state.
    Read,
    /// Connection and node.
    Local,
    /// The same, and allowed before AUTH.
    LocalWithoutAuth,
}

/// How a command becomes an action.
enum Parse {
    /// By its arguments.
    Arguments(fn(&Call<'_>) -> ActionResult),
    /// It is always this one.
    Local(Local),
}

/// What COMMAND DOCS says of a command, and the README.
pub(crate) struct CommandDocs {
    /// Redis' group of commands.
    pub(crate) group: &'static str,
    /// The first version of Redis that has it.
    pub(crate) since: &'static str,
    /// Its arguments: tokens in upper case, names in lower case, `[optional]`, `<one | of>`, `repeated ...`.
    pub(crate) syntax: &'static str,
    /// One sentence, without its full stop.
    pub(crate) summary: &'static str,
}

/// A command as the table has it.
pub(crate) struct CommandSpec {
    /// In lower case.
    pub(crate) name: &'static str,
    /// Number of arguments with the name; negative: at least that many.
    pub(crate) arity: i32,
    pub(crate) kind: Kind,
    /// Which arguments are keys; such a list for each way in which they are used.
    pub(crate) keys: &'static [KeySpec],
    pub(crate) docs: CommandDocs,
    parse: Parse,
}

/// A command and its arguments, whose number fits.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) name: &'static str,
    pub(crate) arguments: Arguments<'a>,
    /// The one that is selected.
    pub(crate) database: Database,
    /// Absolute times are meant by the wall clock, and kept by a clock that leads it by this.
    pub(crate) lead_ms: u64,
}

impl CommandDocs {
    /// Its arguments.
    pub(crate) fn arguments(&self) -> Vec<DocArgument> {
        if self.syntax.is_empty() { Vec::new() } else { syntax::arguments(self.syntax) }
    }
}

impl CommandSpec {
    /// True if so many arguments (with the name) can be right.
    pub(crate) fn admits(&self, arguments: usize) -> bool {
        admits(self.arity, arguments)
    }

    /// Whether it changes the node rather than keys; HELP never does.
    pub(crate) fn is_for_operators(&self, arguments: Arguments<'_>, is_flush_for_admin: bool) -> bool {
        let is_word = |word: &str| arguments.len() > 1 && arguments.slice(1).eq_ignore_ascii_case(word.as_bytes());
        match self.local() {
            Some(Local::Sealkv) => !is_word("help"),
            Some(Local::Config) => !is_word("get") && !is_word("help"),
            Some(Local::Shutdown) => true,
            Some(_) => false,
            None => is_flush_for_admin && self.removes_all(),
        }
    }

    /// Whether it removes every key of a database, or of all.
    pub(crate) fn removes_all(&self) -> bool {
        matches!(self.name, "flushall" | "flushdb")
    }

    /// Whether MULTI refuses to queue it: Redis gives these the flag NO_MULTI.
    pub(crate) fn is_refused_in_transactions(&self) -> bool {
        self.name == "save" || matches!(self.local(), Some(Local::Sealkv | Local::Shutdown))
    }

    /// Its category in ACL CAT.
    pub(crate) fn category(&self) -> &'static str {
        match self.docs.group {
            "generic" => "keyspace",
            "server" => "admin",
            "transactions" => "transaction",
            other => other,
        }
    }

    /// The local that it always is; `None` if its arguments decide.
    pub(crate) fn local(&self) -> Option<Local> {
        match self.parse {
            Parse::Arguments(_) => None,
            Parse::Local(local) => Some(local),
        }
    }

    /// What the command asks for.
    ///
    /// # Errors
    /// The refusal that the client is told.
    pub(crate) fn parse(&'static self, arguments: Arguments<'_>, database: Database, lead_ms: u64) -> ActionResult {
        match self.parse {
            Parse::Arguments(parse) => parse(&Call { name: self.name, arguments, database, lead_ms }),
            Parse::Local(local) => Ok(Action::Local(local)),
        }
    }

    /// Positions of the keys among so many arguments.
    pub(crate) fn key_positions(&self, arguments: usize) -> impl Iterator<Item = usize> + use<> {
        self.keys.iter().flat_map(move |spec| spec.positions(arguments))
    }
}

/// True if so many arguments (with the name) are right for an arity.
pub(crate) fn admits(arity: i32, arguments: usize) -> bool {
    let least = arity.unsigned_abs() as usize;
    if arity < 0 { arguments >= least } else { arguments == least }
}

/// The refusal of a name that is not in the table, with the beginning of the arguments.
pub(crate) fn unknown(arguments: Arguments<'_>) -> ErrorLine {
    let name = arguments.slice(0);
    let name = String::from_utf8_lossy(&name[..name.len().min(NAME_ECHO_BYTES_MAX)]);
    let mut echo = Vec::new();
    for argument in arguments.slices_from(1) {
        if echo.len() >= NAME_ECHO_BYTES_MAX {
            break;
        }
        let space = NAME_ECHO_BYTES_MAX - echo.len();
        echo.push(b'\'');
        echo.extend_from_slice(&argument[..argument.len().min(space)]);
        echo.extend_from_slice(b"' ");
    }
    let echo = String::from_utf8_lossy(&echo);
    let clause = clause_of(&name);
    ErrorLine::made(format!("ERR unknown command '{name}', with args beginning with: {echo}{clause}"))
}

/// How much of what a client sent is repeated in an error (Redis 7).
const NAME_ECHO_BYTES_MAX: usize = 128;
