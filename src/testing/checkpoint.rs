//! A checkpoint of a state as files: one of the state record, and rows by the first bits of their names, so that a later
//! checkpoint has some of the same files.
//!
//! ```text
//! RECORD     length(4) of the applied row, the row, the keyring row, if there is one
//! rows-N     of each row: name(17), length(4), the row
//! ```

use std::collections::BTreeMap;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::base::BaseError;
use crate::fsm::base::RowBase;
use crate::fsm::name::RowName;
use crate::testing::base::MemoryBase;
use crate::testing::picture::Picture;

/// The files of what is flushed.
pub(super) fn files(base: &dyn RowBase) -> BTreeMap<String, Vec<u8>> {
    let picture = Picture::of_base(base);
    let mut record = length(picture.applied.len()).to_vec();
    record.extend_from_slice(&picture.applied);
    record.extend(picture.keyring.into_iter().flatten());
    let mut files = BTreeMap::from([(RECORD.to_owned(), record)]);
    for (name, row) in picture.rows {
        let part = name.as_bytes()[1] >> 5;
        let file = files.entry(format!("rows-{part}")).or_default();
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(&length(row.len()));
        file.extend_from_slice(&row);
    }
    files
}

/// The state in files.
///
/// # Errors
/// [`BaseError`]: they are not those of a checkpoint.
pub(super) fn open(files: &BTreeMap<String, Vec<u8>>) -> Result<MemoryBase, BaseError> {
    let picture = read(files).map_err(|error| BaseError::Backend(format!("a simulated checkpoint {error}")))?;
    Ok(picture.to_base())
}

fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<Picture, CodecError> {
    let record = files.get(RECORD).ok_or(CodecError::Field { field: RECORD })?;
    let mut reader = Reader::new(record);
    let applied = take_row(&mut reader)?.to_vec();
    let keyring = Some(reader.rest().to_vec()).filter(|row| !row.is_empty());
    let mut rows = BTreeMap::new();
    for bytes in files.iter().filter(|(name, _)| name.starts_with("rows-")).map(|(_, bytes)| bytes) {
        let mut reader = Reader::new(bytes);
        while reader.remaining() > 0 {
            let name: [u8; 17] = reader.array("name")?;
            let name = RowName::from_bytes(&name).ok_or(CodecError::Field { field: "name" })?;
            rows.insert(name, take_row(&mut reader)?.to_vec());
        }
    }
    Ok(Picture { rows, applied, keyring })
}

fn take_row<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], CodecError> {
    let length = reader.u32("length of a row")? as usize;
    reader.slice(length, "row")
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("a small row").to_be_bytes()
}

const RECORD: &str = "RECORD";
