//! What the tables above the state hold in memory, and what the base below them holds, for any thread that asks.

use std::sync::Arc;
use std::sync::Weak;

use crate::apply::flush::Flusher;
use crate::fsm::base::BaseMemory;
use crate::fsm::base::Pressure;
use crate::fsm::base::RowBase;
use crate::fsm::kept::KeptRows;
use crate::fsm::view::View;
use crate::fsm::view::Views;

/// Asks whoever still lives: it keeps no state open.
pub struct TableGauge {
    views: Weak<Views<dyn RowBase>>,
    flusher: Weak<Flusher>,
}

/// Bytes of the tables, as of about now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableMemory {
    /// The table that is written.
    pub table_bytes: u64,
    /// The one that is being flushed, or was.
    pub frozen_bytes: u64,
    /// What was flushed and stays while there is space.
    pub kept_bytes: u64,
    /// What was in tables and is not dropped yet.
    pub dropping_bytes: u64,
}

impl TableMemory {
    pub(super) fn of(view: &View<dyn RowBase>, flusher: Option<&Flusher>) -> TableMemory {
        // First: what is buried meanwhile is counted once or not at all.
        let dropping_bytes = flusher.map_or(0, Flusher::buried_bytes);
        TableMemory {
            dropping_bytes,
            table_bytes: view.table.memory_bytes(),
            frozen_bytes: view.frozen.memory_bytes(),
            kept_bytes: view.kept.memory_bytes(),
        }
    }

    /// All of it.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.table_bytes + self.frozen_bytes + self.kept_bytes + self.dropping_bytes
    }

    /// All of it that cannot be let go of, and that has to lie in what the tables may take. What is dropped may lie in the
    /// `kept_bytes_max` of kept rows, as far as there are fewer of these: a stretch of them, or all behind a FLUSHALL.
    #[must_use]
    pub fn needed(&self, kept_bytes_max: u64) -> u64 {
        let dropped_apart = kept_bytes_max.saturating_sub(self.kept_bytes);
        self.table_bytes + self.frozen_bytes + self.dropping_bytes.saturating_sub(dropped_apart)
    }
}

impl TableGauge {
    pub(super) fn new(views: &Arc<Views<dyn RowBase>>, flusher: &Arc<Flusher>) -> TableGauge {
        TableGauge { views: Arc::downgrade(views), flusher: Arc::downgrade(flusher) }
    }

    /// What the tables hold now, and what the base does; nothing of a state that is gone.
    #[must_use]
    pub fn load(&self) -> (TableMemory, BaseMemory) {
        self.view().map_or_else(Default::default, |view| (self.tables_of(&view), view.base.memory()))
    }

    /// What the tables hold now. Does not ask the base.
    #[must_use]
    pub fn tables(&self) -> TableMemory {
        self.view().map_or_else(TableMemory::default, |view| self.tables_of(&view))
    }

    /// The rows that stay in memory; `None` if the state is gone.
    #[must_use]
    pub fn kept(&self) -> Option<Arc<KeptRows>> {
        Some(Arc::clone(&self.view()?.kept))
    }

    /// How far merging of the base's files is behind; nothing of a state that is gone, or that cannot say so.
    #[must_use]
    pub fn pressure(&self) -> Option<Pressure> {
        self.view()?.base.pressure().ok()
    }

    fn tables_of(&self, view: &View<dyn RowBase>) -> TableMemory {
        TableMemory::of(view, self.flusher.upgrade().as_deref())
    }

    fn view(&self) -> Option<Arc<View<dyn RowBase>>> {
        Some(self.views.upgrade()?.load())
    }
}

debug_fields!(self: TableGauge { held: self.load() });
