//! A state as a whole, byte for byte, whichever part of it is flushed: what replicas are compared by, and copied with.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::apply::commit::State;
use crate::apply::seal::seal_table;
use crate::fsm::base::RowBase;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::testing::base::MemoryBase;

/// Every row as the base has it, or would have it after a flush, and the state record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Picture {
    /// Users' rows.
    pub rows: BTreeMap<RowName, Vec<u8>>,
    /// The applied row.
    pub applied: Vec<u8>,
    /// The keyring row.
    pub keyring: Option<Vec<u8>>,
}

impl Picture {
    /// What is flushed.
    ///
    /// # Panics
    /// If the base cannot be read, or is none.
    #[must_use]
    pub fn of_base(base: &dyn RowBase) -> Picture {
        let mut rows = BTreeMap::new();
        base.walk(all_names(), &mut |name, row| {
            rows.insert(name, row.to_vec());
            true
        })
        .expect("the base can be read");
        let state = |row| base.flushed_state(row).expect("the base can be read");
        let applied = state(StateRow::Applied).expect("a state has a record");
        Picture { rows, applied, keyring: state(StateRow::Keyring) }
    }

    /// What is applied. Between runs.
    ///
    /// # Panics
    /// If the base cannot be read.
    #[must_use]
    pub fn of(state: &State) -> Picture {
        let view = state.newest();
        let mut picture = Picture::of_base(&*view.base);
        for table in [&view.frozen, &view.table] {
            for database in table.cleared().iter() {
                picture.rows.retain(|name, _| name.database() != database);
            }
            let sealed = seal_table(table, &mut |name, row| {
                match row {
                    Some(row) => drop(picture.rows.insert(*name, row.to_vec())),
                    None => drop(picture.rows.remove(name)),
                }
                Ok::<(), ()>(())
            });
            sealed.expect("the machine has ruled out what cannot be sealed");
        }
        let StateRows { applied, keyring } = state.record().encode();
        Picture { applied, keyring, ..picture }
    }

    /// A base of its own with these bytes.
    ///
    /// # Panics
    /// Never: memory takes a file.
    #[must_use]
    pub fn to_base(&self) -> MemoryBase {
        let record = StateRows { applied: self.applied.clone(), keyring: self.keyring.clone() };
        let base = MemoryBase::new(record.clone());
        let mut file = base.begin_file(&record).expect("memory takes a file");
        for (name, row) in &self.rows {
            file.put(name, row).expect("memory takes a row");
        }
        file.finish().expect("memory takes a file").ingest().expect("memory takes a file");
        base
    }
}

fn all_names() -> RangeInclusive<RowName> {
    let last = Database::all().last().expect("there is one");
    RowName::new(Database::FIRST, [0x00; NAME_LEN])..=RowName::new(last, [0xff; NAME_LEN])
}
