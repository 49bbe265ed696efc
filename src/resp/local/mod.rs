//! Commands that concern this connection or this node only; each answers at once.

pub(crate) mod client;
mod cluster;
mod command;
mod command_keys;
mod config;
mod function;
pub(crate) mod info;
mod members;
mod sealkv;
mod subcommand;
mod tools;

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::resp::close::Close;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::reply::Encoder;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Local;
use crate::resp::commands::NOT_AN_INTEGER;
use crate::resp::commands::SYNTAX;
use crate::resp::commands::database_argument;
use crate::resp::facts::Role;
use crate::resp::local::client::client_command;
use crate::resp::local::client::write_help;
use crate::resp::local::cluster::cluster_command;
use crate::resp::local::command::command_command;
use crate::resp::local::config::config_command;
use crate::resp::local::function::function_command;
use crate::resp::local::info::write_info;
use crate::resp::local::sealkv::long_work;
pub(crate) use crate::resp::local::sealkv::reads_every_row;
use crate::resp::local::sealkv::sealkv_command;
use crate::resp::local::subcommand::subcommand;
use crate::resp::local::tools::acl_command;
use crate::resp::local::tools::latency_command;
use crate::resp::local::tools::module_command;
use crate::resp::local::tools::slowlog_command;
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
            Local::Save => self.save(arguments, out).await,
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
            Local::Acl => {
                let has_password = self.shared.bounds.password.is_some();
                return acl_command(
                    has_password,
                    self.login.user(),
                    &subcommand("acl", arguments),
                    &mut self.encoder(out),
                );
            }
            Local::Latency => return latency_command(&subcommand("latency", arguments), &mut self.encoder(out)),
            Local::Module => return module_command(&subcommand("module", arguments), &mut self.encoder(out)),
            Local::Slowlog => return slowlog_command(&subcommand("slowlog", arguments), &mut self.encoder(out)),
            Local::Cluster => return cluster_command(self.shared, self.client, arguments, &mut self.encoder(out)),
            Local::LastSave => {
                let now_s = self.shared.gateway.wall_ms() / 1000;
                self.encoder(out).integer(i64::try_from(now_s).unwrap_or(i64::MAX));
            }
            Local::Shutdown => return self.shut_down(arguments),
            Local::Wait => return self.wait(arguments, out),
            Local::Memory => write_help(&MEMORY_HELP, &mut self.encoder(out)),
            Local::Object => write_help(&OBJECT_HELP, &mut self.encoder(out)),
            Local::Ping if arguments.len() == 1 => self.encoder(out).simple("PONG"),
            Local::Ping | Local::Echo => self.encoder(out).bulk(arguments.slice(1)),
            Local::Quit | Local::CrossProtocol | Local::Save | Local::Sealkv => unreachable!("run before these"),
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

    /// SAVE, BGSAVE: a flush of the state. What was acknowledged is durable before it; behind it a start replays less.
    async fn save(&self, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), ErrorLine> {
        let is_schedule = |position: usize| arguments.slice(position).eq_ignore_ascii_case(b"schedule");
        match arguments.len() {
            1 if arguments.slice(0).len() == "save".len() => {
                let flushed = long_work(self.shared, |operator, _| operator.flush()).await?;
                flushed.map_err(|why| ErrorLine::made(format!("ERR {why}")))?;
                self.encoder(out).simple("OK");
            }
            2 if !is_schedule(1) => return Err(SYNTAX),
            1 | 2 => {
                self.shared.operator.ask_flush();
                self.encoder(out).simple("Background saving started");
            }
            _ => return Err(SYNTAX),
        }
        Ok(())
    }

    /// SHUTDOWN: the node ends as with SIGTERM. There is no answer but the end.
    fn shut_down(&self, arguments: Arguments<'_>) -> Result<(), ErrorLine> {
        for word in arguments.slices_from(1) {
            match word.to_ascii_lowercase().as_slice() {
                b"save" | b"nosave" | b"now" | b"force" => {}
                b"abort" => return Err(ErrorLine::fixed("ERR No shutdown in progress.")),
                _ => return Err(SYNTAX),
            }
        }
        self.shared.operator.shut_down();
        Ok(())
    }

    /// WAIT: what was acknowledged is with a quorum, of which the others are counted.
    fn wait(&self, arguments: Arguments<'_>, out: &mut Vec<u8>) -> Result<(), ErrorLine> {
        parse_integer(arguments.slice(1)).ok_or(NOT_AN_INTEGER)?;
        let timeout_ms = parse_integer(arguments.slice(2));
        match timeout_ms.ok_or(ErrorLine::fixed("ERR timeout is not an integer or out of range"))? {
            ..0 => Err(ErrorLine::fixed("ERR timeout is negative")),
            _ => {
                self.encoder(out).integer(i64::try_from(self.shared.facts.voters() / 2).unwrap_or(i64::MAX));
                Ok(())
            }
        }
    }

    fn time(&self, out: &mut Vec<u8>) {
        let now_ms = self.shared.gateway.wall_ms();
        let mut encoder = self.encoder(out);
        encoder.array(2);
        encoder.bulk((now_ms / 1000).to_string().as_bytes());
        encoder.bulk((now_ms % 1000 * 1000).to_string().as_bytes());
    }

    /// ROLE: as Redis' leader with its replicas, or as a replica of the leader.
    fn role(&self, out: &mut Vec<u8>) {
        let applied = i64::try_from(self.shared.facts.applied_index()).unwrap_or(i64::MAX);
        let role = self.shared.facts.role();
        let membership = self.shared.operator.membership();
        let known = membership.map(|membership| membership.known()).unwrap_or_default();
        let mut encoder = self.encoder(out);
        if let (Role::Follower, Some(membership)) = (role, membership) {
            let leader = membership.leader().and_then(|leader| known.iter().find(|member| member.node == leader));
            encoder.array(5);
            encoder.bulk(role.word().as_bytes());
            encoder.bulk(leader.map_or("", |leader| &leader.host).as_bytes());
            encoder.integer(leader.map_or(0, |leader| leader.client_port.into()));
            encoder.bulk(if leader.is_some() { b"connected" } else { b"connect" });
            return encoder.integer(applied);
        }
        let myself = membership.map_or(0, |membership| membership.node());
        let others: Vec<_> = known.iter().filter(|member| member.node != myself).collect();
        encoder.array(3);
        encoder.bulk(role.word().as_bytes());
        encoder.integer(applied);
        encoder.array(others.len());
        for other in others {
            encoder.array(3);
            encoder.bulk(other.host.as_bytes());
            encoder.bulk(other.client_port.to_string().as_bytes());
            encoder.bulk(applied.to_string().as_bytes());
        }
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
