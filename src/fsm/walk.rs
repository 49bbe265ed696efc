//! A walk over the rows of a view in the order of names: its tables and the base, merged.
//!
//! A walk is of no single moment, and takes no lock for longer than it takes to copy the names of one stretch of a table. A row that
//! is there all the time is met; so is nothing that was gone before.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::fsm::base::BaseError;
use crate::fsm::base::PinnedRows;
use crate::fsm::base::RowBase;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::row::FoundRow;
use crate::fsm::row::RowFate;
use crate::fsm::table::Stretch;
use crate::fsm::table::shard_of;
use crate::fsm::table::stretches;
use crate::fsm::table_row::TableRow;
use crate::fsm::value::Header;
use crate::fsm::value::ValueError;
use crate::fsm::view::Pinning;
use crate::fsm::view::View;
use crate::fsm::view::Views;
use crate::limits::COUNT_ROWS_MAX;

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
            MetRow::Table(row) => Ok(row.header()),
            MetRow::Base(row) => Header::split(row).map(|(header, _)| header),
        }
    }

    /// About how many bytes it takes to open.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            MetRow::Table(row) => row.value().bytes.len(),
            MetRow::Base(row) => row.len(),
        }
    }
}

/// What is told of a row without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDeadline {
    /// When it expires, in ms since 1970; 0 = never.
    pub expire_at_ms: u64,
    /// About how many bytes it takes to open.
    pub bytes: usize,
}

/// Why a walk ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The base cannot be read.
    #[error("state on disk")]
    Base(#[from] BaseError),
    /// Damage: one row. A walk may go on behind it.
    #[error("a stored value is malformed")]
    Row {
        /// Which.
        name: RowName,
        /// What is wrong with it.
        #[source]
        source: ValueError,
    },
}

