//! Goal: an entry runs whole or not at all, by its conditions, and every replica decides alike.

use bytes::Bytes;

use crate::fsm::codec::Condition;
use crate::fsm::codec::encode_batch_if;
use crate::fsm::command::Expiry;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::kv::words;
use crate::fsm::overlay::Overlay;
use crate::fsm::reader::Base;
use crate::fsm::tests::kit::MapBase;
use crate::fsm::tests::kit::batch;
use crate::ids::Index;

/// Rows and what ran on top of them since.
#[derive(Default)]
struct Replica {
    base: MapBase,
    overlay: Overlay,
    index: u64,
}

impl Replica {
    fn entry(&mut self, stamp_ms: u64, conditions: &[(u8, &str, u64)], commands: &[(u8, WriteCommand)]) -> Vec<Reply> {
        let conditions: Vec<Condition> = conditions
            .iter()
            .map(|&(database, key, last_change)| Condition {
                database,
                key: text(key),
                last_change: Index(last_change),
            })
            .collect();
        let mut payload = Vec::new();
        let writes = commands.iter().map(|(database, write)| (*database, write));
        encode_batch_if(stamp_ms, &conditions, writes, &mut payload).unwrap();
        let batch = batch(&payload);
        self.index += 1;
        let mut context = self.overlay.begin(&self.base, Index(self.index), stamp_ms, None, &batch).unwrap();
        batch.commands().map(|command| self.overlay.execute(&self.base, command, &mut context).unwrap()).collect()
    }

    fn end_run(&mut self) {
        self.base.apply(std::mem::take(&mut self.overlay).into_changes());
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.overlay.view(&self.base).value(key.as_bytes()).unwrap().map(|value| value.bytes)
    }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set_until(key: &str, value: &str, expiry: Expiry) -> WriteCommand {
    let (key, value) = (text(key), text(value));
    WriteCommand::Set { key, value, when: SetIf::Always, expiry, reply: SetReply::Ok }
}

fn set(key: &str, value: &str) -> WriteCommand {
    set_until(key, value, Expiry::Clear)
}

const FAILED: Reply = Reply::Error(words::CONDITION_FAILED);

#[test]
fn a_batch_runs_only_if_each_key_has_the_change_it_names() {
    for ends_run in [false, true] {
        let mut replica = Replica::default();
        replica.entry(1, &[], &[(0, set("a", "1"))]);
        replica.entry(1, &[], &[(0, set("b", "1"))]);
        if ends_run {
            replica.end_run();
        }
        let both = [(0, set("a", "2")), (0, set("c", "2"))];
        let stale = replica.entry(1, &[(0, "a", 1), (0, "b", 1)], &both);
        assert_eq!(stale, [FAILED, FAILED]);
        assert_eq!((replica.value("a"), replica.value("c")), (Some(text("1")), None), "nothing ran");
        assert_eq!(replica.entry(1, &[(0, "a", 1), (0, "b", 2)], &both), [Reply::Ok, Reply::Ok]);
        assert_eq!(replica.entry(1, &[(0, "a", 1)], &both), [FAILED, FAILED], "the entry before changed it");
        assert_eq!(replica.entry(1, &[(0, "a", 4), (0, "c", 4)], &both), [Reply::Ok, Reply::Ok]);
    }
}

#[test]
fn change_0_means_that_there_is_no_such_key() {
    let mut replica = Replica::default();
    assert_eq!(replica.entry(1, &[(0, "a", 0)], &[(0, set("a", "1"))]), [Reply::Ok]);
    assert_eq!(replica.entry(1, &[(0, "a", 0)], &[(0, set("a", "2"))]), [FAILED]);
    replica.entry(1, &[], &[(0, WriteCommand::Delete { keys: vec![text("a")] })]);
    assert_eq!(replica.entry(1, &[(0, "a", 0)], &[(0, set("a", "3"))]), [Reply::Ok]);
}

#[test]
fn a_key_that_is_past_due_by_the_stamp_is_not_there() {
    let mut replica = Replica::default();
    replica.entry(10, &[], &[(0, set_until("a", "1", Expiry::At(20)))]);
    replica.end_run();
    assert_eq!(replica.entry(20, &[(0, "a", 1)], &[(0, set("b", "1"))]), [FAILED]);
    assert_eq!(replica.entry(20, &[(0, "a", 0)], &[(0, set("b", "1"))]), [Reply::Ok]);
}

#[test]
fn a_change_of_the_expiry_alone_is_a_change() {
    let mut replica = Replica::default();
    replica.entry(1, &[], &[(0, set("a", "1"))]);
    let expire = WriteCommand::GetExpire { key: text("a"), expiry: Expiry::At(100) };
    replica.entry(1, &[], &[(0, expire)]);
    assert_eq!(replica.entry(1, &[(0, "a", 1)], &[(0, set("b", "1"))]), [FAILED]);
}

#[test]
fn another_database_is_an_error_and_changes_nothing() {
    let error = Reply::Error("ERR DB index is out of range");
    let mut replica = Replica::default();
    let commands = [(1, set("a", "1")), (0, set("b", "1")), (255, WriteCommand::FlushAll)];
    assert_eq!(replica.entry(1, &[], &commands), [error.clone(), Reply::Ok, error.clone()]);
    assert_eq!((replica.value("a"), replica.value("b")), (None, Some(text("1"))));
    assert_eq!(replica.entry(1, &[(1, "a", 0)], &[(0, set("b", "2"))]), [error]);
    assert_eq!(replica.value("b"), Some(text("1")));
}
