//! Reads of one key: what their reply is, and many of them at once for a pipeline, shown where their values lie.

use crate::fsm::command::KeyReply;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::TtlForm;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::RowReader;
use crate::fsm::value::ValueRef;
use crate::limits::FETCH_BATCH_ROWS_MAX;

/// What one of several reads came to.
#[derive(Debug)]
pub enum KeyAnswer<'a> {
    /// The reply.
    Reply(KeyReply<'a>),
    /// This row is there by the applied stamp and past due by the leader's clock: have it removed, then read again.
    PastDue(RowName),
    /// This value cannot be read.
    Failed(ReadError),
}

/// Answers the first of several reads of one key each, in their order and as of one moment, on the leader: at most
/// [`KEY_READS_MAX`], fewer where values are large or `visit` answers false, but always one.
///
/// # Errors
/// [`ReadError`] if the state cannot be read; then nothing was answered.
///
/// # Panics
/// If one of them is not of one key.
pub fn read_keys_as_leader(
    reader: &RowReader,
    reads: &[(Database, ReadCommand)],
    clock_ms: u64,
    visit: &mut dyn FnMut(KeyAnswer<'_>) -> bool,
) -> Result<(), ReadError> {
    match reads.len() {
        // Without a pipeline: space for more would be set up in vain.
        1 => read_few::<1>(reader, reads, clock_ms, visit),
        count => read_few::<KEY_READS_MAX>(reader, &reads[..count.min(KEY_READS_MAX)], clock_ms, visit),
    }
}

/// The same for at most `MAX` reads.
fn read_few<const MAX: usize>(
    reader: &RowReader,
    reads: &[(Database, ReadCommand)],
    clock_ms: u64,
    visit: &mut dyn FnMut(KeyAnswer<'_>) -> bool,
) -> Result<(), ReadError> {
    let mut rows = [RowKey::named(RowName::new(Database::FIRST, [0; NAME_LEN])); MAX];
    let rows = &mut rows[..reads.len()];
    name_rows::<MAX>(reader, reads, rows)?;
    let mut answered = reads.iter().zip(&*rows);
    reader.show_each(rows, &mut |stamp_ms, found| {
        let ((_, read), row) = answered.next().expect("one value for each row");
        visit(match found.map(|found| found.filter(|value| !value.is_past_due(stamp_ms))) {
            Err(error) => KeyAnswer::Failed(error),
            Ok(Some(value)) if value.is_past_due(clock_ms) => KeyAnswer::PastDue(row.name),
            Ok(value) => KeyAnswer::Reply(key_reply(read, value, stamp_ms.max(clock_ms))),
        })
    })
}

fn name_rows<'a, const MAX: usize>(
    reader: &RowReader,
    reads: &'a [(Database, ReadCommand)],
    rows: &mut [RowKey<'a>],
) -> Result<(), ReadError> {
    let mut keys = [&[][..]; MAX];
    let mut names = [[0; NAME_LEN]; MAX];
    for (place, (_, read)) in keys.iter_mut().zip(reads) {
        let [key] = read.keys() else { panic!("a read of one key") };
        *place = key;
    }
    reader.name_key()?.names(&keys[..reads.len()], &mut names[..reads.len()]);
    for (((row, (database, _)), key), name) in rows.iter_mut().zip(reads).zip(keys).zip(names) {
        *row = RowKey::new(RowName::new(*database, name), key);
    }
    Ok(())
}

/// The reply to a read of one key whose value this is.
///
/// # Panics
/// If it is not of one key.
pub(super) fn key_reply<'v>(read: &ReadCommand, value: Option<ValueRef<'v>>, now_ms: u64) -> KeyReply<'v> {
    match read {
        ReadCommand::Get { .. } => value.map_or(KeyReply::Null, |value| KeyReply::Bulk(value.bytes)),
        ReadCommand::Length { .. } => {
            let len = value.map_or(0, |value| value.bytes.len());
            KeyReply::Integer(i64::try_from(len).unwrap_or(i64::MAX))
        }
        ReadCommand::Range { start, end, .. } => {
            KeyReply::Bulk(range(value.map_or(&[], |value| value.bytes), *start, *end))
        }
        ReadCommand::Ttl { form, .. } => KeyReply::Integer(ttl(value, *form, now_ms)),
        ReadCommand::Type { .. } => KeyReply::Simple(if value.is_some() { "string" } else { "none" }),
        ReadCommand::Refuse { there, absent, .. } => match value {
            Some(_) => KeyReply::Error(there),
            None => absent.map_or(KeyReply::Null, KeyReply::Error),
        },
        other => unreachable!("not a read of one key: {other:?}"),
    }
}

/// GETRANGE as Redis has it: both ends inclusive, negative from the end, cut to what there is.
fn range(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let place = |at: i64| if at < 0 { (len.saturating_add(at)).max(0) } else { at };
    if start < 0 && end < 0 && start > end {
        return &[];
    }
    let (first, last) = (place(start), place(end).min(len - 1));
    match (usize::try_from(first), usize::try_from(last)) {
        (Ok(first), Ok(last)) if first <= last => &bytes[first..=last],
        _ => &[],
    }
}

fn ttl(value: Option<ValueRef<'_>>, form: TtlForm, now_ms: u64) -> i64 {
    let Some(value) = value else { return -2 };
    if value.expire_at_ms == 0 {
        return -1;
    }
    let at = value.expire_at_ms;
    let left = at.saturating_sub(now_ms);
    let number = match form {
        TtlForm::Seconds => left.saturating_add(500) / 1000,
        TtlForm::Millis => left,
        TtlForm::AtSeconds { lead_ms } => at.saturating_sub(lead_ms).saturating_add(500) / 1000,
        TtlForm::AtMillis { lead_ms } => at.saturating_sub(lead_ms),
    };
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads that are answered together: what the base fetches and the lanes open at once.
pub const KEY_READS_MAX: usize = FETCH_BATCH_ROWS_MAX;
