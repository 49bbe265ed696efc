//! CONFIG: a small table of what Redis' clients and tools ask for; what can be set at run time is set here.

use std::sync::atomic::Ordering;

use crate::fsm::glob::Glob;
use crate::fsm::glob::LetterCase;
use crate::fsm::name::DATABASES;
use crate::limits::BULK_BYTES_MAX;
use crate::limits::CLIENT_KEEPALIVE;
use crate::limits::CLIENTS_MAX;
use crate::limits::CONFIG_PATTERNS_MAX;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::limits::QUERY_BYTES_MAX;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::SYNTAX;
use crate::resp::local::client::write_help;
use crate::resp::local::subcommand::Subcommand;
use crate::resp::shared::ServerShared;

/// CONFIG GET|SET|RESETSTAT|REWRITE.
pub(super) fn config_command(
    shared: &ServerShared,
    sub: &Subcommand<'_>,
    encoder: &mut Encoder<'_>,
) -> Result<(), ErrorLine> {
    if sub.is("get") {
        if sub.count() == 0 {
            return Err(sub.arity());
        }
        config_get(shared, sub, encoder)?;
    } else if sub.is("set") {
        if sub.count() < 2 {
            return Err(sub.arity());
        }
        config_set(shared, sub)?;
        encoder.simple("OK");
    } else if sub.is("resetstat") {
        sub.exactly(0)?;
        shared.stats.reset();
        tracing::info!(target: "audit", "an operator sets the counters back");
        encoder.simple("OK");
    } else if sub.is("rewrite") {
        sub.exactly(0)?;
        return Err(ErrorLine::fixed("ERR The server is running without a config file"));
    } else if sub.is("help") {
        sub.exactly(0)?;
        write_help(&HELP, encoder);
    } else {
        return Err(sub.unknown());
    }
    Ok(())
}

fn config_get(shared: &ServerShared, sub: &Subcommand<'_>, encoder: &mut Encoder<'_>) -> Result<(), ErrorLine> {
    if sub.count() > CONFIG_PATTERNS_MAX {
        return Err(ErrorLine::made(format!("ERR CONFIG GET may have {CONFIG_PATTERNS_MAX} patterns")));
    }
    let patterns = (0..sub.count()).map(|at| sub.pattern(at)).collect::<Result<Vec<_>, _>>()?;
    let matches = |pattern: &[u8], name: &str| Glob::new(pattern, LetterCase::Any).matches(name.as_bytes());
    let is_asked = |name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    let found: Vec<&Entry> = TABLE.iter().filter(|entry| is_asked(entry.name)).collect();
    encoder.map(found.len());
    for entry in found {
        encoder.bulk(entry.name.as_bytes());
        encoder.bulk(entry.value(shared).as_bytes());
    }
    Ok(())
}

