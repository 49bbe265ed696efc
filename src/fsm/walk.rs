//! A walk over the rows of a view in the order of names: its tables and the base, merged.
//!
//! A walk is of no single moment, and takes no lock for longer than it takes to copy one stretch of a table. A row that is
//! there all the time is met; so is nothing that was gone before.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::row::RowFate;
use crate::fsm::row::TableRow;
use crate::fsm::table::Stretch;
use crate::fsm::table::shard_of;
use crate::fsm::table::stretches;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;
use crate::fsm::value::ValueError;
use crate::fsm::view::View;
use crate::fsm::view::Views;

/// A row that a walk meets.
#[derive(Clone, Copy, Debug)]
pub enum MetRow<'a> {
    /// In a table.
    Table(&'a TableRow),
    /// In the base: header and body, as they lie there.
    Base(&'a [u8]),
}

impl MetRow<'_> {
    /// The header that its row has, or will have.
    ///
    /// # Errors
    /// [`ValueError`] if a row of the base is none of ours.
    pub fn header(&self) -> Result<Header, ValueError> {
        match self {
            MetRow::Table(row) => {
                let state = if row.at.sealed.is_some() { BodyState::Sealed } else { BodyState::Clear };
                Ok(row.value.header(state))
            }
            MetRow::Base(row) => Header::split(row).map(|(header, _)| header),
        }
    }
}

impl View<dyn RowBase> {
    /// Calls `visit` with every row in a stretch of a database, upward, until it answers false; false if it did.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    pub fn walk_stretch(
        &self,
        database: Database,
        number: usize,
        visit: &mut dyn FnMut(RowName, MetRow<'_>) -> bool,
    ) -> Result<bool, BaseError> {
        let (above, hides_base) = self.above(database, number);
        let mut above = above.into_iter().peekable();
        let mut goes_on = true;
        let tell = |name: RowName, fate: &RowFate, visit: &mut dyn FnMut(RowName, MetRow<'_>) -> bool| {
            fate.as_ref().is_none_or(|row| visit(name, MetRow::Table(row)))
        };
        if !hides_base {
            self.base.walk(names_of(database, number), &mut |name, row| {
                while let Some((before, fate)) = above.next_if(|(other, _)| *other < name) {
                    goes_on = goes_on && tell(before, &fate, visit);
                }
                goes_on = goes_on
                    && match above.next_if(|(other, _)| *other == name) {
                        Some((_, fate)) => tell(name, &fate, visit),
                        None => visit(name, MetRow::Base(row)),
                    };
                goes_on
            })?;
        }
        for (name, fate) in above {
            goes_on = goes_on && tell(name, &fate, visit);
        }
        Ok(goes_on)
    }

    /// What the tables know of a stretch, and whether that is all there is.
    fn above(&self, database: Database, number: usize) -> (BTreeMap<RowName, RowFate>, bool) {
        let is_here = |name: &RowName| name.database() == database && shard_of(name) == number;
        let hot = self.hot.rows().filter(|(name, _)| is_here(name)).map(|(name, fate)| (*name, fate.clone()));
        let mut rows: BTreeMap<RowName, RowFate> = hot.collect();
        if self.hot.cleared().has(database) {
            return (rows, true);
        }
        for table in [&self.table, &self.frozen] {
            let Stretch { cleared, rows: found } = table.stretch(database, number);
            for (name, fate) in found {
                rows.entry(name).or_insert(fate);
            }
            if cleared {
                return (rows, true);
            }
        }
        (rows, false)
    }
}

impl Views<dyn RowBase> {
    /// Calls `visit` with the header of every row of a database, or what is wrong with it, until it answers false.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    pub fn walk_headers(
        &self,
        database: Database,
        visit: &mut dyn FnMut(Result<Header, ValueError>) -> bool,
    ) -> Result<(), BaseError> {
        for number in 0..stretches() {
            // A view for each stretch: an old one would keep whole tables in memory.
            if !self.load().walk_stretch(database, number, &mut |_, row| visit(row.header()))? {
                break;
            }
        }
        Ok(())
    }
}

/// The names of a stretch of a database.
fn names_of(database: Database, number: usize) -> RangeInclusive<RowName> {
    let width = 256 / stretches();
    let end = |byte: usize, rest: u8| {
        let mut name = [rest; NAME_LEN];
        name[0] = u8::try_from(byte).expect("stretches are parts of 256");
        RowName::new(database, name)
    };
    end(number * width, 0x00)..=end(number * width + width - 1, 0xff)
}
