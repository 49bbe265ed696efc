//! Commands that concern this connection or this node only; each answers at once.

pub(crate) mod client;
mod command;
mod config;
mod function;
pub(crate) mod info;
mod sealkv;
mod subcommand;

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::resp::close::Close;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Local;
use crate::resp::commands::database_argument;
use crate::resp::local::client::client_command;
use crate::resp::local::client::write_help;
use crate::resp::local::command::command_command;
use crate::resp::local::config::config_command;
use crate::resp::local::function::function_command;
use crate::resp::local::info::write_info;
use crate::resp::local::sealkv::sealkv_command;
use crate::resp::local::subcommand::subcommand;
use crate::resp::login::Login;
use crate::resp::registry::Client;
use crate::resp::shared::ServerShared;
use crate::resp::stats::add;
use crate::resp::upstream::Upstream;

/// The connection that sent a local command.
pub(crate) struct LocalContext<'a> {
    pub(crate) shared: &'a ServerShared,
    pub(crate) client: &'a Client,
    pub(crate) login: &'a mut Login,
    pub(crate) upstream: &'a Upstream,
}

impl LocalContext<'_> {
    /// Runs a local command; everything before it in the pipeline is done.
    pub(crate) async fn run(&mut self, local: Local, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), Close> {
        let failures = self.login.failures();
        if local.is_container() && arguments.len() > 1 {
            self.client.show_subcommand(arguments.slice(1));
        }
        let result = match local {
            Local::Quit => {
                self.encoder(out).simple("OK");
                return Err(Close::Asked);
            }
            Local::CrossProtocol => {
                tracing::warn!(client = self.client.id, "a web browser seems to talk to this port: closed");
                return Err(Close::Gone(io::ErrorKind::InvalidData.into()));
            }
            Local::Sealkv => {
                let sub = subcommand("sealkv", arguments);
                sealkv_command(self.shared, self.upstream, &sub, &mut self.encoder(out)).await
            }
            _ => self.answer(local, arguments, out),
        };
        if let Err(refusal) = result {
            add(&self.shared.stats.error_replies_total, 1);
            self.encoder(out).error(&refusal.0);
        }
        if self.login.failures() > failures {
            sleep(AUTH_PENALTY).await;
        }
        if self.login.failures() >= AUTH_FAILURES_MAX {
            return Err(Close::Bound("wrong passwords"));
        }
        // A client that killed itself has its reply first.
        if self.client.is_killed() { Err(Close::Killed) } else { Ok(()) }
    }

    /// The commands that are answered at once.
    fn answer(&mut self, local: Local, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), ErrorLine> {
        match local {
            Local::Auth => return self.login.auth(arguments, out),
            Local::Hello => return self.login.hello(arguments, out),
            Local::Reset => self.login.reset(out),
            Local::Select => return self.select(arguments, out),
            Local::Client => {
                let sub = subcommand("client", arguments);
                return client_command(&self.shared.registry, self.client, &sub, &mut self.encoder(out));
            }
            Local::Command => return command_command(arguments, &mut self.encoder(out)),
            Local::Config => {
                return config_command(self.shared, &subcommand("config", arguments), &mut self.encoder(out));
            }
            Local::Info => write_info(self.shared, arguments, &mut self.encoder(out)),
            Local::Role => self.role(out),
            Local::Time => self.time(out),
            // Inside EXEC an UNWATCH changes nothing any more: EXEC has let go of the watched keys.
            Local::Unwatch => self.encoder(out).simple("OK"),
            Local::Function => {
                return function_command(&subcommand("function", arguments), &mut self.encoder(out));
            }
            Local::Memory => write_help(&MEMORY_HELP, &mut self.encoder(out)),
            Local::Object => write_help(&OBJECT_HELP, &mut self.encoder(out)),
            Local::Ping if arguments.len() == 1 => self.encoder(out).simple("PONG"),
            Local::Ping | Local::Echo => self.encoder(out).bulk(arguments.slice(1)),
            Local::Quit | Local::CrossProtocol | Local::Sealkv => unreachable!("run before these"),
            Local::Multi | Local::Exec | Local::Discard | Local::Watch => {
                unreachable!("the session runs these with its transaction")
            }
        }
        Ok(())
    }

    fn encoder<'a>(&self, out: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder::new(out, self.login.protocol())
    }

    fn select(&self, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), ErrorLine> {
        self.client.select(database_argument(arguments, 1)?);
        self.encoder(out).simple("OK");
        Ok(())
    }

    fn time(&self, out: &mut Vec<u8>) {
        let now_ms = self.shared.gateway.wall_ms();
        let mut encoder = self.encoder(out);
        encoder.array(2);
        encoder.bulk((now_ms / 1000).to_string().as_bytes());
        encoder.bulk((now_ms % 1000 * 1000).to_string().as_bytes());
    }

    fn role(&self, out: &mut Vec<u8>) {
        let applied = i64::try_from(self.shared.facts.applied_index()).unwrap_or(i64::MAX);
        let role = self.shared.facts.role();
        let mut encoder = self.encoder(out);
        encoder.array(3);
        encoder.bulk(role.word().as_bytes());
        encoder.integer(applied);
        encoder.array(0);
    }
}

const MEMORY_HELP: [&str; 3] = [
    "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "USAGE <key> [SAMPLES <count>]",
    "    Bytes of the key's row: name, header, envelope, key and value, before compression.",
];
const OBJECT_HELP: [&str; 6] = [
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    The encoding that Redis gives such a value when it is set.",
    "REFCOUNT <key>",
    "    1.",
    "FREQ <key>, IDLETIME <key>: not tracked, nothing is evicted.",
];
/// How long a client waits after a wrong password, and after how many it is closed.
const AUTH_PENALTY: Duration = Duration::from_millis(100);
const AUTH_FAILURES_MAX: u32 = 10;
