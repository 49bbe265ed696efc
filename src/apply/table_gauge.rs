//! What the tables above the state hold in memory, and what the base below them holds, for any thread that asks.

use std::sync::Arc;
use std::sync::Weak;

use crate::apply::flush::Flusher;
use crate::fsm::base::BaseMemory;
use crate::fsm::base::RowBase;
use crate::fsm::view::Views;

/// Asks whoever still lives: it keeps no state open.
pub struct TableGauge {
    views: Weak<Views<dyn RowBase>>,
    flusher: Weak<Flusher>,
}

/// Bytes, as of about now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableMemory {
    /// The table that is written.
    pub table_bytes: u64,
    /// The one that is being flushed, or was.
    pub frozen_bytes: u64,
    /// What was in tables and is not dropped yet.
    pub dropping_bytes: u64,
    /// What the base holds.
    pub base: BaseMemory,
}

impl TableGauge {
    pub(super) fn new(views: &Arc<Views<dyn RowBase>>, flusher: &Arc<Flusher>) -> TableGauge {
        TableGauge { views: Arc::downgrade(views), flusher: Arc::downgrade(flusher) }
    }

    /// What is held now; nothing of a state that is gone.
    #[must_use]
    pub fn load(&self) -> TableMemory {
        let Some(view) = self.views.upgrade().map(|views| views.load()) else { return TableMemory::default() };
        TableMemory {
            table_bytes: view.table.memory_bytes(),
            frozen_bytes: view.frozen.memory_bytes(),
            dropping_bytes: self.flusher.upgrade().map_or(0, |flusher| flusher.buried_bytes()),
            base: view.base.memory(),
        }
    }
}

debug_fields!(self: TableGauge { held: self.load() });
