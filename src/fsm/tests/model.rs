//! What commands mean, written as plainly as possible: a sorted map from which past-due keys vanish before every command.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::fsm::command::BitFieldAction;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitOperation;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::Overflow;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ModelRow {
    pub(super) bytes: Vec<u8>,
    /// 0 = none.
    pub(super) expire_at_ms: u64,
    pub(super) index: u64,
    pub(super) op: u16,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) rows: BTreeMap<Vec<u8>, ModelRow>,
    index: u64,
    stamp_ms: u64,
    op: u16,
}

impl Model {
    pub(super) fn begin(&mut self, index: u64, stamp_ms: u64) {
        (self.index, self.stamp_ms, self.op) = (index, stamp_ms, 0);
    }

    pub(super) fn run(&mut self, write: &WriteCommand) -> Reply {
        let now = self.stamp_ms;
        self.rows.retain(|_, row| row.expire_at_ms == 0 || row.expire_at_ms > now);
        match write {
            WriteCommand::Set { key, value, when, expiry, reply } => self.set(key, value, *when, *expiry, *reply),
            WriteCommand::SetMany { pairs, absent_only } => {
                if *absent_only && pairs.iter().any(|(key, _)| self.has(key)) {
                    return Reply::Integer(0);
                }
                pairs.iter().for_each(|(key, value)| self.put(key, value.to_vec(), 0));
                if *absent_only { Reply::Integer(1) } else { Reply::Ok }
            }
            WriteCommand::Append { key, value } => {
                let bytes = [&self.bytes(key)[..], &value[..]].concat();
                self.keep_deadline(key, bytes.clone());
                int(bytes.len())
            }
            WriteCommand::SetRange { key, offset, value } => {
                let mut bytes = self.bytes(key);
                if !value.is_empty() {
                    let offset = *offset as usize;
                    while bytes.len() < offset + value.len() {
                        bytes.push(0);
                    }
                    bytes.splice(offset..offset + value.len(), value.iter().copied());
                    self.keep_deadline(key, bytes.clone());
                }
                int(bytes.len())
            }
            WriteCommand::IncrementBy { key, delta } => self.increment(key, *delta),
            WriteCommand::IncrementByFloat { key, delta } => self.increment_float(key, delta),
            WriteCommand::GetDelete { key } => {
                self.rows.remove(&key[..]).map_or(Reply::Null, |row| Reply::Bulk(Bytes::from(row.bytes)))
            }
            WriteCommand::GetExpire { key, expiry } => self.get_expire(key, *expiry),
            WriteCommand::Delete { keys } => {
                int(keys.iter().filter(|key| self.rows.remove(&key[..]).is_some()).count())
            }
            WriteCommand::Expire { key, expiry, when } => self.expire(key, *expiry, *when),
            WriteCommand::Persist { key } => int(usize::from(self.persist(key))),
            WriteCommand::FlushAll | WriteCommand::FlushDatabase => {
                self.rows.clear();
                Reply::Ok
            }
            WriteCommand::Rename { absent_only, key, target } => self.rename(key, target, *absent_only),
            WriteCommand::Copy { key, target, replaces, .. } => {
                let takes_place = self.has(key) && (*replaces || !self.has(target));
                if takes_place {
                    self.put(target, self.bytes(key), self.rows[&key[..]].expire_at_ms);
                }
                int(usize::from(takes_place))
            }
            WriteCommand::SetBit { offset, bit, key } => {
                let mut bits = self.bits(key);
                bits.resize(bits.len().max((*offset as usize / 8 + 1) * 8), false);
                let before = std::mem::replace(&mut bits[*offset as usize], *bit);
                self.put_changed(key, packed(&bits));
                int(usize::from(before))
            }
            WriteCommand::CombineBits { operation, target, keys } => self.combine(*operation, target, keys),
            WriteCommand::ChangeBitFields { key, steps } => self.change_fields(key, steps),
            WriteCommand::Restore { replaces, expiry, key, value } => self.restore(key, value, *expiry, *replaces),
            WriteCommand::SetIfValue { wants_equal, reply, expiry, key, value, compared } => {
                let is_equal = self.has(key) && self.bytes(key) == *compared;
                if is_equal == *wants_equal {
                    return self.set(key, value, SetIf::Always, *expiry, *reply);
                }
                match self.deadline(key, *expiry, true) {
                    None => Reply::Error("ERR invalid expire time in 'set' command"),
                    Some(_) if *reply == SetReply::Old => self.old(key),
                    Some(_) => Reply::Null,
                }
            }
            WriteCommand::DeleteIfValue { wants_equal, key, compared } => {
                let takes_place = self.has(key) && (self.bytes(key) == *compared) == *wants_equal;
                if takes_place {
                    self.rows.remove(&key[..]);
                }
                int(usize::from(takes_place))
            }
            // Past-due keys are gone already; what the answer counts is nobody's business.
            other => {
                assert!(matches!(other, WriteCommand::RemoveExpired { .. }), "the model does not know {other:?}");
                Reply::Integer(0)
            }
        }
    }

