//! RENAME, COPY, MOVE and RESTORE; SET and DEL that compare the value first.

use crate::fsm::command::Expiry;
use crate::fsm::command::Reply;
use crate::fsm::command::SetReply;
use crate::fsm::kv::execution::CommandEnd;
use crate::fsm::kv::execution::Deadline;
use crate::fsm::kv::execution::Execution;
use crate::fsm::kv::execution::KeyedRow;
use crate::fsm::kv::execution::flag;
use crate::fsm::kv::words;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::reader::Base;
use crate::fsm::table_row::RowBytes;
use crate::fsm::value::Value;

/// What a value must be.
pub(super) struct ValueIs<'a> {
    pub(super) compared: &'a [u8],
    /// It must be that one, or another.
    pub(super) wants_equal: bool,
}

impl ValueIs<'_> {
    fn holds(&self, value: &Value) -> bool {
        (value.bytes == self.compared) == self.wants_equal
    }
}

/// RENAME, RENAMENX.
pub(super) fn rename<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    target: &[u8],
    absent_only: bool,
) -> Result<Reply, CommandEnd> {
    let (source, target) = (run.row(key), run.row(target));
    let old = run.live(source)?.ok_or(CommandEnd::Answer(words::NO_SUCH_KEY))?;
    let is_same = is_same_row(source, target)?;
    if absent_only && (is_same || run.live(target)?.is_some()) {
        return Ok(flag(false));
    }
    if !is_same {
        run.charge(run.kept(Some(&old)))?;
        run.put_old(target, old);
        run.overlay.remove(source.0);
    }
    Ok(if absent_only { flag(true) } else { Reply::Ok })
}

/// COPY. What it makes is charged whole, wherever the value comes from: each copy is a row of its own.
pub(super) fn copy<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    target: &[u8],
    databases: (Database, Database),
    replaces: bool,
) -> Result<Reply, CommandEnd> {
    let (source, target) = (run.row(key), run.row(target));
    let target = (in_database(target.0, databases.1), target.1);
    let Some(old) = run.live(source)? else {
        return Ok(flag(false));
    };
    is_same_row(source, target)?;
    if !replaces && run.live(target)?.is_some() {
        return Ok(flag(false));
    }
    run.charge(old.bytes.len())?;
    run.put_old(target, old);
    Ok(flag(true))
}

/// MOVE.
pub(super) fn move_to<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    databases: (Database, Database),
) -> Result<Reply, CommandEnd> {
    let source = run.row(key);
    let target = (in_database(source.0, databases.1), key);
    let Some(old) = run.live(source)? else {
        return Ok(flag(false));
    };
    if run.live(target)?.is_some() {
        return Ok(flag(false));
    }
    run.charge(run.kept(Some(&old)))?;
    run.put_old(target, old);
    run.overlay.remove(source.0);
    Ok(flag(true))
}

/// RESTORE.
pub(super) fn restore<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    value: &[u8],
    expiry: Expiry,
    replaces: bool,
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    if !replaces && run.live(row)?.is_some() {
        return Err(CommandEnd::Answer(words::BUSY_KEY));
    }
    let ms = match expiry {
        Expiry::Clear | Expiry::Keep => None,
        Expiry::In(ms) => Some(i128::from(run.context.stamp_ms) + i128::from(ms)),
        Expiry::At(ms) => Some(i128::from(ms)),
    };
    let deadline = match ms {
        None => Deadline::At(0),
        Some(ms) => run.deadline_at(ms).ok_or(CommandEnd::Answer(words::RESTORE_EXPIRE))?,
    };
    run.charge(value.len())?;
    run.put_or_remove(row, RowBytes::Copied(value), deadline, 0);
    Ok(Reply::Ok)
}

/// SET IFEQ, SET IFNE.
pub(super) fn set_if<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    value: &[u8],
    condition: &ValueIs<'_>,
    (expiry, reply): (Expiry, SetReply),
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    let deadline = run.positive_deadline(expiry, words::SET_EXPIRE)?;
    let old = run.live(row)?;
    let takes_place = old.as_ref().map_or(!condition.wants_equal, |old| condition.holds(old));
    let old_expire_at_ms = old.as_ref().map_or(0, |old| old.expire_at_ms);
    let answer = match reply {
        SetReply::Old => run.bulk(old)?,
        SetReply::Ok if takes_place => Reply::Ok,
        SetReply::Ok => Reply::Null,
        SetReply::Integer => flag(takes_place),
    };
    if takes_place {
        run.charge(value.len())?;
        run.put_or_remove(row, RowBytes::Copied(value), deadline, old_expire_at_ms);
    }
    Ok(answer)
}

/// DELEX, DELIFEQ.
pub(super) fn delete_if<B: Base + ?Sized>(
    run: &mut Execution<'_, '_, B>,
    key: &[u8],
    condition: &ValueIs<'_>,
) -> Result<Reply, CommandEnd> {
    let row = run.row(key);
    let takes_place = run.live(row)?.is_some_and(|old| condition.holds(&old));
    if takes_place {
        run.overlay.remove(row.0);
    }
    Ok(flag(takes_place))
}

/// Whether both are one row. Two keys of one name are none: where names are clear, somebody can make such keys.
fn is_same_row(source: KeyedRow<'_>, target: KeyedRow<'_>) -> Result<bool, CommandEnd> {
    match (source.0 == target.0, source.1 == target.1) {
        (true, false) => Err(CommandEnd::Answer(words::NAME_TAKEN)),
        (is_same, _) => Ok(is_same),
    }
}

/// The row of the same key in another database: a name says nothing of its database.
fn in_database(name: RowName, database: Database) -> RowName {
    RowName::new(database, *name.name())
}
