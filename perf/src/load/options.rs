//! What a run of the load generator is asked for.

use std::time::Duration;

use crate::protocol::Protocol;

pub const USAGE: &str =
    "usage: load --address HOST:PORT[,HOST:PORT..] [--protocol redis|etcd] [--op set|get] [--clients N]
            [--rate PER_SECOND | --pipeline N] [--seconds S] [--requests N] [--keys N | --in-order FIRST]
            [--value-bytes N] [--seed N]";

/// What each request does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// SET of a random key.
    Set,
    /// GET of a random key.
    Get,
}

impl Op {
    pub fn name(self) -> &'static str {
        match self {
            Op::Set => "set",
            Op::Get => "get",
        }
    }
}

/// See `USAGE`.
pub struct Options {
    /// Connections are spread over all of them.
    pub addresses: Vec<String>,
    pub protocol: Protocol,
    pub op: Op,
    pub clients: usize,
    /// Requests a second over all connections; `None`: a closed loop of pipelines.
    pub rate: Option<f64>,
    pub pipeline: usize,
    pub duration: Duration,
    /// So many at most; without a duration that was said, until they are sent.
    pub requests: Option<u64>,
    pub keys: u64,
    /// Keys from this one on, each once, instead of random ones.
    pub in_order: Option<u64>,
    pub value_bytes: usize,
    pub seed: u64,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            addresses: Vec::new(),
            protocol: Protocol::Redis,
            op: Op::Set,
            clients: 50,
            rate: None,
            pipeline: 1,
            duration: Duration::ZERO,
            requests: None,
            keys: 100_000,
            in_order: None,
            value_bytes: 256,
            seed: 1,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            match name.as_str() {
                "--address" => options.addresses = value.split(',').map(str::to_owned).collect(),
                "--protocol" => {
                    options.protocol = match value.as_str() {
                        "redis" => Protocol::Redis,
                        "etcd" => Protocol::Etcd,
                        _ => return Err(format!("--protocol {value}: expected redis or etcd")),
                    };
                }
                "--op" => {
                    options.op = match value.as_str() {
                        "set" => Op::Set,
                        "get" => Op::Get,
                        _ => return Err(format!("--op {value}: expected set or get")),
                    };
                }
                "--clients" => options.clients = number(&name, &value, 1, 20_000)?,
                "--rate" => options.rate = Some(number(&name, &value, 1, 100_000_000)? as f64),
                "--pipeline" => options.pipeline = number(&name, &value, 1, 10_000)?,
                "--seconds" => options.duration = Duration::from_secs(number(&name, &value, 1, 86_400)? as u64),
                "--requests" => options.requests = Some(number(&name, &value, 1, 10_000_000_000)? as u64),
                "--in-order" => options.in_order = Some(number(&name, &value, 0, 100_000_000_000)? as u64),
                "--keys" => options.keys = number(&name, &value, 1, 10_000_000_000)? as u64,
                "--value-bytes" => options.value_bytes = number(&name, &value, 0, 8 << 20)?,
                "--seed" => options.seed = number(&name, &value, 0, usize::MAX)? as u64,
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if options.duration.is_zero() {
            options.duration = if options.requests.is_some() { DAY } else { Duration::from_secs(10) };
        }
        if options.addresses.is_empty() {
            return Err("--address HOST:PORT is missing".to_owned());
        }
        if options.rate.is_some() && options.pipeline != 1 {
            return Err("--rate and --pipeline: expected one of them".to_owned());
        }
        Ok(options)
    }
}

const DAY: Duration = Duration::from_secs(86_400);

fn number(name: &str, value: &str, least: usize, most: usize) -> Result<usize, String> {
    let problem = || format!("{name} {value}: expected a number from {least} to {most}");
    let number = value.parse().map_err(|_| problem())?;
    if (least..=most).contains(&number) { Ok(number) } else { Err(problem()) }
}