impl From<WalkError> for ReadError {
    fn from(error: WalkError) -> ReadError {
        match error {
            WalkError::Base(error) => error.into(),
            WalkError::Row { source, .. } => source.into(),
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
        let mut visit = |name, row: Option<MetRow<'_>>| row.is_none_or(|row| visit(name, row));
        Ok(self.walk_piece(database, number, None, usize::MAX, &mut visit)?.is_some())
    }

    /// The same for names behind `behind`, of which each table is asked for `most`; `visit` is told of rows that were deleted
    /// in a table, too. The last name that was reached; `None` if `visit` answered false.
    fn walk_piece(
        &self,
        database: Database,
        number: usize,
        behind: Option<RowName>,
        most: usize,
        visit: &mut dyn FnMut(RowName, Option<MetRow<'_>>) -> bool,
    ) -> Result<Option<RowName>, BaseError> {
        let Above { rows, hides_base, last } = self.above(database, number, behind, most);
        let mut above = rows.into_iter().peekable();
        let mut goes_on = true;
        let tell = |name: RowName, fate: &RowFate, visit: &mut dyn FnMut(RowName, Option<MetRow<'_>>) -> bool| {
            visit(name, fate.as_ref().map(MetRow::Table))
        };
        if !hides_base {
            let first = behind.unwrap_or(*names_of(database, number).start());
            self.base.walk(first..=last, &mut |name, row| {
                if Some(name) == behind {
                    return true;
                }
                while let Some((before, fate)) = above.next_if(|(other, _)| *other < name) {
                    goes_on = goes_on && tell(before, &fate, visit);
                }
                goes_on = goes_on
                    && match above.next_if(|(other, _)| *other == name) {
                        Some((_, fate)) => tell(name, &fate, visit),
                        None => visit(name, Some(MetRow::Base(row))),
                    };
                goes_on
            })?;
        }
        for (name, fate) in above {
            goes_on = goes_on && tell(name, &fate, visit);
        }
        Ok(goes_on.then_some(last))
    }

    /// What the tables know of the names behind `behind` in a stretch, up to where one of them was asked for `most` rows.
    fn above(&self, database: Database, number: usize, behind: Option<RowName>, most: usize) -> Above {
        let is_here = |name: &RowName| name.database() == database && shard_of(name) == number;
        let hot = self.hot.rows().filter(|(name, _)| is_here(name) && behind.is_none_or(|behind| **name > behind));
        let rows = hot.map(|(name, fate)| (*name, fate.clone())).collect();
        let hides_base = self.hot.cleared().has(database);
        let mut above = Above { rows, hides_base, last: *names_of(database, number).end() };
        for table in [&self.table, &self.frozen] {
            if above.hides_base {
                break;
            }
            let Stretch { cleared, rows, cut_at } = table.stretch_behind(database, number, behind, most);
            above.last = cut_at.map_or(above.last, |last| last.min(above.last));
            for (name, fate) in rows {
                above.rows.entry(name).or_insert(fate);
            }
            above.hides_base = cleared;
        }
        let last = above.last;
        above.rows.retain(|name, _| *name <= last);
        above
    }
}

impl View<dyn RowBase> {
    /// Calls `visit` with every row of a stretch of a database that can be read, upward, until it answers false; false if it
    /// did. `lost` hears of the names whose rows cannot be read, and why.
    pub fn walk_what_opens(
        &self,
        database: Database,
        number: usize,
        visit: &mut dyn FnMut(RowName, MetRow<'_>) -> bool,
        lost: &mut dyn FnMut(RangeInclusive<RowName>, &BaseError),
    ) -> bool {
        let Above { rows, hides_base, .. } = self.above(database, number, None, usize::MAX);
        let mut above = rows.into_iter().peekable();
        let mut goes_on = true;
        let tell = |name: RowName, fate: &RowFate, visit: &mut dyn FnMut(RowName, MetRow<'_>) -> bool| {
            fate.as_ref().is_none_or(|row| visit(name, MetRow::Table(row)))
        };
        let mut left = Some(names_of(database, number)).filter(|_| !hides_base);
        while let Some(names) = left.take().filter(|_| goes_on) {
            let mut newest = None;
            let walked = self.base.walk(names.clone(), &mut |name, row| {
                newest = Some(name);
                while let Some((before, fate)) = above.next_if(|(other, _)| *other < name) {
                    goes_on = goes_on && tell(before, &fate, visit);
                }
                goes_on = goes_on
                    && match above.next_if(|(other, _)| *other == name) {
                        Some((_, fate)) => tell(name, &fate, visit),
                        None => visit(name, MetRow::Base(row)),
                    };
                goes_on
            });
            if let Err(error) = walked {
                let first = newest.map_or(*names.start(), |name| name_at(database, place(&name).saturating_add(1)));
                let behind = self.first_that_opens(first, *names.end());
                let end = behind.map_or(*names.end(), |behind| name_at(database, place(&behind) - 1));
                lost(first..=end, &error);
                left = behind.map(|behind| behind..=*names.end());
            }
        }
        for (name, fate) in above {
            goes_on = goes_on && tell(name, &fate, visit);
        }
        goes_on
    }

    /// A name above `first`, where a walk to `last` can begin again, not far above the first such one; `None` if there is none.
    fn first_that_opens(&self, first: RowName, last: RowName) -> Option<RowName> {
        let (database, from, most) = (first.database(), place(&first), place(&last) - place(&first));
        let opens = |gap: u128| {
            let begin = name_at(database, from + gap);
            self.base.walk(begin..=last, &mut |_, _| false).is_ok()
        };
        let mut gap = 1;
        while gap <= most && !opens(gap) {
            gap = gap.saturating_mul(2);
        }
        if gap > most {
            return opens(most).then_some(last).filter(|_| most > 0);
        }
        // It does not open from `low` on, and does from `gap` on.
        let mut low = gap / 2;
        for _ in 0..SEARCH_STEPS {
            let middle = low + (gap - low) / 2;
            if middle == low || middle == gap {
                break;
            }
            if opens(middle) {
                gap = middle;
            } else {
                low = middle;
            }
        }
        Some(name_at(database, from + gap))
    }
}

/// The name as a number.
fn place(name: &RowName) -> u128 {
    u128::from_be_bytes(*name.name())
}

fn name_at(database: Database, place: u128) -> RowName {
    RowName::new(database, place.to_be_bytes())
}

/// Halvings of what a damaged block is taken to hide: rows beside it that are lost with it are few.
const SEARCH_STEPS: u32 = 20;

/// What the tables of a view know of a piece of a stretch.
struct Above {
    rows: BTreeMap<RowName, RowFate>,
    /// This is all there is.
    hides_base: bool,
    /// The piece ends with this name.
    last: RowName,
}

impl Views<dyn RowBase> {
    /// Calls `visit` with the name and the header of every row of a database, upward, until it answers false.
    ///
    /// # Errors
    /// [`WalkError`]: at a damaged row it ends.
    pub fn walk_headers(
        &self,
        database: Database,
        visit: &mut dyn FnMut(RowName, Header) -> bool,
    ) -> Result<(), WalkError> {
        let mut damage = None;
        for number in 0..stretches() {
            let mut visit = until_damage(&mut damage, |name, header, _| visit(name, header));
            // A view for each stretch: an old one would keep whole tables in memory.
            if !self.load().walk_stretch(database, number, &mut visit)? {
                break;
            }
        }
        damage.map_or(Ok(()), Err)
    }

    /// Calls `visit` with the name, the deadline and the size of every row behind `behind`, upward through all databases, until it
    /// answers false. It hears of rows that were deleted since the last flush as well, with nothing but their names, so that it
    /// can bound how far it looks. Copies at most `most` rows of a table at once.
    ///
    /// # Errors
    /// [`WalkError`]: at a damaged row it ends.
    pub fn walk_behind(
        &self,
        behind: Option<RowName>,
        most: usize,
        visit: &mut dyn FnMut(RowName, Option<RowDeadline>) -> bool,
    ) -> Result<(), WalkError> {
        let mut damage = None;
        let mut visit = |name, row: Option<MetRow<'_>>| match row.map(|row| (row.header(), row.bytes())) {
            None => visit(name, None),
            Some((Ok(header), bytes)) => visit(name, Some(RowDeadline { expire_at_ms: header.expire_at_ms, bytes })),
            Some((Err(source), _)) => {
                damage = Some(WalkError::Row { name, source });
                false
            }
        };
        let first = behind.map_or(Database::FIRST, |behind| behind.database());
        for database in Database::all().filter(|database| *database >= first) {
            let behind = behind.filter(|_| database == first);
            if !self.walk_database(database, behind, most, &mut visit)? {
                break;
            }
        }
        damage.map_or(Ok(()), Err)
    }

    /// How many keys of a database are not past due at `now_ms`. Up to [`COUNT_ROWS_MAX`] rows are counted. Where there are more, the
    /// number follows from how far these reach in the order of names, over which rows are spread evenly.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn count(&self, database: Database, now_ms: u64) -> Result<u64, WalkError> {
        let (mut rows, mut live, mut last) = (0, 0, None);
        self.walk_headers(database, &mut |name, header| {
            rows += 1;
            live += u64::from(!header.is_past_due(now_ms));
            last = Some(name);
            rows < COUNT_ROWS_MAX
        })?;
        Ok(match last {
            Some(last) if rows == COUNT_ROWS_MAX => scaled(live, &last),
            _ => live,
        })
    }

    /// Whether there is a row that is not past due at `now_ms`, by its header.
    ///
    /// # Errors
    /// [`WalkError`].
    pub fn is_live(&self, name: &RowName, now_ms: u64) -> Result<bool, WalkError> {
        let view = self.load();
        match view.find(name) {
            FoundRow::Row(row) => Ok(!row.is_past_due(now_ms)),
            FoundRow::Gone => Ok(false),
            FoundRow::Below => {
                let mut found = Ok(false);
                view.base.row(name, &mut |row| {
                    found = Header::split(row).map(|(header, _)| !header.is_past_due(now_ms));
                })?;
                found.map_err(|source| WalkError::Row { name: *name, source })
            }
        }
    }

    /// The same for one database, whatever the rows hold; false if `visit` answered that.
    ///
    /// # Errors
    /// [`BaseError`] if the base cannot be read.
    pub fn walk_database(
        &self,
        database: Database,
        behind: Option<RowName>,
        most: usize,
        visit: &mut dyn FnMut(RowName, Option<MetRow<'_>>) -> bool,
    ) -> Result<bool, BaseError> {
        let first = behind.map_or(0, |behind| shard_of(&behind));
        for number in first..stretches() {
            let mut behind = behind.filter(|_| number == first);
            while behind != Some(*names_of(database, number).end()) {
                behind = self.load().walk_piece(database, number, behind, most, visit)?;
                if behind.is_none() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

impl Pinning for dyn RowBase {
    type Pinned<'b> = Box<dyn PinnedRows + 'b>;

    fn pin(&self) -> Self::Pinned<'_> {
        RowBase::pin(self)
    }
}

/// Takes the header of each row to `visit`; at a damaged one, `damage` is what is wrong, and the walk ends.
fn until_damage(
    damage: &mut Option<WalkError>,
    mut visit: impl FnMut(RowName, Header, usize) -> bool,
) -> impl FnMut(RowName, MetRow<'_>) -> bool {
    move |name, row| match row.header() {
        Ok(header) => visit(name, header, row.bytes()),
        Err(source) => {
            *damage = Some(WalkError::Row { name, source });
            false
        }
    }
}

/// As many as there are of all names, if there are `count` up to `last`.
fn scaled(count: u64, last: &RowName) -> u64 {
    let place = u64::from_be_bytes(*last.name().first_chunk().expect("a name is longer"));
    let all = (u128::from(count) << 64) / (u128::from(place) + 1);
    u64::try_from(all).unwrap_or(u64::MAX)
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
