//! `scripts/bench load`: requests to a server of the Redis protocol (or etcd's gateway) at a fixed rate, and how long each of them took.
//!
//! Open loop: request n is due at `begin + n / rate`, whatever the server does, and its latency counts from then. A
//! server that stops for a second is charged with that second for each request that was due in it (no coordinated
//! omission). Without a rate the loop is closed: each connection has a pipeline of requests under way, always.
//!
//! One thread, epoll, no allocation per request, so that on few cores most of the time is left to the server.

#![deny(missing_docs)]

mod connection;
mod host;
mod options;
mod protocol;

use std::io;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use hdrhistogram::Histogram;
use rustix::event::Timespec;
use rustix::event::epoll;

use crate::connection::Connection;
use crate::connection::Workload;
use crate::host::Undisturbed;
use crate::options::Options;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}");
            eprintln!("{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(result) => {
            result.print(&options);
            if result.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("{}: {error}", options.addresses.join(","));
            ExitCode::FAILURE
        }
    }
}

/// What came of a run. Latencies are in microseconds.
struct Outcome {
    replies: u64,
    errors: u64,
    /// Requests that were due and had no reply when the time was over and five seconds more.
    unanswered: u64,
    elapsed: Duration,
    micros: Histogram<u64>,
    undisturbed: Undisturbed,
}

impl Outcome {
    fn print(&self, options: &Options) {
        let quantile = |quantile| self.micros.value_at_quantile(quantile);
        let line = serde_json::json!({
            "op": options.op.name(), "clients": options.clients, "rate": options.rate, "pipeline": options.pipeline,
            "value_bytes": options.value_bytes, "keys": options.keys, "seconds": self.elapsed.as_secs_f64(),
            "requests_per_second": self.replies as f64 / self.elapsed.as_secs_f64(),
            "replies": self.replies, "errors": self.errors, "unanswered": self.unanswered,
            "p50_micros": quantile(0.5), "p99_micros": quantile(0.99), "p999_micros": quantile(0.999),
            "max_micros": self.micros.max(), "undisturbed": self.undisturbed.summary(),
        });
        println!("{line}");
    }
}

fn run(options: &Options) -> io::Result<Outcome> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(options.clients);
    for place in 0..options.clients {
        let connection = Connection::open(&options.addresses[place % options.addresses.len()], options.protocol)?;
        let interest = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&poll, connection.socket(), epoll::EventData::new_u64(place as u64), interest)?;
        connections.push(connection);
    }
    let mut workload = Workload::new(options);
    let mut micros = Histogram::new_with_bounds(1, 600_000_000, 3).expect("bounds are fixed");
    let mut errors = 0;
    let mut sent: u64 = 0;
    let mut events = Vec::with_capacity(1024);
    let begin = Instant::now();
    let mut undisturbed = Undisturbed::new(&micros, begin);
    let mut end = begin + options.duration;
    let requests = options.requests.unwrap_or(u64::MAX);
    loop {
        let now = Instant::now();
        undisturbed.look(now);
        if sent >= requests {
            end = end.min(now);
        }
        let is_over = now >= end;
        if !is_over {
            match options.rate {
                Some(rate) => {
                    while sent < requests && due_at(begin, sent, rate) <= now {
                        let due = due_at(begin, sent, rate);
                        connections[sent as usize % options.clients].queue(&mut workload, due);
                        sent += 1;
                    }
                }
                None => {
                    for connection in &mut connections {
                        // A whole pipeline at a time, as clients send it.
                        if connection.waiting() == 0 {
                            for _ in 0..options.pipeline.min((requests - sent) as usize) {
                                connection.queue(&mut workload, now);
                                sent += 1;
                            }
                        }
                    }
                }
            }
        }
        let mut waiting = 0;
        for connection in &mut connections {
            connection.write()?;
            waiting += connection.waiting() as u64;
        }
        if is_over && (waiting == 0 || now >= end + LAST_REPLIES) {
            let replies = sent - waiting;
            return Ok(Outcome { replies, errors, unanswered: waiting, elapsed: now - begin, micros, undisturbed });
        }
        let next = match options.rate {
            Some(rate) if !is_over => due_at(begin, sent, rate),
            _ => now + Duration::from_millis(10),
        };
        let timeout = next.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout))?;
        for event in &events {
            let connection = &mut connections[event.data.u64() as usize];
            connection.read(|due, is_error| {
                errors += u64::from(is_error);
                let took = due.elapsed().as_micros() as u64;
                micros.saturating_record(took);
                undisturbed.record(took);
            })?;
        }
    }
}

/// When request `n` is due, counted from 0.
fn due_at(begin: Instant, n: u64, rate: f64) -> Instant {
    begin + Duration::from_secs_f64(n as f64 / rate)
}

/// How long replies are waited for when the time is over.
const LAST_REPLIES: Duration = Duration::from_secs(5);