    fn set(&mut self, key: &[u8], value: &[u8], when: SetIf, expiry: Expiry, reply: SetReply) -> Reply {
        let Some(deadline) = self.deadline(key, expiry, true) else {
            return Reply::Error("ERR invalid expire time in 'set' command");
        };
        let (there, old) = (self.has(key), self.old(key));
        let takes_place = !matches!((when, there), (SetIf::Absent, true) | (SetIf::Present, false));
        if takes_place {
            self.put_until(key, value.to_vec(), deadline);
        }
        match reply {
            SetReply::Old => old,
            SetReply::Integer => int(usize::from(takes_place)),
            SetReply::Ok => {
                if takes_place {
                    Reply::Ok
                } else {
                    Reply::Null
                }
            }
        }
    }

    fn rename(&mut self, key: &[u8], target: &[u8], absent_only: bool) -> Reply {
        if !self.has(key) {
            return Reply::Error("ERR no such key");
        }
        if absent_only && self.has(target) {
            return int(0);
        }
        if key != target {
            self.put(target, self.bytes(key), self.rows[key].expire_at_ms);
            self.rows.remove(key);
        }
        if absent_only { int(1) } else { Reply::Ok }
    }

    fn restore(&mut self, key: &[u8], value: &[u8], expiry: Expiry, replaces: bool) -> Reply {
        if self.has(key) && !replaces {
            return Reply::Error("BUSYKEY Target key name already exists.");
        }
        let expiry = if expiry == Expiry::Keep { Expiry::Clear } else { expiry };
        let Some(deadline) = self.deadline(key, expiry, false) else {
            return Reply::Error("ERR invalid expire time in 'restore' command");
        };
        self.put_until(key, value.to_vec(), deadline);
        Reply::Ok
    }

    fn combine(&mut self, operation: BitOperation, target: &[u8], keys: &[Bytes]) -> Reply {
        let values: Vec<Vec<bool>> = keys.iter().map(|key| self.bits(key)).collect();
        let len = values.iter().map(Vec::len).max().unwrap_or(0);
        let ones = |at: usize| values.iter().filter(|bits| bits.get(at) == Some(&true)).count();
        let bit = |at: usize| match operation {
            BitOperation::And => ones(at) == values.len(),
            BitOperation::Or => ones(at) > 0,
            BitOperation::Xor => ones(at) % 2 == 1,
            BitOperation::Not => ones(at) % 2 == 0,
        };
        let bits: Vec<bool> = (0..len).map(bit).collect();
        if bits.is_empty() {
            self.rows.remove(target);
        } else {
            self.put(target, packed(&bits), 0);
        }
        int(bits.len() / 8)
    }

