//! The limit: the same files and requests without a log. Entries are copied into a buffer, written, and synced; one sync
//! covers all writes that were seen to complete.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use sealkv::disk;
use sealkv::disk::Disk;
use sealkv::disk::DiskConfig;
use sealkv::disk::Done;
use sealkv::disk::EngineChoice;
use sealkv::disk::OpId;
use sealkv::disk::SlotId;
use sealkv::disk::WriteRequest;
use sealkv::disk::padded;

use crate::run::Cell;
use crate::run::Contestant;
use crate::run::payload;

const SLOT: SlotId = SlotId(0);
const SLOT_BYTES: u64 = 512 << 20;

/// A loop over one recycled file.
pub struct Bare {
    disk: Box<dyn Disk>,
    op: u64,
    offset: u64,
    syncs: u64,
}

struct Flight {
    op: u64,
    begin: Instant,
    written: bool,
}

impl Bare {
    pub fn new(dir: &Path, engine: EngineChoice) -> Bare {
        let (buffers, buffer_bytes) = (4, (1 << 20) + 8192);
        let config = DiskConfig { dir: dir.to_owned(), engine, slots_max: 1, buffers, buffer_bytes };
        let mut disk = disk::open(&config).expect("a disk");
        disk.create_slot(SLOT_BYTES, &mut |_| ()).expect("space for the bare loop");
        Bare { disk, op: 0, offset: 0, syncs: 0 }
    }

    fn write(&mut self, cell: Cell, entry: &[u8]) -> Flight {
        let begin = Instant::now();
        let bytes = padded(cell.group * entry.len(), self.disk.block_bytes());
        if self.offset + bytes as u64 > SLOT_BYTES {
            self.offset = 0;
        }
        let mut buffer = self.disk.take_buffer(bytes);
        for place in buffer.chunks_exact_mut(entry.len()).take(cell.group) {
            place.copy_from_slice(entry);
        }
        self.op += 1;
        let write = WriteRequest { op: OpId(self.op), slot: SLOT, offset: self.offset, buffer, from: 0, to: bytes };
        self.disk.submit_write(write).expect("a write");
        self.offset += bytes as u64;
        Flight { op: self.op, begin, written: false }
    }
}

impl Contestant for Bare {
    fn name(&self) -> String {
        format!("bare loop {}", self.disk.engine().word())
    }

    fn own_syncs(&self) -> u64 {
        self.syncs
    }

    fn run(&mut self, cell: Cell, limit: Duration) -> Vec<Duration> {
        let (entry, begin) = (payload(cell.entry_bytes), Instant::now());
        let (mut flights, mut times) = (VecDeque::<Flight>::new(), Vec::new());
        let mut sync: Option<(u64, u64)> = None;
        loop {
            while flights.len() < cell.in_flight && begin.elapsed() < limit {
                flights.push_back(self.write(cell, &entry));
            }
            if flights.is_empty() {
                return times;
            }
            let mut next = self.disk.wait(Duration::from_secs(10)).expect("a completion");
            while let Some(completion) = next {
                match completion.result.expect("a write or sync that works") {
                    Done::Synced => {
                        let (_, up_to) = sync.take().expect("one sync at a time");
                        while let Some(done) = flights.pop_front_if(|flight| flight.op <= up_to) {
                            times.push(done.begin.elapsed());
                        }
                    }
                    Done::Written { .. } => {
                        let flight = flights.iter_mut().find(|flight| flight.op == completion.op.0);
                        flight.expect("a write in flight").written = true;
                        self.disk.return_buffer(completion.buffer.expect("a write's buffer"));
                    }
                }
                next = self.disk.ready();
            }
            let written = flights.iter().take_while(|flight| flight.written).last().map(|flight| flight.op);
            if let (None, Some(up_to)) = (sync, written) {
                // Far above the ops of writes.
                self.syncs += 1;
                sync = Some((self.syncs, up_to));
                self.disk.submit_sync(OpId((1 << 62) + self.syncs), SLOT).expect("a sync");
            }
        }
    }
}
