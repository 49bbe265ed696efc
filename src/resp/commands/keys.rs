//! Commands on keys whatever their value, and on the whole database; local ones whose arguments are looked at first.

use crate::fsm::command::ExpireIf;
use crate::fsm::command::KeyFact;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::TtlForm;
use crate::fsm::command::WriteCommand;
use crate::resp::commands::Action;
use crate::resp::commands::ActionResult;
use crate::resp::commands::Call;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::Local;
use crate::resp::commands::SYNTAX;
use crate::resp::commands::arguments::TimeForm;

pub(super) fn del(call: &Call<'_>) -> ActionResult {
    Ok(Action::Write(WriteCommand::Delete { keys: call.keys_from(1)? }))
}

pub(super) fn exists(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Exists { keys: call.keys_from(1)? }))
}

pub(super) fn type_of(call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Type { key: call.key(1)? }))
}

pub(super) fn expire(call: &Call<'_>) -> ActionResult {
    expire_in(call, TimeForm::SECONDS)
}

pub(super) fn pexpire(call: &Call<'_>) -> ActionResult {
    expire_in(call, TimeForm::MILLIS)
}

pub(super) fn expireat(call: &Call<'_>) -> ActionResult {
    expire_in(call, TimeForm::AT_SECONDS)
}

pub(super) fn pexpireat(call: &Call<'_>) -> ActionResult {
    expire_in(call, TimeForm::AT_MILLIS)
}

fn expire_in(call: &Call<'_>, form: TimeForm) -> ActionResult {
    let when = expire_if(call)?;
    let expiry = call.any_expiry(2, form)?;
    Ok(Action::Write(WriteCommand::Expire { key: call.key(1)?, expiry, when }))
}

fn expire_if(call: &Call<'_>) -> Result<ExpireIf, ErrorLine> {
    let (mut none, mut some, mut later, mut sooner) = (false, false, false, false);
    for position in 3..call.len() {
        match () {
            () if call.is_word(position, "nx") => none = true,
            () if call.is_word(position, "xx") => some = true,
            () if call.is_word(position, "gt") => later = true,
            () if call.is_word(position, "lt") => sooner = true,
            () => {
                let given = String::from_utf8_lossy(call.slice(position));
                return Err(ErrorLine::made(format!("ERR Unsupported option {given}")));
            }
        }
    }
    if none && (some || later || sooner) {
        return Err(ErrorLine::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if later && sooner {
        return Err(ErrorLine::fixed("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(match (none, some, later, sooner) {
        (true, ..) => ExpireIf::None,
        // No expiry counts as never, and nothing is later: GT implies XX.
        (_, _, true, _) => ExpireIf::Later,
        (_, true, _, true) => ExpireIf::SomeSooner,
        (_, _, _, true) => ExpireIf::Sooner,
        (_, true, ..) => ExpireIf::Some,
        _ => ExpireIf::Always,
    })
}

pub(super) fn ttl(call: &Call<'_>) -> ActionResult {
    ttl_as(call, TtlForm::Seconds)
}

pub(super) fn pttl(call: &Call<'_>) -> ActionResult {
    ttl_as(call, TtlForm::Millis)
}

pub(super) fn expiretime(call: &Call<'_>) -> ActionResult {
    ttl_as(call, TtlForm::AtSeconds { lead_ms: call.lead_ms })
}

pub(super) fn pexpiretime(call: &Call<'_>) -> ActionResult {
    ttl_as(call, TtlForm::AtMillis { lead_ms: call.lead_ms })
}

fn ttl_as(call: &Call<'_>, form: TtlForm) -> ActionResult {
    Ok(Action::Read(ReadCommand::Ttl { key: call.key(1)?, form }))
}

pub(super) fn persist(call: &Call<'_>) -> ActionResult {
    Ok(Action::Write(WriteCommand::Persist { key: call.key(1)? }))
}

pub(super) fn dbsize(_call: &Call<'_>) -> ActionResult {
    Ok(Action::Read(ReadCommand::Count))
}

pub(super) fn flush(call: &Call<'_>) -> ActionResult {
    let is_known = call.len() == 1 || call.len() == 2 && (call.is_word(1, "async") || call.is_word(1, "sync"));
    let write = if call.name == "flushdb" { WriteCommand::FlushDatabase } else { WriteCommand::FlushAll };
    if is_known { Ok(Action::Write(write)) } else { Err(SYNTAX) }
}

/// OBJECT ENCODING|FREQ|IDLETIME|REFCOUNT key.
pub(super) fn object(call: &Call<'_>) -> ActionResult {
    let facts = [
        ("encoding", KeyFact::Encoding),
        ("freq", KeyFact::Frequency),
        ("idletime", KeyFact::IdleTime),
        ("refcount", KeyFact::References),
    ];
    match facts.into_iter().find(|(word, _)| call.is_word(1, word)) {
        Some((_, fact)) if call.len() == 3 => Ok(Action::Read(ReadCommand::Fact { key: call.key(2)?, fact })),
        Some((word, _)) => Err(ErrorLine::arity(&format!("object|{word}"))),
        None if call.is_word(1, "help") => Ok(Action::Local(Local::Object)),
        None => Err(ErrorLine::subcommand(call.name, call.slice(1))),
    }
}

/// MEMORY USAGE key [SAMPLES count].
pub(super) fn memory(call: &Call<'_>) -> ActionResult {
    if call.is_word(1, "help") {
        return Ok(Action::Local(Local::Memory));
    }
    if !call.is_word(1, "usage") {
        return Err(ErrorLine::subcommand(call.name, call.slice(1)));
    }
    match call.len() {
        3 => {}
        5 if call.is_word(3, "samples") && call.integer(4)? >= 0 => {}
        0..3 => return Err(ErrorLine::arity("memory|usage")),
        _ => return Err(SYNTAX),
    }
    Ok(Action::Read(ReadCommand::Fact { key: call.key(2)?, fact: KeyFact::Memory }))
}

pub(super) fn ping(call: &Call<'_>) -> ActionResult {
    if call.len() > 2 { Err(ErrorLine::arity(call.name)) } else { Ok(Action::Local(Local::Ping)) }
}
