//! Reads that ride with writes: what their replies may hold (BOUNDED), and that it never shows in the state.

use bytes::Bytes;

use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::set;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::fsm::codec::encode_batch_if;
use crate::fsm::command::Expiry;
use crate::fsm::command::LcsAnswer;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::limits::ENTRY_VALUE_BYTES_MAX;
use crate::limits::OVERLAY_BYTES_MAX;
use crate::limits::REPLY_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::propose::RequestSlot;

fn large(key: &'static str, bytes: usize) -> WriteCommand {
    WriteCommand::Set {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from(vec![b'v'; bytes]),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    }
}

fn get(key: &'static str) -> RequestSlot {
    RequestSlot::Read(Database::FIRST, ReadCommand::Get { key: Bytes::from_static(key.as_bytes()) })
}

/// Bytes of each reply, `None` for an error.
fn sizes(replies: &[Reply]) -> Vec<Option<usize>> {
    replies.iter().map(|reply| (!matches!(reply, Reply::Error(_))).then(|| reply.value_bytes())).collect()
}

#[test]
fn bounded_the_replies_of_one_request_hold_so_much_and_further_reads_are_answered_with_an_error() {
    let mut leader = Leader::sealed(1);
    let mut node = Node::new(&Setup::default());
    leader.clients(&[large("k", VALUE_BYTES_MAX)]);
    let place = leader.clients(&[set("small", "12345"), set("after", "x")]);
    let fit = REPLY_BYTES_MAX / VALUE_BYTES_MAX;
    let mut slots = vec![RequestSlot::Write(Database::FIRST, set("small", "12345"))];
    slots.extend((0..fit + 3).map(|_| get("k")));
    slots.extend([get("small"), RequestSlot::Write(Database::FIRST, set("after", "x")), get("k"), get("after")]);
    node.wait_for(place, slots);
    node.run(&leader.log).unwrap();
    let told = std::mem::take(&mut *node.told.lock().unwrap());
    let replies = told[0].1.as_ref().unwrap();
    let mut expected = vec![Some(0)];
    expected.extend((0..fit).map(|_| Some(VALUE_BYTES_MAX)));
    expected.extend([None, None, None, Some(5), Some(0), None, Some(1)]);
    assert_eq!(sizes(replies), expected);
    let Reply::Error(line) = replies[fit + 1] else { panic!() };
    assert!(line.contains(&REPLY_BYTES_MAX.to_string()), "{line}");
    // A node where nobody waited has the same state.
    let mut twin = Node::new(&Setup::default());
    twin.run(&leader.log).unwrap();
    assert_eq!(node.picture(), twin.picture());
    assert_eq!(node.metrics.failed_reads.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing is damaged");
}

#[test]
fn bounded_a_read_of_two_keys_that_meets_the_bound_on_opened_bytes_is_an_error() {
    let mut leader = Leader::sealed(1);
    let mut node = Node::new(&Setup::default());
    leader.clients(&[large("k", VALUE_BYTES_MAX)]);
    let place = leader.clients(&[set("small", "12345")]);
    let key = || Bytes::from_static(b"k");
    let read = |read| RequestSlot::Read(Database::FIRST, read);
    let fit = usize::try_from(ENTRY_VALUE_BYTES_MAX).unwrap() / VALUE_BYTES_MAX;
    let mut slots = vec![RequestSlot::Write(Database::FIRST, set("small", "12345"))];
    slots.extend((0..fit).map(|_| read(ReadCommand::Length { key: key() })));
    // Its first value is above the bound, so that its second one does not come.
    slots.push(read(ReadCommand::CommonSubsequence { keys: vec![key(), key()], answer: LcsAnswer::Length }));
    node.wait_for(place, slots);
    node.run(&leader.log).unwrap();
    let told = std::mem::take(&mut *node.told.lock().unwrap());
    let replies = told[0].1.as_ref().unwrap();
    assert_eq!(replies[fit], Reply::Integer(i64::try_from(VALUE_BYTES_MAX).unwrap()));
    let Reply::Error(line) = replies[fit + 1] else { panic!("{:?}", replies[fit + 1]) };
    assert!(line.contains(&ENTRY_VALUE_BYTES_MAX.to_string()), "{line}");
}

/// H8: each slot works on its own database, sealed rows included.
#[test]
fn reads_and_writes_of_one_entry_may_be_in_several_databases() {
    let mut leader = Leader::sealed(3);
    let mut node = Node::new(&Setup::default());
    let third = Database::new(3).unwrap();
    let writes =
        [(Database::FIRST, set("k", "first")), (third, set("k", "third")), (third, WriteCommand::FlushDatabase)];
    let mut payload = Vec::new();
    let commands = writes.iter().map(|(database, write)| (*database, write));
    encode_batch_if(leader.stamp_ms, &[], commands, &mut payload).unwrap();
    let place = leader.client_payload(&payload);
    let key = || Bytes::from_static(b"k");
    let read = |database| RequestSlot::Read(database, ReadCommand::Get { key: key() });
    let [one, two, three] = writes.map(|(database, write)| RequestSlot::Write(database, write));
    node.wait_for(place, vec![one, read(third), two, read(third), read(Database::FIRST), three, read(third)]);
    leader.clients(&[set("later", "x")]);
    node.run(&leader.log).unwrap();
    let told = std::mem::take(&mut *node.told.lock().unwrap());
    let bulk = |text: &'static str| Reply::Bulk(Bytes::from_static(text.as_bytes()));
    let expected = [Reply::Ok, Reply::Null, Reply::Ok, bulk("third"), bulk("first"), Reply::Ok, Reply::Null];
    assert_eq!(told[0].1.as_ref().unwrap(), &expected);
    assert!(node.has_just(&["k", "later"]));
}

#[test]
fn bounded_a_run_ends_where_its_answers_take_much_memory() {
    let mut leader = Leader::sealed(2);
    let mut node = Node::new(&Setup { overlay_bytes: OVERLAY_BYTES_MAX, ..Setup::default() });
    let bytes = 1 << 20;
    leader.clients(&[large("k", bytes)]);
    let reads = 40;
    for number in 0..9 {
        let place = leader.clients(&[set(&format!("{number}"), "x")]);
        let mut slots = vec![RequestSlot::Write(Database::FIRST, set(&format!("{number}"), "x"))];
        slots.extend((0..reads).map(|_| get("k")));
        node.wait_for(place, slots);
    }
    node.run(&leader.log).unwrap();
    let per_run = OVERLAY_BYTES_MAX.div_ceil(reads * bytes as u64);
    // The empty entry, bootstrap, opener, the value; then the requests.
    let expected = 4 + 9_u64.div_ceil(per_run);
    assert_eq!(node.reader.views().load().generation, expected);
    assert_eq!(node.told.lock().unwrap().len(), 9);
}
