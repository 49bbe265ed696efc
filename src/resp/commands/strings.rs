//! Commands on strings: SET and its relatives, numbers, ranges.

use bytes::Bytes;

use crate::fsm::command::Expiry;
use crate::fsm::command::LcsAnswer;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::kv::words;
use crate::limits::VALUE_BYTES_MAX;
use crate::resp::commands::Action;
use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::NOT_AN_INTEGER;
use crate::resp::commands::SYNTAX;
use crate::resp::commands::arguments::TimeForm;

pub(super) fn get(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Get { key: call.key(1)? }))
}

pub(super) fn mget(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::GetMany { keys: call.keys_from(1)? }))
}

pub(super) fn strlen(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Length { key: call.key(1)? }))
}

pub(super) fn getrange(call: &Call<'_>) -> ActionResult {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    Ok(Action::Read(ReadCommand::Range { key: call.key(1)?, start, end }))
}

pub(super) fn set(call: &Call<'_>) -> ActionResult {
    let options = SetOptions::parse(call, 3, OptionsOf::Set)?;
    let expiry = match options.expiry {
        Some((form, position)) => call.future_expiry(position, form)?,
        None if options.is_kept => Expiry::Keep,
        None => Expiry::Clear,
    };
    let reply = if options.wants_old { SetReply::Old } else { SetReply::Ok };
    if let Some((wants_equal, position)) = options.compared {
        let (key, value, compared) = (call.key(1)?, call.value(2)?, call.value(position)?);
        return Ok(Action::Write(WriteCommand::SetIfValue { key, value, compared, wants_equal, expiry, reply }));
    }
    Ok(Action::Write(WriteCommand::Set { key: call.key(1)?, value: call.value(2)?, when: options.when, expiry, reply }))
}

pub(super) fn setnx(call: &Call<'_>) -> ActionResult {
    let (key, value) = (call.key(1)?, call.value(2)?);
    let (when, expiry, reply) = (SetIf::Absent, Expiry::Clear, SetReply::Integer);
    Ok(Action::Write(WriteCommand::Set { key, value, when, expiry, reply }))
}

pub(super) fn setex(call: &Call<'_>) -> ActionResult {
    set_for(call, TimeForm::SECONDS)
}

pub(super) fn psetex(call: &Call<'_>) -> ActionResult {
    set_for(call, TimeForm::MILLIS)
}

fn set_for(call: &Call<'_>, form: TimeForm) -> ActionResult {
    let expiry = call.future_expiry(2, form)?;
    let (key, value) = (call.key(1)?, call.value(3)?);
    Ok(Action::Write(WriteCommand::Set { key, value, when: SetIf::Always, expiry, reply: SetReply::Ok }))
}

pub(super) fn getset(call: &Call<'_>) -> ActionResult {
    let (key, value) = (call.key(1)?, call.value(2)?);
    let (when, expiry, reply) = (SetIf::Always, Expiry::Clear, SetReply::Old);
    Ok(Action::Write(WriteCommand::Set { key, value, when, expiry, reply }))
}

pub(super) fn getdel(call: &Call<'_>) -> ActionResult {
    Ok(Action::Write(WriteCommand::GetDelete { key: call.key(1)? }))
}

pub(super) fn getex(call: &Call<'_>) -> ActionResult {
    let options = SetOptions::parse(call, 2, OptionsOf::GetEx)?;
    let key = call.key(1)?;
    let expiry = match options.expiry {
        Some((form, position)) => match call.future_expiry(position, form) {
            Ok(expiry) => expiry,
            Err(refusal) if refusal == NOT_AN_INTEGER => {
                return Ok(Action::Read(ReadCommand::Refuse { key, there: words::NOT_INTEGER, absent: None }));
            }
            Err(_) => {
                return Ok(Action::Read(ReadCommand::Refuse { key, there: words::GETEX_EXPIRE, absent: None }));
            }
        },
        None if options.is_persisted => Expiry::Clear,
        None => return Ok(Action::Read(ReadCommand::Get { key })),
    };
    Ok(Action::Write(WriteCommand::GetExpire { key, expiry }))
}

pub(super) fn mset(call: &Call<'_>) -> ActionResult {
    set_many(call, false)
}

pub(super) fn msetnx(call: &Call<'_>) -> ActionResult {
    set_many(call, true)
}

fn set_many(call: &Call<'_>, absent_only: bool) -> ActionResult {
    if call.len().is_multiple_of(2) {
        return Err(ErrorLine::arity(call.name));
    }
    let pairs = (1..call.len()).step_by(2).map(|position| Ok((call.key(position)?, call.value(position + 1)?)));
    let pairs = pairs.collect::<Result<Vec<(Bytes, Bytes)>, ErrorLine>>()?;
    Ok(Action::Write(WriteCommand::SetMany { pairs, absent_only }))
}

pub(super) fn append(call: &Call<'_>) -> ActionResult {
    Ok(Action::Write(WriteCommand::Append { key: call.key(1)?, value: call.value(2)? }))
}

