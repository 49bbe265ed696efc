//! What the thread that watches does for the rows that stay in memory: room for those that are read, none that the process does
//! not have, and memory that was dropped goes back to the machine. It asks nothing of the base: that may wait for a disk.

use crate::node::memory_numbers::MemoryNumbers;
use crate::node::process;

/// See the head of this file. Counts looks, of which there are two a second.
#[derive(Debug, Default)]
pub(super) struct KeptWatch {
    /// What the tables took at the newest look.
    table_bytes: u64,
    /// Looks at which the allocator is to give memory back.
    gives_back: u32,
    /// Looks before the process is weighed again.
    waits: u32,
}

impl KeptWatch {
    pub(super) fn look(&mut self, memory: &MemoryNumbers) {
        self.give_back(memory.tables.tables().all());
        let Some(kept) = memory.tables.kept().filter(|_| memory.plan.kept_bytes > 0) else { return };
        self.waits = self.waits.saturating_sub(1);
        if self.waits == 0
            && let Some(resident_bytes) = process::resident_bytes()
        {
            let kept_bytes = kept.memory_bytes();
            let allowed = memory.plan.kept_bytes_allowed(kept_bytes, resident_bytes);
            kept.allow(allowed);
            if allowed < kept_bytes.min(memory.plan.kept_bytes) {
                kept.shed_to(allowed);
                self.waits = LOOKS_TO_GIVE_BACK;
            }
        }
        kept.make_room();
    }

    /// The allocator gives free memory back to the kernel when some more is freed, if it was free for a second: on a node that has
    /// dropped a gigabyte and has nothing else to do, never (mimalloc 3: 1.3 GB stayed behind a FLUSHALL). So some is freed
    /// here. Nobody has touched it.
    fn give_back(&mut self, table_bytes: u64) {
        if table_bytes < self.table_bytes {
            self.gives_back = LOOKS_TO_GIVE_BACK;
        }
        self.table_bytes = table_bytes;
        if self.gives_back > 0 {
            self.gives_back -= 1;
            drop(std::hint::black_box(Vec::<u8>::with_capacity(FREED_BYTES)));
        }
    }
}

/// Three seconds: until then the allocator has given back what was dropped.
const LOOKS_TO_GIVE_BACK: u32 = 6;
/// A whole piece of what the allocator has from the kernel.
const FREED_BYTES: usize = 8 << 20;
