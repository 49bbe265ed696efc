//! Commands that put a value under another key, or somewhere else: RENAME, COPY, MOVE, DUMP, RESTORE; DEL with a condition.

use bytes::Bytes;

use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::WriteCommand;
use crate::fsm::dump::DumpError;
use crate::fsm::dump::restore as restored;
use crate::fsm::kv::words;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::Action;
use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::SYNTAX;
use crate::resp::commands::arguments::database_argument;

pub(super) fn rename(call: &Call<'_>) -> ActionResult {
    Ok(Action::Write(WriteCommand::Rename { key: call.key(1)?, target: call.key(2)?, absent_only: false }))
}

pub(super) fn renamenx(call: &Call<'_>) -> ActionResult {
    Ok(Action::Write(WriteCommand::Rename { key: call.key(1)?, target: call.key(2)?, absent_only: true }))
}

pub(super) fn copy(call: &Call<'_>) -> ActionResult {
    let (mut target_database, mut replaces, mut position) = (call.database, false, 3);
    while position < call.len() {
        if call.is_word(position, "replace") {
            replaces = true;
            position += 1;
        } else if call.is_word(position, "db") && position + 1 < call.len() {
            target_database = database_argument(call.arguments, position + 1)?;
            position += 2;
        } else {
            return Err(SYNTAX);
        }
    }
    let (key, target) = (call.key(1)?, call.key(2)?);
    if target_database == call.database && key == target {
        return Err(SAME);
    }
    Ok(Action::Write(WriteCommand::Copy { key, target, target_database, replaces }))
}

pub(super) fn move_to(call: &Call<'_>) -> ActionResult {
    let target_database = database_argument(call.arguments, 2)?;
    if target_database == call.database {
        return Err(SAME);
    }
    Ok(Action::Write(WriteCommand::Move { key: call.key(1)?, target_database }))
}

pub(super) fn dump(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Dump { key: call.key(1)? }))
}

pub(super) fn restore(call: &Call<'_>) -> ActionResult {
    let (replaces, is_absolute) = restore_options(call)?;
    let key = call.key(1)?;
    match restored_value(call, is_absolute) {
        Ok((expiry, value)) => {
            Ok(Action::Write(WriteCommand::Restore { key, value: Bytes::from(value), expiry, replaces }))
        }
        Err(line) if replaces => Err(ErrorLine::fixed(line)),
        // Redis looks whether the key is there before it looks at the payload.
        Err(line) => Ok(Action::Read(ReadCommand::Refuse { key, there: words::BUSY_KEY, absent: Some(line) })),
    }
}

/// Whether there is REPLACE, and ABSTTL. What Redis evicts by is checked, and not used.
fn restore_options(call: &Call<'_>) -> Result<(bool, bool), ErrorLine> {
    let (mut replaces, mut is_absolute, mut has_idle, mut has_frequency) = (false, false, false, false);
    let mut position = 4;
    while position < call.len() {
        let has_more = position + 1 < call.len();
        match () {
            () if call.is_word(position, "replace") => replaces = true,
            () if call.is_word(position, "absttl") => is_absolute = true,
            () if call.is_word(position, "idletime") && has_more && !has_frequency => {
                position += 1;
                if call.integer(position)? < 0 {
                    return Err(ErrorLine::fixed("ERR Invalid IDLETIME value, must be >= 0"));
                }
                has_idle = true;
            }
            () if call.is_word(position, "freq") && has_more && !has_idle => {
                position += 1;
                if !(0..=255).contains(&call.integer(position)?) {
                    return Err(ErrorLine::fixed("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
                has_frequency = true;
            }
            () => return Err(SYNTAX),
        }
        position += 1;
    }
    Ok((replaces, is_absolute))
}

fn restored_value(call: &Call<'_>, is_absolute: bool) -> Result<(Expiry, Vec<u8>), &'static str> {
    let ttl = parse_integer(call.slice(2)).ok_or(words::NOT_INTEGER)?;
    let expiry = match ttl {
        0 => Expiry::Clear,
        ..0 => return Err("ERR Invalid TTL value, must be >= 0"),
        ttl if is_absolute => Expiry::At(ttl.saturating_add_unsigned(call.lead_ms)),
        ttl => Expiry::In(ttl),
    };
    let value = restored(call.slice(3)).map_err(|error| match error {
        DumpError::VersionOrChecksum => "ERR DUMP payload version or checksum are wrong",
        DumpError::Format => "ERR Bad data format",
        DumpError::Long => words::TOO_LONG,
    })?;
    Ok((expiry, value))
}

pub(super) fn delex(call: &Call<'_>) -> ActionResult {
    let key = call.key(1)?;
    let wants_equal = match call.len() {
        2 => return Ok(Action::Write(WriteCommand::Delete { keys: vec![key] })),
        4 if call.is_word(2, "ifeq") => true,
        4 if call.is_word(2, "ifne") => false,
        _ => return Err(SYNTAX),
    };
    Ok(Action::Write(WriteCommand::DeleteIfValue { key, wants_equal, compared: call.value(3)? }))
}

pub(super) fn delifeq(call: &Call<'_>) -> ActionResult {
    let (key, compared) = (call.key(1)?, call.value(2)?);
    Ok(Action::Write(WriteCommand::DeleteIfValue { key, wants_equal: true, compared }))
}

const SAME: ErrorLine = ErrorLine::fixed("ERR source and destination objects are the same");
