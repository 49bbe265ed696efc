//! RocksDB's write-ahead log as a contestant of `scripts/bench peers log`: synced writes, files recycled. It is a bench of
//! this package, so that RocksDB is compiled once; `perf/log` starts it and asks it for turns.

// The C library's syncs are counted at its door.
#![allow(unsafe_code)]

#[path = "../perf/log/src/run.rs"]
mod run;
#[path = "../perf/log/src/syncs.rs"]
mod syncs;
#[path = "../perf/log/src/turns.rs"]
mod turns;

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rocksdb::DB;
use rocksdb::DBCompressionType;
use rocksdb::DBRecoveryMode;
use rocksdb::Options;
use rocksdb::WriteBatch;
use rocksdb::WriteOptions;

use crate::run::Cell;
use crate::run::Contestant;
use crate::run::payload;
use crate::run::threads;

fn main() {
    let dir = std::env::args().nth(1).expect("a directory");
    turns::serve(&mut Rocks::new(Path::new(&dir)));
}

/// One database; each group is a batch of keys of its own.
struct Rocks {
    db: DB,
    written: AtomicU64,
}

impl Rocks {
    fn new(dir: &Path) -> Rocks {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_recycle_log_file_num(4);
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_write_buffer_size(64 << 20);
        Rocks { db: DB::open(&options, dir).expect("RocksDB"), written: AtomicU64::new(0) }
    }
}

impl Contestant for Rocks {
    fn name(&self) -> String {
        "rocksdb 0.25".to_owned()
    }

    fn run(&mut self, cell: Cell, limit: Duration) -> Vec<Duration> {
        let data = payload(cell.entry_bytes);
        let mut options = WriteOptions::default();
        options.set_sync(true);
        threads(cell, limit, |_, _| {
            let first = self.written.fetch_add(cell.group as u64, Ordering::Relaxed);
            let mut batch = WriteBatch::default();
            (first..first + cell.group as u64).for_each(|key| batch.put(key.to_be_bytes(), &data));
            self.db.write_opt(batch, &options).expect("a durable write");
        })
    }
}