    fn change_fields(&mut self, key: &[u8], steps: &[BitFieldStep]) -> Reply {
        let mut bits = self.bits(key);
        let writes = steps.iter().filter(|step| step.action != BitFieldAction::Get);
        let end = writes.map(|step| usize::try_from(step.end()).unwrap()).max().unwrap_or(0);
        bits.resize(bits.len().max(end.div_ceil(8) * 8), false);
        let replies = steps.iter().map(|step| field_step(&mut bits, step)).collect();
        self.put_changed(key, packed(&bits));
        Reply::Array(replies)
    }

    fn increment(&mut self, key: &[u8], delta: i64) -> Reply {
        let text = if self.has(key) { self.bytes(key) } else { b"0".to_vec() };
        let Some(number) = String::from_utf8(text).ok().and_then(|text| {
            let number: i64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        }) else {
            return Reply::Error("ERR value is not an integer or out of range");
        };
        let Some(sum) = number.checked_add(delta) else {
            return Reply::Error("ERR increment or decrement would overflow");
        };
        self.keep_deadline(key, sum.to_string().into_bytes());
        Reply::Integer(sum)
    }

    fn increment_float(&mut self, key: &[u8], delta: &[u8]) -> Reply {
        let text = if self.has(key) { self.bytes(key) } else { b"0".to_vec() };
        let (Some(left), Some(right)) = (decimal(&text), decimal(delta)) else {
            return Reply::Error("ERR value is not a valid float");
        };
        let Some(sum) = left.checked_add(right) else {
            return Reply::Error("ERR increment would produce NaN or Infinity");
        };
        let sign = if sum < 0 { "-" } else { "" };
        let digits = format!("{:018}", sum.unsigned_abs());
        let (whole, fraction) = digits.split_at(digits.len() - 17);
        let text = format!("{sign}{whole}.{fraction}");
        let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
        self.keep_deadline(key, text.clone().into_bytes());
        Reply::Bulk(Bytes::from(text))
    }

    fn get_expire(&mut self, key: &[u8], expiry: Expiry) -> Reply {
        if !self.has(key) {
            return Reply::Null;
        }
        let Some(deadline) = self.deadline(key, expiry, true) else {
            return Reply::Error("ERR invalid expire time in 'getex' command");
        };
        let old = self.old(key);
        match expiry {
            Expiry::Keep => {}
            Expiry::Clear => drop(self.persist(key)),
            Expiry::In(_) | Expiry::At(_) => self.put_until(key, self.bytes(key), deadline),
        }
        old
    }

    fn expire(&mut self, key: &[u8], expiry: Expiry, when: ExpireIf) -> Reply {
        match expiry {
            Expiry::Clear => return int(usize::from(self.persist(key))),
            Expiry::Keep => return int(usize::from(self.has(key))),
            Expiry::In(_) | Expiry::At(_) => {}
        }
        let Some(deadline) = self.deadline(key, expiry, false) else {
            return Reply::Error("ERR invalid expire time in 'expire' command");
        };
        let Some(row) = self.rows.get(key) else {
            return Reply::Integer(0);
        };
        let infinite = i128::MAX;
        let current = if row.expire_at_ms == 0 { infinite } else { i128::from(row.expire_at_ms) };
        let takes_place = match when {
            ExpireIf::Always => true,
            ExpireIf::None => current == infinite,
            ExpireIf::Some => current != infinite,
            ExpireIf::Later => deadline > current,
            ExpireIf::Sooner => deadline < current,
            ExpireIf::SomeSooner => current != infinite && deadline < current,
        };
        if takes_place {
            self.put_until(key, self.bytes(key), deadline);
        }
        int(usize::from(takes_place))
    }

    fn persist(&mut self, key: &[u8]) -> bool {
        let changes = self.rows.get(key).is_some_and(|row| row.expire_at_ms != 0);
        if changes {
            self.put(key, self.bytes(key), 0);
        }
        changes
    }