pub(super) fn setrange(call: &Call<'_>) -> ActionResult {
    let offset = call.integer(2)?;
    if offset < 0 {
        return Err(ErrorLine::fixed("ERR offset is out of range"));
    }
    let value = call.value(3)?;
    // Nothing to write changes nothing, at any offset: the answer is the length as it is.
    let offset = if value.is_empty() { 0 } else { u32::try_from(offset).unwrap_or(u32::MAX) };
    if offset as usize + value.len() > VALUE_BYTES_MAX {
        return Err(ErrorLine::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    Ok(Action::Write(WriteCommand::SetRange { key: call.key(1)?, offset, value }))
}

pub(super) fn incr(call: &Call<'_>) -> ActionResult {
    increment_by(call, 1)
}

pub(super) fn decr(call: &Call<'_>) -> ActionResult {
    increment_by(call, -1)
}

pub(super) fn incrby(call: &Call<'_>) -> ActionResult {
    increment_by(call, call.integer(2)?)
}

pub(super) fn decrby(call: &Call<'_>) -> ActionResult {
    let delta = call.integer(2)?.checked_neg();
    increment_by(call, delta.ok_or(ErrorLine::fixed("ERR decrement would overflow"))?)
}

fn increment_by(call: &Call<'_>, delta: i64) -> ActionResult {
    Ok(Action::Write(WriteCommand::IncrementBy { key: call.key(1)?, delta }))
}

pub(super) fn incrbyfloat(call: &Call<'_>) -> ActionResult {
    if call.slice(2).len() > FLOAT_BYTES_MAX {
        return Err(ErrorLine::fixed("ERR value is not a valid float"));
    }
    Ok(Action::Write(WriteCommand::IncrementByFloat { key: call.key(1)?, delta: call.arguments.shared(2) }))
}

pub(super) fn lcs(call: &Call<'_>) -> ActionResult {
    let keys = vec![call.key(1)?, call.key(2)?];
    let (mut wants_length, mut wants_ranges, mut shows_lengths, mut least) = (false, false, false, 0);
    let mut position = 3;
    while position < call.len() {
        match () {
            () if call.is_word(position, "idx") => wants_ranges = true,
            () if call.is_word(position, "len") => wants_length = true,
            () if call.is_word(position, "withmatchlen") => shows_lengths = true,
            () if call.is_word(position, "minmatchlen") && position + 1 < call.len() => {
                position += 1;
                least = u64::try_from(call.integer(position)?).unwrap_or(0);
            }
            () => return Err(SYNTAX),
        }
        position += 1;
    }
    let answer = match (wants_ranges, wants_length) {
        (true, true) => {
            let line = "ERR If you want both the length and indexes, please just use IDX.";
            return Err(ErrorLine::fixed(line));
        }
        (true, false) => LcsAnswer::Ranges { least, shows_lengths },
        (false, true) => LcsAnswer::Length,
        (false, false) => LcsAnswer::Bytes,
    };
    Ok(Action::Read(ReadCommand::CommonSubsequence { keys, answer }))
}

/// Whose options are parsed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OptionsOf {
    Set,
    GetEx,
}

/// The options of SET and GETEX, none in conflict with another.
#[derive(Default)]
struct SetOptions {
    when: SetIf,
    wants_old: bool,
    /// IFEQ or not, and the position of the value.
    compared: Option<(bool, usize)>,
    is_kept: bool,
    is_persisted: bool,
    /// Form, and the position of the number.
    expiry: Option<(TimeForm, usize)>,
}

impl SetOptions {
    fn parse(call: &Call<'_>, first: usize, of: OptionsOf) -> Result<SetOptions, ErrorLine> {
        let mut options = SetOptions::default();
        let mut position = first;
        while position < call.len() {
            if let Some(form) = time_form(call.slice(position)) {
                let is_first = options.expiry.is_none_or(|(other, _)| other == form);
                if !is_first || options.is_kept || options.is_persisted || position + 1 >= call.len() {
                    return Err(SYNTAX);
                }
                options.expiry = Some((form, position + 1));
                position += 2;
                continue;
            }
            if of == OptionsOf::Set && (call.is_word(position, "ifeq") || call.is_word(position, "ifne")) {
                let is_only = options.compared.is_none() && options.when == SetIf::Always;
                if !is_only || position + 1 >= call.len() {
                    return Err(SYNTAX);
                }
                options.compared = Some((call.is_word(position, "ifeq"), position + 1));
                position += 2;
                continue;
            }
            match of {
                OptionsOf::Set => options.take_set_word(call, position)?,
                OptionsOf::GetEx if call.is_word(position, "persist") && options.expiry.is_none() => {
                    options.is_persisted = true;
                }
                OptionsOf::GetEx => return Err(SYNTAX),
            }
            position += 1;
        }
        Ok(options)
    }

    fn take_set_word(&mut self, call: &Call<'_>, position: usize) -> Result<(), ErrorLine> {
        if call.is_word(position, "nx") && self.when != SetIf::Present && self.compared.is_none() {
            self.when = SetIf::Absent;
        } else if call.is_word(position, "xx") && self.when != SetIf::Absent && self.compared.is_none() {
            self.when = SetIf::Present;
        } else if call.is_word(position, "get") {
            self.wants_old = true;
        } else if call.is_word(position, "keepttl") && self.expiry.is_none() {
            self.is_kept = true;
        } else {
            return Err(SYNTAX);
        }
        Ok(())
    }
}

fn time_form(word: &[u8]) -> Option<TimeForm> {
    let forms = [
        ("ex", TimeForm::SECONDS),
        ("px", TimeForm::MILLIS),
        ("exat", TimeForm::AT_SECONDS),
        ("pxat", TimeForm::AT_MILLIS),
    ];
    forms.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes())).map(|(_, form)| form)
}

/// Longest text that Redis takes for a long double.
const FLOAT_BYTES_MAX: usize = 5 * 1024;
