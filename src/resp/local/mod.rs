//! Commands that concern this connection or this node only; each answers at once.

mod client;
mod command;
mod config;
mod greet;
mod info;
mod sealkv;

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::resp::codec::reply::Encoder;
use crate::resp::codec::request::Arguments;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Local;
use crate::resp::commands::integer;
use crate::resp::session::Close;
use crate::resp::session::Session;
use crate::resp::stats::add;
use crate::resp::wire::Wire;

/// Words of a container command: `CLIENT SETNAME x`.
pub(crate) struct Subcommand<'a> {
    /// The container, in lower case.
    parent: &'static str,
    arguments: Arguments<'a>,
}

impl<'a> Subcommand<'a> {
    /// True if the subcommand has that name.
    fn is(&self, name: &str) -> bool {
        self.arguments.slice(1).eq_ignore_ascii_case(name.as_bytes())
    }

    /// Number of arguments behind the subcommand.
    fn count(&self) -> usize {
        self.arguments.len() - 2
    }

    /// The n-th argument behind the subcommand.
    fn slice(&self, position: usize) -> &'a [u8] {
        self.arguments.slice(position + 2)
    }

    /// The number of arguments behind the subcommand must be `count`.
    fn exactly(&self, count: usize) -> Result<(), ErrorLine> {
        if self.count() == count { Ok(()) } else { Err(self.arity()) }
    }

    fn arity(&self) -> ErrorLine {
        let name = String::from_utf8_lossy(self.arguments.slice(1)).to_ascii_lowercase();
        ErrorLine::arity(&format!("{}|{name}", self.parent))
    }

    fn unknown(&self) -> ErrorLine {
        ErrorLine::subcommand(self.parent, self.arguments.slice(1))
    }
}

impl Session {
    /// Runs a local command; everything before it in the pipeline is done.
    pub(crate) async fn run_local<S>(
        &mut self,
        local: Local,
        arguments: Arguments<'_>,
        wire: &mut Wire<S>,
    ) -> Result<(), Close> {
        let failures = self.auth_failures;
        let result = match local {
            Local::Quit => {
                self.encoder(wire).simple("OK");
                return Err(Close::Asked);
            }
            Local::CrossProtocol => {
                tracing::warn!(client = self.client.id, "a web browser seems to talk to this port: closed");
                return Err(Close::Gone(io::ErrorKind::InvalidData.into()));
            }
            Local::Auth => self.auth(arguments, &mut wire.outbox),
            Local::Hello => self.hello(arguments, &mut wire.outbox),
            Local::Reset => {
                self.reset(&mut wire.outbox);
                Ok(())
            }
            Local::Sealkv => self.sealkv_command(&subcommand("sealkv", arguments), &mut wire.outbox).await,
            Local::Select => self.select(arguments, wire),
            Local::Client => self.client_command(&subcommand("client", arguments), &mut wire.outbox),
            Local::Command => self.command_command(arguments, &mut wire.outbox),
            Local::Config => self.config_command(&subcommand("config", arguments), &mut wire.outbox),
            Local::Info => {
                self.info(arguments, &mut wire.outbox);
                Ok(())
            }
            Local::Role => {
                self.role(wire);
                Ok(())
            }
            Local::Time => {
                self.time(wire);
                Ok(())
            }
            Local::Function => {
                self.encoder(wire).simple("OK");
                Ok(())
            }
            Local::Ping | Local::Echo => unreachable!("the session answers these in their place"),
        };
        if let Err(refusal) = result {
            add(&self.shared.stats.error_replies_total, 1);
            self.encoder(wire).error(&refusal.0);
        }
        if self.auth_failures > failures {
            add(&self.shared.stats.auth_failures_total, 1);
            sleep(AUTH_PENALTY).await;
        }
        if self.auth_failures >= AUTH_FAILURES_MAX {
            return Err(Close::Bound("wrong passwords"));
        }
        // A client that killed itself has its reply first.
        if self.client.is_killed() { Err(Close::Killed) } else { Ok(()) }
    }

    fn encoder<'a, S>(&self, wire: &'a mut Wire<S>) -> Encoder<'a> {
        Encoder::new(&mut wire.outbox, self.protocol)
    }

    fn select<S>(&self, arguments: Arguments<'_>, wire: &mut Wire<S>) -> Result<(), ErrorLine> {
        if integer(arguments, 1)? != 0 {
            return Err(ErrorLine::fixed("ERR DB index is out of range"));
        }
        self.encoder(wire).simple("OK");
        Ok(())
    }

    fn time<S>(&self, wire: &mut Wire<S>) {
        let now_ms = self.shared.gateway.wall_ms();
        let mut encoder = self.encoder(wire);
        encoder.array(2);
        encoder.bulk((now_ms / 1000).to_string().as_bytes());
        encoder.bulk((now_ms % 1000 * 1000).to_string().as_bytes());
    }

    fn role<S>(&self, wire: &mut Wire<S>) {
        let applied = i64::try_from(self.shared.facts.applied_index()).unwrap_or(i64::MAX);
        let role = self.shared.facts.role();
        let mut encoder = self.encoder(wire);
        encoder.array(3);
        encoder.bulk(role.word().as_bytes());
        encoder.integer(applied);
        encoder.array(0);
    }
}

fn subcommand<'a>(parent: &'static str, arguments: Arguments<'a>) -> Subcommand<'a> {
    Subcommand { parent, arguments }
}

/// Matches `text` against a glob of `* ? [a-z] [^a] \x`, in any letter case. Bounded work: the last star only is
/// tried again, so it takes at most pattern times text steps.
pub(crate) fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while position < text.len() {
        if pattern.get(at) == Some(&b'*') {
            at += 1;
            retry = Some((at, position));
            continue;
        }
        if let Some(used) = matches_one(&pattern[at..], text[position]) {
            at += used;
            position += 1;
            continue;
        }
        let Some((after_star, tried)) = retry else {
            return false;
        };
        retry = Some((after_star, tried + 1));
        at = after_star;
        position = tried + 1;
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// How much of the pattern's front matches `byte`.
fn matches_one(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_same = |other: u8| other.eq_ignore_ascii_case(&byte);
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'\\', escaped, ..] => is_same(*escaped).then_some(2),
        [b'[', class @ ..] => {
            let end = memchr::memchr(b']', class)?;
            let (is_negated, members) = match &class[..end] {
                [b'^', members @ ..] => (true, members),
                members => (false, members),
            };
            (class_has(members, byte) != is_negated).then_some(end + 2)
        }
        [literal, ..] => is_same(*literal).then_some(1),
    }
}

fn class_has(mut members: &[u8], byte: u8) -> bool {
    let byte = byte.to_ascii_lowercase();
    loop {
        match members {
            [] => return false,
            [low, b'-', high, rest @ ..] => {
                let (low, high) = (low.to_ascii_lowercase(), high.to_ascii_lowercase());
                if (low.min(high)..=low.max(high)).contains(&byte) {
                    return true;
                }
                members = rest;
            }
            [member, rest @ ..] => {
                if member.to_ascii_lowercase() == byte {
                    return true;
                }
                members = rest;
            }
        }
    }
}

/// How long a client waits after a wrong password, and after how many it is closed.
const AUTH_PENALTY: Duration = Duration::from_millis(100);
const AUTH_FAILURES_MAX: u32 = 10;
