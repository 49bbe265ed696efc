//! Logs of other projects. Each call returns when its group is durable; groups in flight are threads.

use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft_engine::Config;
use raft_engine::Engine;
use raft_engine::LogBatch;
use raft_engine::MessageExt;
use raft_engine::ReadableSize;
use raft_proto::eraftpb::Entry;

use crate::run::Cell;
use crate::run::Contestant;
use crate::run::payload;
use crate::run::threads;

/// TiKV's log: no compression, 64 MiB files, recycled.
pub struct RaftEngine {
    engine: Engine,
    /// Newest index of each thread's region.
    newest: [AtomicU64; 4],
    purges: AtomicU64,
}

#[derive(Clone)]
struct Entries;

impl MessageExt for Entries {
    type Entry = Entry;

    fn index(entry: &Entry) -> u64 {
        entry.index
    }
}

impl RaftEngine {
    pub fn new(dir: &Path) -> RaftEngine {
        let config = Config {
            dir: dir.to_str().expect("a path in UTF-8").to_owned(),
            batch_compression_threshold: ReadableSize::kb(0),
            target_file_size: ReadableSize::mb(64),
            purge_threshold: ReadableSize::mb(256),
            enable_log_recycle: true,
            ..Config::default()
        };
        let engine = Engine::open(config).expect("raft-engine");
        RaftEngine { engine, newest: Default::default(), purges: AtomicU64::new(0) }
    }
}

impl Contestant for RaftEngine {
    fn name(&self) -> String {
        "raft-engine 0.4.2".to_owned()
    }

    fn run(&mut self, cell: Cell, limit: Duration) -> Vec<Duration> {
        let data = bytes::Bytes::from(payload(cell.entry_bytes));
        let keep = (64 << 20) / (cell.entry_bytes as u64 + 64);
        threads(cell, limit, |thread, turn| {
            let (region, newest) = (thread as u64 + 1, &self.newest[thread]);
            let first = newest.load(Ordering::Relaxed) + 1;
            let entry = |index| Entry { index, term: 1, data: data.clone(), ..Entry::default() };
            let entries: Vec<Entry> = (first..first + cell.group as u64).map(entry).collect();
            let mut batch = LogBatch::with_capacity(cell.group);
            batch.add_entries::<Entries>(region, &entries).expect("entries that follow");
            self.engine.write(&mut batch, true).expect("a durable write");
            newest.store(first + cell.group as u64 - 1, Ordering::Relaxed);
            if turn % 64 == 63 && first > keep {
                self.engine.compact_to(region, first - keep);
                if self.purges.fetch_add(1, Ordering::Relaxed) % 16 == 15 {
                    self.engine.purge_expired_files().expect("a purge");
                }
            }
        })
    }
}

/// okaywal, its checkpoints thrown away.
pub struct Okay {
    log: okaywal::WriteAheadLog,
}

impl Okay {
    pub fn new(dir: &Path) -> Okay {
        let config = okaywal::Configuration::default_for(dir)
            .preallocate_bytes(64 << 20)
            .checkpoint_after_bytes(60 << 20)
            .buffer_bytes(1 << 20);
        Okay { log: config.open(okaywal::LogVoid).expect("okaywal") }
    }
}

impl Contestant for Okay {
    fn name(&self) -> String {
        "okaywal 0.3.1".to_owned()
    }

    fn run(&mut self, cell: Cell, limit: Duration) -> Vec<Duration> {
        let data = payload(cell.entry_bytes);
        threads(cell, limit, |_, _| {
            let mut entry = self.log.begin_entry().expect("an entry");
            for _ in 0..cell.group {
                entry.write_chunk(&data).expect("a chunk");
            }
            entry.commit().expect("a durable commit");
        })
    }
}
