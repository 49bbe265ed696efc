//! The locks and the pointer that the tables are shared by, in one place: the model of the tables puts others here, whose
//! every use may be where another thread takes over.

use std::sync::Arc;
pub(crate) use std::sync::Mutex;
pub(crate) use std::sync::MutexGuard;
pub(crate) use std::sync::PoisonError;
pub(crate) use std::sync::RwLock;
pub(crate) use std::sync::RwLockReadGuard;
pub(crate) use std::sync::atomic::AtomicBool;
pub(crate) use std::sync::atomic::AtomicU64;
pub(crate) use std::sync::atomic::AtomicUsize;

use arc_swap::ArcSwap;

/// A pointer that is swapped whole. Readers never wait.
pub(crate) struct Swap<T>(ArcSwap<T>);

impl<T> Swap<T> {
    pub(crate) fn new(value: Arc<T>) -> Swap<T> {
        Swap(ArcSwap::new(value))
    }

    pub(crate) fn load(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub(crate) fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }
}
