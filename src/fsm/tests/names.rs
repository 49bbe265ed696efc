//! Goal: each command of an entry runs with the names of its own keys, however the commands before it end. Method: each
//! kind of command ends with an error in the middle of its keys, and a SET and a DEL come behind it.

use bytes::Bytes;

use crate::crypto::names::ClearNameKey;
use crate::crypto::names::NameKey;
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
use crate::fsm::kv::words;
use crate::fsm::name::Database;
use crate::fsm::overlay::Overlay;
use crate::fsm::tests::kit::MapBase;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::name;
use crate::fsm::tests::kit::payload;
use crate::ids::ClusterId;
use crate::ids::Index;

const NOW: u64 = 1_000_000;

/// Runs `writes` as one entry where names are clear, and somebody made `thief` to have the name of `owner`.
fn ran(writes: &[WriteCommand]) -> (Vec<Reply>, MapBase) {
    let payload = payload(NOW, writes);
    let batch = batch(&payload);
    let mut names = Vec::new();
    for command in batch.commands() {
        command.write.each_key(&mut |key| names.push(name(if key == b"thief" { b"owner" } else { key })));
    }
    let mut base = MapBase::default();
    let mut overlay = Overlay::named_with(&NameKey::clear(&ClearNameKey([7; 32]), ClusterId([7; 16])));
    let mut context = overlay.begin(&base, Index(2), NOW, None, &batch, &names).unwrap();
    let replies = batch.commands().map(|write| overlay.execute(&base, write, &mut context).unwrap()).collect();
    context.assert_all_named();
    // The base asserts that each row holds the key of its name.
    base.apply(overlay.into_changes());
    (replies, base)
}

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn set(key: &'static str, value: &'static str) -> WriteCommand {
    let (when, expiry, reply) = (SetIf::Always, Expiry::Clear, SetReply::Ok);
    WriteCommand::Set { key: b(key), value: b(value), when, expiry, reply }
}

/// Each kind of command that takes keys, so that it ends with an error.
fn ending() -> Vec<WriteCommand> {
    let [thief, target] = ["thief", "target"].map(b);
    let many = ["text", "thief", "target", "gone"].map(b).to_vec();
    let expiry = Expiry::In(0);
    let step = |offset| BitFieldStep {
        action: BitFieldAction::Set,
        is_signed: false,
        width: 8,
        overflow: Overflow::Wrap,
        offset,
        amount: 1,
    };
    let mut all = vec![
        WriteCommand::Set { key: b("target"), value: b("x"), when: SetIf::Always, expiry, reply: SetReply::Ok },
        WriteCommand::SetMany {
            pairs: ["target", "thief", "other"].map(|key| (b(key), b("x"))).to_vec(),
            absent_only: true,
        },
        WriteCommand::Append { key: thief.clone(), value: b("x") },
        WriteCommand::SetRange { key: target.clone(), offset: u32::MAX, value: b("x") },
        WriteCommand::IncrementBy { key: b("text"), delta: 1 },
        WriteCommand::IncrementByFloat { key: b("text"), delta: b("1") },
        WriteCommand::GetDelete { key: thief.clone() },
        WriteCommand::GetExpire { key: b("text"), expiry },
        WriteCommand::Delete { keys: many.clone() },
        WriteCommand::Expire { key: thief.clone(), expiry: Expiry::In(5), when: ExpireIf::Always },
        WriteCommand::Persist { key: thief.clone() },
        WriteCommand::Copy {
            target_database: Database::FIRST,
            replaces: false,
            key: thief.clone(),
            target: target.clone(),
        },
        WriteCommand::Move { key: thief.clone(), target_database: Database::new(3).unwrap() },
        WriteCommand::SetBit { key: thief.clone(), offset: 1, bit: true },
        WriteCommand::ChangeBitFields { key: thief.clone(), steps: vec![step(1)] },
        WriteCommand::ChangeBitFields { key: target.clone(), steps: vec![step(u32::MAX - 8)] },
        WriteCommand::Restore { key: b("text"), value: b("x"), expiry: Expiry::Clear, replaces: false },
        WriteCommand::SetIfValue {
            wants_equal: true,
            reply: SetReply::Ok,
            expiry,
            key: target.clone(),
            value: b("x"),
            compared: b("x"),
        },
        WriteCommand::DeleteIfValue { key: thief.clone(), wants_equal: true, compared: b("x") },
    ];
    for (key, target) in [("absent", "target"), ("thief", "target")] {
        all.push(WriteCommand::Rename { key: b(key), target: b(target), absent_only: false });
    }
    all.push(WriteCommand::Rename { key: b("text"), target: thief, absent_only: true });
    for operation in [BitOperation::And, BitOperation::Or, BitOperation::Xor] {
        all.push(WriteCommand::CombineBits { operation, target: target.clone(), keys: many.clone() });
    }
    all
}

#[test]
fn a_command_that_ends_early_leaves_the_names_of_the_next_ones_alone() {
    for command in ending() {
        let delete = WriteCommand::Delete { keys: ["gone", "missing"].map(b).to_vec() };
        let prepared = [set("owner", "o"), set("text", "x"), set("gone", "g")];
        let writes = [&prepared[..], &[command.clone(), set("after", "a"), delete]].concat();
        let (replies, base) = ran(&writes);
        assert!(matches!(replies[3], Reply::Error(_)), "{command:?}: {:?}", replies[3]);
        assert_eq!(replies[4..], [Reply::Ok, Reply::Integer(1)], "{command:?}");
        let held: Vec<(Vec<u8>, Bytes)> =
            base.by_key().into_iter().map(|(key, (value, _))| (key, value.bytes)).collect();
        let expected = [("after", "a"), ("owner", "o"), ("text", "x")];
        assert_eq!(held, expected.map(|(key, value)| (key.as_bytes().to_vec(), b(value))), "{command:?}");
    }
}

#[test]
fn a_key_is_not_renamed_or_copied_onto_another_key_of_its_own_name() {
    let (key, target) = (b("owner"), b("thief"));
    let rename = |absent_only| WriteCommand::Rename { key: key.clone(), target: target.clone(), absent_only };
    let copy = |replaces| WriteCommand::Copy {
        target_database: Database::FIRST,
        replaces,
        key: key.clone(),
        target: target.clone(),
    };
    for command in [rename(false), rename(true), copy(false), copy(true)] {
        let (replies, base) = ran(&[set("owner", "o"), command.clone()]);
        assert_eq!(replies[1], Reply::Error(words::NAME_TAKEN), "{command:?}");
        assert_eq!(base.by_key().keys().collect::<Vec<_>>(), [b"owner"], "{command:?}: nothing is written");
    }
}
