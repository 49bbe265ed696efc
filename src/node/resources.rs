//! Whether the process may have the threads and the memory that a node takes. RocksDB aborts the process where it gets none,
//! without a line; so they are tried before it begins.

use std::sync::mpsc;
use std::thread;

use rustix::process::Resource;
use rustix::process::getrlimit;

use crate::limits::THREAD_STACK_BYTES_MAX;
use crate::limits::THREADS_OWN;
use crate::node::machine;
use crate::node::refusal::Refusal;

/// Makes as many threads at once as the node needs, and ends them again; then compares the address space with the memory that the
/// node may take.
///
/// # Errors
/// [`Refusal::Threads`], [`Refusal::AddressSpace`]: nothing was opened.
pub(super) fn check(open_threads: usize, memory_bytes: u64) -> Result<(), Refusal> {
    let need = THREADS_OWN + open_threads;
    let made = try_threads(need);
    if made < need {
        return Err(Refusal::Threads { made, need });
    }
    if let Some(machine) = machine::memory_bytes().filter(|machine| memory_bytes > machine / 4 * 3) {
        let (asked, has) = (memory_bytes >> 20, machine >> 20);
        tracing::warn!(
            "the node may take {asked} MiB of the {has} MiB that the machine or the control group has: where nothing is left for \
             others, the kernel ends it"
        );
    }
    match (getrlimit(Resource::As).current, used_address_space()) {
        (Some(limit), Some(used)) if limit < used + memory_bytes => {
            Err(Refusal::AddressSpace { limit, need: used + memory_bytes })
        }
        _ => Ok(()),
    }
}

/// How many of `need` threads could be made at one time. Their stacks are as large as those that RocksDB's threads get.
fn try_threads(need: usize) -> usize {
    let stack = getrlimit(Resource::Stack).current.unwrap_or(0).min(THREAD_STACK_BYTES_MAX);
    let (keep, wait) = mpsc::sync_channel::<()>(0);
    let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
    let mut threads = Vec::new();
    while threads.len() < need {
        let wait = std::sync::Arc::clone(&wait);
        let body = move || drop(wait.lock().map(|wait| wait.recv()));
        match thread::Builder::new().stack_size(usize::try_from(stack).unwrap_or(0)).spawn(body) {
            Ok(thread) => threads.push(thread),
            Err(_) => break,
        }
    }
    let made = threads.len();
    drop(keep);
    for thread in threads {
        // They cannot panic: they wait for a sender that is gone now.
        let _ = thread.join();
    }
    made
}

fn used_address_space() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let total: u64 = pages.split(' ').next()?.parse().ok()?;
    total.checked_mul(rustix::param::page_size() as u64)
}
