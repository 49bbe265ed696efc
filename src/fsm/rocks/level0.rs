//! The merge of level 0 that is under way: what it has taken, and how far its rows say that it is.

use std::time::Duration;

use crate::fsm::name::Database;
use crate::fsm::name::RowName;

/// A merge goes from the lowest name to the highest, and the names of a database are spread evenly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level0Merge {
    pub(crate) files: u64,
    /// CPU that it has taken.
    pub(crate) spent: Duration,
    /// The database of the row that it has come to, the part of that database's names behind it, and the CPU of the databases before.
    database: Option<Database>,
    pub(crate) part: f64,
    before: Duration,
}

impl Level0Merge {
    /// One that merges so many files.
    pub(crate) fn of(files: u64) -> Level0Merge {
        Level0Merge { files, ..Level0Merge::default() }
    }

    /// It has come to the row of such a key; rows of the state record tell nothing.
    pub(crate) fn comes_to(&mut self, key: &[u8]) {
        let Some(name) = RowName::from_bytes(key) else { return };
        let database = Some(name.database());
        if self.database != database {
            (self.database, self.before) = (database, self.spent);
        }
        let top = name.name().first_chunk().expect("a name is longer than this");
        self.part = f64::from(u32::from_be_bytes(*top)) / f64::from(u32::MAX);
    }

    /// Seconds of CPU in all, as far as its rows tell: of the databases behind this one they tell nothing.
    pub(crate) fn told(&self) -> Option<f64> {
        let here = self.spent.saturating_sub(self.before).as_secs_f64();
        (self.part >= PART_LEAST).then(|| self.before.as_secs_f64() + here / self.part)
    }
}

/// Part of a database's names, from which on they tell how long all of them take.
const PART_LEAST: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::name::NAME_LEN;

    /// The row of a name of which the first byte is `top`.
    fn row(database: u8, top: u8) -> RowName {
        let mut name = [0; NAME_LEN];
        name[0] = top;
        RowName::new(Database::new(database).unwrap(), name)
    }

    #[test]
    fn the_rows_tell_what_a_merge_takes_database_by_database() {
        let mut merge = Level0Merge::of(8);
        merge.comes_to(row(0, 0).as_bytes());
        merge.spent = Duration::from_secs(1);
        assert_eq!(merge.told(), None, "it has just begun");
        merge.comes_to(row(0, 32).as_bytes());
        assert!((merge.told().unwrap() - 8.0).abs() < 0.01, "an eighth took 1 s");
        merge.spent = Duration::from_secs(20);
        merge.comes_to(row(1, 0).as_bytes());
        merge.spent = Duration::from_secs(25);
        merge.comes_to(row(1, 128).as_bytes());
        assert!((merge.told().unwrap() - 30.0).abs() < 0.1, "20 s, and half of the second took 5 s");
        let whole = row(1, 255);
        for odd in [&b""[..], &[0, 1], &whole.as_bytes()[1..], &whole.as_bytes()[..9]] {
            let before = merge.told();
            merge.comes_to(odd);
            assert_eq!(merge.told(), before, "no name of a user");
        }
    }
}