    /// Ms since 1970, 0 = none; `None` = refused.
    fn deadline(&self, key: &[u8], expiry: Expiry, must_be_positive: bool) -> Option<i128> {
        let (number, at) = match expiry {
            Expiry::Clear => return Some(0),
            Expiry::Keep => return Some(self.rows.get(key).map_or(0, |row| i128::from(row.expire_at_ms))),
            Expiry::In(ms) => (ms, i128::from(self.stamp_ms) + i128::from(ms)),
            Expiry::At(ms) => (ms, i128::from(ms)),
        };
        let fits = at <= i128::from(i64::MAX) && (number > 0 || !must_be_positive);
        // 0 means none everywhere else; a deadline of 0 is as past as one of -1.
        fits.then_some(if at == 0 { -1 } else { at })
    }

    fn put_until(&mut self, key: &[u8], bytes: Vec<u8>, deadline: i128) {
        if deadline != 0 && deadline <= i128::from(self.stamp_ms) {
            self.rows.remove(key);
        } else {
            self.put(key, bytes, u64::try_from(deadline).unwrap());
        }
    }

    fn put(&mut self, key: &[u8], bytes: Vec<u8>, expire_at_ms: u64) {
        let row = ModelRow { bytes, expire_at_ms, index: self.index, op: self.op };
        self.op += 1;
        self.rows.insert(key.to_vec(), row);
    }

    fn keep_deadline(&mut self, key: &[u8], bytes: Vec<u8>) {
        let expire_at_ms = self.rows.get(key).map_or(0, |row| row.expire_at_ms);
        self.put(key, bytes, expire_at_ms);
    }

    fn has(&self, key: &[u8]) -> bool {
        self.rows.contains_key(key)
    }

    fn bytes(&self, key: &[u8]) -> Vec<u8> {
        self.rows.get(key).map(|row| row.bytes.clone()).unwrap_or_default()
    }

    fn put_changed(&mut self, key: &[u8], bytes: Vec<u8>) {
        if !self.has(key) || self.bytes(key) != bytes {
            self.keep_deadline(key, bytes);
        }
    }

    fn bits(&self, key: &[u8]) -> Vec<bool> {
        self.bytes(key).iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1 == 1)).collect()
    }

    fn old(&self, key: &[u8]) -> Reply {
        self.rows.get(key).map_or(Reply::Null, |row| Reply::Bulk(Bytes::copy_from_slice(&row.bytes)))
    }
}

fn packed(bits: &[bool]) -> Vec<u8> {
    bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
}

fn field_step(bits: &mut [bool], step: &BitFieldStep) -> Reply {
    let (offset, width) = (step.offset as usize, u32::from(step.width));
    let places = || offset..offset + width as usize;
    let raw = places().fold(0_i128, |sum, at| sum * 2 + i128::from(bits.get(at).copied().unwrap_or(false)));
    let signed = |raw: i128| if step.is_signed && raw >= 1 << (width - 1) { raw - (1 << width) } else { raw };
    let old = signed(raw);
    let answer = |number: i128| Reply::Integer(i64::try_from(number).unwrap());
    let (least, most) =
        if step.is_signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) };
    let wanted = match step.action {
        BitFieldAction::Get => return answer(old),
        BitFieldAction::Set if step.is_signed => i128::from(step.amount),
        BitFieldAction::Set => i128::from(step.amount.cast_unsigned()),
        BitFieldAction::IncrementBy => old + i128::from(step.amount),
    };
    let new = match step.overflow {
        Overflow::Fail if wanted < least || wanted > most => return Reply::Null,
        Overflow::Saturate => wanted.max(least).min(most),
        Overflow::Fail | Overflow::Wrap => wanted,
    };
    let new = new.rem_euclid(1 << width);
    places().rev().enumerate().for_each(|(power, at)| bits[at] = new >> power & 1 == 1);
    answer(if step.action == BitFieldAction::Set { old } else { signed(new) })
}

/// Without exponents, which the generator does not make; 17 decimal places.
fn decimal(text: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.chars().all(|letter| letter.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{fraction:0<18}");
    let number: i128 = format!("{whole}{}", &padded[..17]).parse().ok()?;
    Some(sign * (number + i128::from(&padded[17..18] >= "5")))
}

fn int(count: usize) -> Reply {
    Reply::Integer(i64::try_from(count).unwrap())
}
