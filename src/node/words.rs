//! How single settings are written: addresses, sizes, and which log lines are wanted. Each is read once, into what it means.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use clap::ValueEnum;
use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;

use crate::node::log_lines::AUDIT;
use crate::node::log_lines::END;

/// `ADDRESS:PORT`. Of names only `localhost`: a node must not depend on a name server to find its own address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        format!("expected an address and a port, as 127.0.0.1:6379, [::1]:6379 or localhost:6379, found {text:?}")
    })
}

pub(super) fn address_in_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    address(&String::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

/// Whether a variable is one that Kubernetes and Docker set in every container beside a service: for a service that is named
/// `sealkv` its names begin as ours do.
pub(super) fn is_of_a_service(name: &str, value: &str) -> bool {
    let words: Vec<&str> = name.split('_').skip(1).collect();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_protocol = |text: &str| PROTOCOLS.iter().any(|protocol| protocol.eq_ignore_ascii_case(text));
    let is_url = || value.split_once("://").is_some_and(|(protocol, _)| is_protocol(protocol));
    match words.as_slice() {
        [.., "SERVICE", "HOST"] => true,
        [.., "SERVICE", "PORT"] | [.., "SERVICE", "PORT", _] => is_number(value),
        [.., "PORT", number, protocol] => is_number(number) && is_protocol(protocol) && is_url(),
        [.., "PORT", number, protocol, "ADDR" | "PORT" | "PROTO"] => is_number(number) && is_protocol(protocol),
        [.., "PORT"] => is_url(),
        _ => false,
    }
}

/// Whether clients with TLS show a certificate, in Redis' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsAuthClients {
    /// Nobody is asked for one.
    No,
    /// Who shows one must show a good one.
    Optional,
    /// Nobody comes in without a good one.
    Yes,
}

/// A whole number, for the settings that count things.
pub(super) fn count<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("expected a number, found {text:?}"))
}

/// A number of bytes, or of KiB, MiB or GiB with the letter K, M or G behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "SizeText")]
pub struct ByteSize(pub u64);

/// In a file a size is a number or a text.
#[derive(Deserialize)]
#[serde(untagged)]
enum SizeText {
    Number(u64),
    Text(String),
}

impl TryFrom<SizeText> for ByteSize {
    type Error = String;

    fn try_from(from: SizeText) -> Result<ByteSize, String> {
        match from {
            SizeText::Number(bytes) => Ok(ByteSize(bytes)),
            SizeText::Text(text) => text.parse(),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let unit_begins = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(unit_begins);
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KB" | "KIB" => 10,
            "M" | "MB" | "MIB" => 20,
            "G" | "GB" | "GIB" => 30,
            _ => u32::MAX,
        };
        let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1_u64.checked_shl(shift)?));
        bytes.map(ByteSize).ok_or_else(|| format!("expected bytes, or a number with K, M or G, as 64M, found {text:?}"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |shift: u32| self.0 > 0 && self.0.is_multiple_of(1 << shift);
        match self.0 {
            bytes if whole(30) => write!(f, "{}G", bytes >> 30),
            bytes if whole(20) => write!(f, "{}M", bytes >> 20),
            bytes => write!(f, "{bytes}"),
        }
    }
}

/// Which log lines are written: a level, or levels of single targets beside it. Every word of it was checked: one that is no
/// level would otherwise be taken for a target, and nothing would be logged at all.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LogFilter(String);

impl LogFilter {
    /// As the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it says which lines about keys, operators and passwords are written.
    #[must_use]
    pub fn names_audit(&self) -> bool {
        self.names(AUDIT)
    }

    /// What is written: without a level for other targets these are written from `info` on, and what nobody may miss
    /// (the lines of the target `audit`, the reason of an end) is written unless the filter names its target.
    #[must_use]
    pub fn directives(&self) -> String {
        let has_level = self.0.split(',').any(|part| !part.contains('='));
        let mut all = if has_level { self.0.clone() } else { format!("info,{}", self.0) };
        for (target, level) in [(AUDIT, "info"), (END, "error")] {
            if !self.names(target) {
                all.push_str(&format!(",{target}={level}"));
            }
        }
        all
    }

    fn names(&self, target: &str) -> bool {
        self.0.split(',').any(|part| part.split('=').next() == Some(target))
    }
}

impl Default for LogFilter {
    fn default() -> LogFilter {
        LogFilter("info".to_owned())
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFilter, String> {
        if let Some(part) = text.split(',').find(|part| !is_directive(part)) {
            return Err(format!(
                "expected error, warn, info, debug or trace, or a list with levels of single targets, \
                 as info,sealkv::wal=debug, found {part:?}"
            ));
        }
        // A target that no line has would be a filter that does nothing, and nobody would know.
        let mut targets = text.split(',').filter_map(|part| part.split_once('=')).map(|(target, _)| target);
        match targets.find(|target| !is_known_target(target)) {
            None => Ok(LogFilter(text.to_owned())),
            Some(target) => Err(format!(
                "there are no log lines of target {target:?}, expected {AUDIT}, {END}, rocksdb, sealkv, or sealkv:: and one of {}",
                ROOMS.join(", ")
            )),
        }
    }
}

impl TryFrom<String> for LogFilter {
    type Error = String;

