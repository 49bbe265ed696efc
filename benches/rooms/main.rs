//! What one operation of a room costs, now: `cargo bench --features testing --bench rooms -- [FILTER]`.
//!
//! Names are `room::operation/key=value`. Runs are short; `--measurement-time 10` makes them long. Numbers of one run
//! compare with each other and with nothing else.

use std::time::Duration;

use criterion::Criterion;
use criterion::criterion_group;
use criterion::criterion_main;

#[path = "rooms/apply.rs"]
mod apply;
#[path = "rooms/crypto.rs"]
mod crypto;
#[path = "rooms/fsm.rs"]
mod fsm;
#[path = "rooms/resp.rs"]
mod resp;
#[path = "rooms/wal.rs"]
mod wal;

fn small() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group! {
    name = rooms;
    config = small();
    targets = apply::open, crypto::seal, crypto::open, crypto::entries, wal::frames, resp::requests, fsm::sets
}
criterion_main!(rooms);
