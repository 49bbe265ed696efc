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
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::overlay::Overlay;
use crate::fsm::reader::Base;
use crate::fsm::tests::kit::MapBase;
use crate::fsm::tests::kit::batch;
use crate::fsm::tests::kit::name_in;
use crate::fsm::tests::kit::names;
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
                database: Database::new(database).unwrap(),
                key: text(key),
                last_change: Index(last_change),
            })
            .collect();
        let mut payload = Vec::new();
        let writes = commands.iter().map(|(database, write)| (Database::new(*database).unwrap(), write));
        encode_batch_if(stamp_ms, &conditions, writes, &mut payload).unwrap();
        let batch = batch(&payload);
        self.index += 1;
        let names = names(&batch);
        let mut context = self.overlay.begin(&self.base, Index(self.index), stamp_ms, None, &batch, &names).unwrap();
        batch.commands().map(|command| self.overlay.execute(&self.base, command, &mut context).unwrap()).collect()
    }

    fn end_run(&mut self) {
        self.base.apply(std::mem::take(&mut self.overlay).into_changes());
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.value_in(0, key)
    }

    fn value_in(&self, database: u8, key: &str) -> Option<Bytes> {
        let name = name_in(Database::new(database).unwrap(), key.as_bytes());
        let found = self.overlay.view(&self.base).value(RowKey::new(name, key.as_bytes()));
        found.unwrap().map(|value| value.bytes)
    }

    fn count(&self, database: u8) -> u64 {
        self.overlay.view(&self.base).count(Database::new(database).unwrap(), 1).unwrap()
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

/// H8: one key in several databases is several keys, whatever is done to one of them, in a run or behind it.
#[test]
fn databases_are_apart_in_values_conditions_counts_and_flushes() {
    for ends_run in [false, true] {
        let mut replica = Replica::default();
        let commands = [(0, set("a", "0")), (1, set("a", "1")), (15, set("a", "15")), (1, set("b", "1"))];
        assert_eq!(replica.entry(1, &[], &commands), [Reply::Ok, Reply::Ok, Reply::Ok, Reply::Ok]);
        if ends_run {
            replica.end_run();
        }
        let values = |replica: &Replica| [0, 1, 15, 2].map(|database| replica.value_in(database, "a"));
        assert_eq!(values(&replica), [Some(text("0")), Some(text("1")), Some(text("15")), None]);
        assert_eq!([0, 1, 15, 2].map(|database| replica.count(database)), [1, 2, 1, 0]);
        replica.entry(1, &[], &[(1, WriteCommand::Delete { keys: vec![text("a")] })]);
        assert_eq!(replica.entry(1, &[(0, "a", 1), (1, "a", 0), (15, "a", 1)], &[(0, set("c", "1"))]), [Reply::Ok]);
        assert_eq!(replica.entry(1, &[(1, "a", 1)], &[(0, set("c", "2"))]), [FAILED]);
        replica.entry(1, &[], &[(15, WriteCommand::FlushDatabase), (15, set("d", "1"))]);
        assert_eq!([0, 1, 15].map(|database| replica.count(database)), [2, 1, 1]);
        replica.end_run();
        assert_eq!([0, 1, 15].map(|database| replica.count(database)), [2, 1, 1]);
        assert_eq!((replica.value_in(15, "a"), replica.value_in(15, "d")), (None, Some(text("1"))));
        replica.entry(1, &[], &[(3, set("e", "1")), (3, WriteCommand::FlushAll), (4, set("f", "1"))]);
        assert_eq!([0, 1, 3, 4, 15].map(|database| replica.count(database)), [0, 0, 0, 1, 0]);
        replica.end_run();
        assert_eq!([0, 1, 3, 4, 15].map(|database| replica.count(database)), [0, 0, 0, 1, 0]);
    }
}