    fn try_from(text: String) -> Result<LogFilter, String> {
        text.parse()
    }
}

fn is_directive(part: &str) -> bool {
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_target =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c));
    match part.split_once('=') {
        None => is_level(part),
        Some((target, level)) => is_target(target) && is_level(level),
    }
}

fn is_known_target(target: &str) -> bool {
    let mut parts = target.split("::");
    match (parts.next(), parts.next()) {
        (Some("sealkv"), Some(room)) => ROOMS.contains(&room),
        (Some(first), None) => [AUDIT, END, "rocksdb", "sealkv"].contains(&first),
        _ => false,
    }
}

/// Of which there may be log lines.
const ROOMS: [&str; 11] = ["apply", "cli", "crypto", "disk", "fsm", "keys", "node", "propose", "raft", "resp", "wal"];
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_numeric_or_localhost() {
        assert_eq!(address("localhost:1").unwrap(), "127.0.0.1:1".parse().unwrap());
        assert_eq!(address("[::1]:0").unwrap(), "[::1]:0".parse().unwrap());
        for wrong in ["", "6379", "localhost", "example.org:1", "127.0.0.1:65536"] {
            assert!(address(wrong).unwrap_err().contains("expected an address"), "{wrong}");
        }
    }

    #[test]
    fn variables_of_a_service_are_told_from_settings_by_name_and_value() {
        for (name, value) in [
            ("SEALKV_SERVICE_HOST", "10.0.0.11"),
            ("SEALKV_SERVICE_PORT", "6379"),
            ("SEALKV_SERVICE_PORT_RESP", "6379"),
            ("SEALKV_PORT", "tcp://10.0.0.11:6379"),
            ("SEALKV_PORT_6379_TCP", "tcp://10.0.0.11:6379"),
            ("SEALKV_PORT_6379_TCP_PROTO", "tcp"),
            ("SEALKV_PORT_6379_TCP_PORT", "6379"),
            ("SEALKV_PORT_6379_TCP_ADDR", "10.0.0.11"),
            ("SEALKV_ADMIN_SERVICE_HOST", "10.0.0.12"),
            ("SEALKV_ADMIN_PORT_9379_TCP", "tcp://10.0.0.12:9379"),
        ] {
            assert!(is_of_a_service(name, value), "{name}");
        }
        for (name, value) in [
            ("SEALKV_PORT", "6379"),
            ("SEALKV_LISTEN_PORT", "6379"),
            ("SEALKV_SERVICE_PORT", "high"),
            ("SEALKV_PORT_6379", "tcp://10.0.0.11:6379"),
            ("SEALKV_KEKFILE", "/k"),
        ] {
            assert!(!is_of_a_service(name, value), "{name}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_a_number_with_a_unit() {
        for (text, bytes) in [("0", 0), ("7", 7), ("64M", 64 << 20), ("1g", 1 << 30), ("3KiB", 3072), ("5MB", 5 << 20)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for wrong in ["", "M", "-1", "1.5G", "64 M", "64T", "99999999999999999999", "18446744073709551615K"] {
            assert!(wrong.parse::<ByteSize>().unwrap_err().contains("64M"), "{wrong}");
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64M");
        assert_eq!(ByteSize((64 << 20) + 1).to_string(), "67108865");
    }

    #[test]
    fn a_filter_of_log_lines_has_no_word_that_is_not_understood() {
        for good in ["info", "OFF", "warn,sealkv::wal=debug", "sealkv=trace", "info,rocksdb=error"] {
            assert_eq!(good.parse::<LogFilter>().unwrap().as_str(), good);
        }
        for (wrong, word) in
            [("inof", "inof"), ("", "\"\""), ("info,sealkv", "sealkv"), ("info,wal=debg", "debg"), ("a b=info", "a b")]
        {
            let error = wrong.parse::<LogFilter>().unwrap_err();
            assert!(error.contains(word) && error.contains("error, warn, info, debug or trace"), "{error}");
        }
        for (wrong, word) in
            [("info,sealkv::wall=debug", "sealkv::wall"), ("wal=debug", "wal"), ("tokio=info", "tokio")]
        {
            let error = wrong.parse::<LogFilter>().unwrap_err();
            assert!(error.contains(&format!("{word:?}")) && error.contains("raft, resp, wal"), "{error}");
        }
    }

    #[test]
    fn what_nobody_may_miss_is_written_unless_its_target_is_named() {
        for (filter, directives) in [
            ("off", "off,audit=info,end=error"),
            ("sealkv::wal=debug", "info,sealkv::wal=debug,audit=info,end=error"),
            ("audit=off,warn", "audit=off,warn,end=error"),
            ("off,end=off,audit=off", "off,end=off,audit=off"),
        ] {
            assert_eq!(filter.parse::<LogFilter>().unwrap().directives(), directives);
        }
    }

    #[test]
    fn each_room_that_can_be_named_in_a_filter_is_a_room() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for room in ROOMS {
            assert!(source.join(room).is_dir(), "{room}");
        }
    }
}
