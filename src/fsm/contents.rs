//! Every row of a view, opened: for whoever copies the data or compares it. What cannot be read is named and passed over.

use std::ops::RangeInclusive;

use bytes::Bytes;

use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowBatch;
use crate::fsm::reader::RowReader;
use crate::fsm::table::stretches;
use crate::fsm::value::Header;
use crate::fsm::value::Value;
use crate::fsm::view::View;
use crate::fsm::walk::MetRow;

/// A row with its body as it stands inside the envelope.
#[derive(Debug)]
pub struct OpenedRow {
    /// Where it is.
    pub name: RowName,
    /// Its header.
    pub header: Header,
    /// Kind, last change, key and value.
    pub body: Bytes,
}

impl OpenedRow {
    /// The user's key and the value.
    ///
    /// # Errors
    /// [`ReadError::Malformed`].
    pub fn decode(&self) -> Result<(Bytes, Value), ReadError> {
        Ok(Value::decode_body(self.header, self.body.clone())?)
    }
}

/// What a visitor is told.
#[derive(Debug)]
pub enum Content {
    /// A row.
    Row(OpenedRow),
    /// One row that does not open.
    Shut(RowName, ReadError),
    /// Rows that cannot be read, with the text of the reason; nobody knows how many.
    Lost(RangeInclusive<RowName>, String),
}

/// Calls `visit` with everything in a view in the order of names, until it answers false. Holds one row at a time, and
/// the pointers to the rows of one stretch of the tables.
pub fn each_content(reader: &RowReader, view: &View<dyn RowBase>, visit: &mut dyn FnMut(Content) -> bool) {
    for database in Database::all() {
        for number in 0..stretches() {
            let mut lost = Vec::new();
            let mut tell_lost =
                |names: RangeInclusive<RowName>, error: &BaseError| lost.push((names, error.to_string()));
            let goes_on = view.walk_what_opens(
                database,
                number,
                &mut |name, row| match opened(reader, name, row) {
                    Ok(row) => visit(Content::Row(row)),
                    Err(error) => visit(Content::Shut(name, error)),
                },
                &mut tell_lost,
            );
            let goes_on =
                lost.into_iter().fold(goes_on, |goes_on, (names, why)| goes_on && visit(Content::Lost(names, why)));
            if !goes_on {
                return;
            }
        }
    }
}

fn opened(reader: &RowReader, name: RowName, row: MetRow<'_>) -> Result<OpenedRow, ReadError> {
    match row {
        MetRow::Base(row) => {
            let mut batch = RowBatch::default();
            batch.add(reader.cipher(), &name, Some(row));
            batch.open();
            let (header, body) = batch.body(0)?.expect("the row was added");
            Ok(OpenedRow { name, header, body: Bytes::copy_from_slice(body) })
        }
        MetRow::Table(row) => {
            let mut body = Vec::with_capacity(row.body_len());
            row.encode_body(&mut body);
            Ok(OpenedRow { name, header: row.header(), body: body.into() })
        }
    }
}