/// All or nothing: everything is checked before anything is set.
fn config_set(shared: &ServerShared, sub: &Subcommand<'_>) -> Result<(), ErrorLine> {
    if !sub.count().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let mut changes = Vec::new();
    for position in (0..sub.count()).step_by(2) {
        let name = String::from_utf8_lossy(sub.slice(position)).to_ascii_lowercase();
        let Some(entry) = TABLE.iter().find(|entry| entry.name == name) else {
            let line = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
            return Err(ErrorLine::made(line));
        };
        let value = sub.slice(position + 1);
        let change = entry.check(value, shared).map_err(|why| {
            ErrorLine::made(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"))
        })?;
        changes.extend(change);
    }
    for change in changes {
        match change {
            ConfigChange::ClientsMax(count) => {
                shared.clients_max.store(count, Ordering::Relaxed);
                tracing::info!(target: "audit", maxclients = count, "an operator changes a setting");
            }
            ConfigChange::IdleTimeout(ms) => {
                shared.idle_timeout_ms.store(ms, Ordering::Relaxed);
                tracing::info!(target: "audit", timeout_ms = ms, "an operator changes a setting");
            }
            ConfigChange::LogLevel(filter) => shared.operator.log_by(&filter, true).map_err(|why| {
                ErrorLine::made(format!("ERR CONFIG SET failed (possibly related to argument 'loglevel') - {why}"))
            })?,
        }
    }
    Ok(())
}

struct Entry {
    name: &'static str,
    value: ConfigValue,
}

enum ConfigValue {
    /// Never changes; setting it to what it is is fine.
    Fixed(&'static str),
    FixedNumber(usize),
    ClientsMax,
    IdleTimeout,
    LogLevel,
    Port,
    TlsPort,
    Bind,
}

enum ConfigChange {
    ClientsMax(usize),
    IdleTimeout(u64),
    LogLevel(String),
}

impl Entry {
    fn value(&self, shared: &ServerShared) -> String {
        match self.value {
            ConfigValue::Fixed(text) => text.to_owned(),
            ConfigValue::FixedNumber(number) => number.to_string(),
            ConfigValue::ClientsMax => shared.clients_max.load(Ordering::Relaxed).to_string(),
            ConfigValue::IdleTimeout => shared.idle_timeout().as_secs().to_string(),
            ConfigValue::LogLevel => shared.operator.log_filter(),
            ConfigValue::Port => shared.address.port().to_string(),
            // As in Redis: 0 where there is none.
            ConfigValue::TlsPort => shared.tls_address.map_or(0, |address| address.port()).to_string(),
            ConfigValue::Bind => shared.address.ip().to_string(),
        }
    }

    fn check(&self, value: &[u8], shared: &ServerShared) -> Result<Option<ConfigChange>, String> {
        match self.value {
            ConfigValue::ClientsMax => {
                let count = integer_within(value, 1, CLIENTS_MAX as u64)?;
                let count = usize::try_from(count).expect("checked: at most CLIENTS_MAX");
                Ok(Some(ConfigChange::ClientsMax(count)))
            }
            ConfigValue::IdleTimeout => {
                Ok(Some(ConfigChange::IdleTimeout(integer_within(value, 0, SECONDS_MAX)? * 1000)))
            }
            ConfigValue::LogLevel => {
                let word = String::from_utf8_lossy(value).into_owned();
                let level = REDIS_LEVELS.iter().find(|(theirs, _)| word.eq_ignore_ascii_case(theirs));
                let filter = level.map_or(word, |(_, ours)| (*ours).to_owned());
                shared.operator.log_by(&filter, false)?;
                Ok(Some(ConfigChange::LogLevel(filter)))
            }
            _ if value.eq_ignore_ascii_case(self.value(shared).as_bytes()) => Ok(None),
            _ if self.name.starts_with("maxmemory") => {
                Err("can't set immutable config, sealkv never evicts".to_owned())
            }
            _ => Err("can't set immutable config".to_owned()),
        }
    }
}

fn integer_within(digits: &[u8], least: u64, most: u64) -> Result<u64, String> {
    let Some(number) = parse_integer(digits) else {
        return Err("argument couldn't be parsed into an integer".to_owned());
    };
    let number = u64::try_from(number).ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("argument must be between {least} and {most} inclusive"))
}

/// Longest idle timeout (Redis 7).
const SECONDS_MAX: u64 = i32::MAX as u64;

const fn fixed(name: &'static str, text: &'static str) -> Entry {
    Entry { name, value: ConfigValue::Fixed(text) }
}

const fn number(name: &'static str, number: usize) -> Entry {
    Entry { name, value: ConfigValue::FixedNumber(number) }
}

/// Redis' words for what is called otherwise here.
const REDIS_LEVELS: [(&str, &str); 4] =
    [("verbose", "debug"), ("notice", "info"), ("warning", "warn"), ("nothing", "off")];

/// No secret is in it: `requirepass` is left out on purpose.
const TABLE: &[Entry] = &[
    fixed("appendfsync", "always"),
    fixed("appendonly", "yes"),
    Entry { name: "bind", value: ConfigValue::Bind },
    number("client-query-buffer-limit", QUERY_BYTES_MAX),
    number("client-output-buffer-limit-normal", OUTPUT_BYTES_MAX),
    fixed("cluster-enabled", "no"),
    number("databases", DATABASES),
    Entry { name: "loglevel", value: ConfigValue::LogLevel },
    Entry { name: "maxclients", value: ConfigValue::ClientsMax },
    fixed("maxmemory", "0"),
    fixed("maxmemory-policy", "noeviction"),
    fixed("notify-keyspace-events", ""),
    Entry { name: "port", value: ConfigValue::Port },
    number("proto-max-bulk-len", BULK_BYTES_MAX),
    fixed("protected-mode", "yes"),
    fixed("save", ""),
    number("tcp-keepalive", CLIENT_KEEPALIVE.as_secs() as usize),
    Entry { name: "timeout", value: ConfigValue::IdleTimeout },
    Entry { name: "tls-port", value: ConfigValue::TlsPort },
    fixed("unixsocket", ""),
];

const HELP: [&str; 6] = [
    "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GET <pattern> [<pattern> ...]",
    "SET <directive> <value> [<directive> <value> ...]",
    "    loglevel, maxclients and timeout can be set; they are not written to a file.",
    "RESETSTAT",
    "    Counters of INFO begin again.",
];
