//! Two keys of one name, made by a client that has read a disk of a cluster without keys: an error, never a halt.

use bytes::Bytes;

use crate::apply::tests::kit::CLUSTER;
use crate::apply::tests::kit::Leader;
use crate::apply::tests::kit::append;
use crate::apply::tests::kit::row_name;
use crate::apply::tests::node::Node;
use crate::apply::tests::node::Setup;
use crate::crypto::derive::derive;
use crate::fsm::codec::Condition;
use crate::fsm::codec::encode_batch_if;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::ids::Index;
use crate::propose::RequestSlot;
use crate::testing::leader::CLEAR_NAMES;

/// POLYVAL's product: `a * b * x^-128` (RFC 8452, section 3), bit by bit.
fn dot(a: u128, b: u128) -> u128 {
    const HALVED: u128 = 1 << 127 | 1 << 126 | 1 << 125 | 1 << 120;
    (0..128).fold(0, |sum, bit| {
        let sum = if b >> bit & 1 == 1 { sum ^ a } else { sum };
        if sum & 1 == 1 { sum >> 1 ^ HALVED } else { sum >> 1 }
    })
}

/// Two keys of 32 bytes that have one name under the clear name key: what a difference in the first half does to the sum is
/// taken back in the second.
fn twins() -> [Bytes; 2] {
    let keys = derive::<48>(&CLEAR_NAMES.0, b"", "sealkv name clear", &[&CLUSTER.0]);
    let hash_key = u128::from_le_bytes(*keys.first_chunk().unwrap());
    let halves = [u128::from_le_bytes(*b"the key of a row"), u128::from_le_bytes(*b" that is all his")];
    let difference = 1;
    let others = [halves[0] ^ difference, halves[1] ^ dot(difference, hash_key)];
    [halves, others].map(|[one, two]| [one.to_le_bytes(), two.to_le_bytes()].concat().into())
}

fn set_to(key: &Bytes, value: &'static str, when: SetIf) -> WriteCommand {
    let (key, value) = (key.clone(), Bytes::from_static(value.as_bytes()));
    WriteCommand::Set { key, value, when, expiry: Expiry::Clear, reply: SetReply::Ok }
}

/// Everything that looks at what is there, about `taken`, whose row is its owner's, beside a key that nobody took.
fn looking(owner: &Bytes, taken: &Bytes, free: &Bytes) -> Vec<WriteCommand> {
    let (key, none) = (|| taken.clone(), Bytes::from_static(b"none"));
    vec![
        set_to(taken, "x", SetIf::Absent),
        set_to(taken, "x", SetIf::Present),
        WriteCommand::SetMany { pairs: vec![(none.clone(), Bytes::new()), (key(), Bytes::new())], absent_only: true },
        WriteCommand::Append { key: key(), value: Bytes::from_static(b"x") },
        WriteCommand::SetRange { key: key(), offset: 0, value: Bytes::from_static(b"x") },
        WriteCommand::IncrementBy { key: key(), delta: 1 },
        WriteCommand::IncrementByFloat { key: key(), delta: Bytes::from_static(b"1.5") },
        WriteCommand::GetDelete { key: key() },
        WriteCommand::GetExpire { key: key(), expiry: Expiry::In(1) },
        WriteCommand::Rename { absent_only: false, key: key(), target: none.clone() },
        WriteCommand::Rename { absent_only: true, key: free.clone(), target: key() },
        WriteCommand::Rename { absent_only: false, key: owner.clone(), target: key() },
        WriteCommand::Copy { target_database: Database::FIRST, replaces: false, key: free.clone(), target: key() },
        WriteCommand::Delete { keys: vec![free.clone(), key()] },
        WriteCommand::Delete { keys: vec![key()] },
        WriteCommand::Expire { key: key(), expiry: Expiry::In(1), when: ExpireIf::Always },
        WriteCommand::Persist { key: key() },
    ]
}

#[test]
fn a_client_that_makes_two_keys_of_one_name_gets_errors_and_halts_nobody() {
    let [one, two] = twins();
    let free = Bytes::from_static(b"free");
    let mut leader = Leader::new(1);
    leader.empty();
    leader.clients(&[set_to(&one, "5", SetIf::Always), set_to(&free, "there", SetIf::Always)]);
    // The setup flushes now and then: the row is met in an overlay, a table and the base.
    let setup = Setup { table_bytes: 1, ..Setup::default() };
    let mut node = Node::new(&setup);
    assert_eq!(row_name(&node.node_keys, &one), row_name(&node.node_keys, &two), "the attack works");
    let mut expected = Vec::new();
    for command in looking(&one, &two, &free) {
        let place = leader.clients(std::slice::from_ref(&command));
        node.wait_for(place, vec![RequestSlot::Write(Database::FIRST, command)]);
        expected.push(place.index);
    }
    // A condition on the key, as WATCH makes it.
    let condition = Condition { database: Database::FIRST, key: two.clone(), last_change: Index(0) };
    let write = append("free", "more");
    let mut payload = Vec::new();
    encode_batch_if(leader.stamp_ms, &[condition], [(Database::FIRST, &write)], &mut payload).unwrap();
    let place = leader.client_payload(&payload);
    node.wait_for(place, vec![RequestSlot::Write(Database::FIRST, write)]);
    expected.push(place.index);
    node.run(&leader.log).unwrap();
    let told = std::mem::take(&mut *node.told.lock().unwrap());
    assert_eq!(told.len(), expected.len());
    for (index, replies) in told {
        let replies = replies.unwrap();
        assert!(matches!(replies[0], Reply::Error(line) if line.contains("same name")), "{index}: {replies:?}");
    }
    // None of them did anything, and the row is its first owner's.
    let place = leader.clients(&[WriteCommand::IncrementBy { key: one.clone(), delta: 1 }]);
    let increment = RequestSlot::Write(Database::FIRST, WriteCommand::IncrementBy { key: one.clone(), delta: 1 });
    let get = RequestSlot::Read(Database::FIRST, ReadCommand::Get { key: free });
    node.wait_for(place, vec![increment, get]);
    node.run(&leader.log).unwrap();
    let told = std::mem::take(&mut *node.told.lock().unwrap());
    assert_eq!(told[0].1.as_ref().unwrap(), &[Reply::Integer(6), Reply::Bulk(Bytes::from_static(b"there"))]);
    // A plain SET looks at nothing: the newer key has the row, the older one meets the error.
    leader.clients(&[set_to(&two, "new", SetIf::Always)]);
    let place = leader.clients(&[WriteCommand::IncrementBy { key: one.clone(), delta: 1 }]);
    node.wait_for(place, vec![RequestSlot::Write(Database::FIRST, WriteCommand::IncrementBy { key: one, delta: 1 })]);
    leader.clients(&[WriteCommand::Delete { keys: vec![two] }]);
    node.run(&leader.log).unwrap();
    assert!(matches!(node.told.lock().unwrap()[0].1.as_ref().unwrap()[0], Reply::Error(_)));
    assert!(node.has_just(&["free"]));
    // However runs are cut and wherever rows lie, a replica has the same rows.
    let mut replica = Node::new(&Setup { run_entries: 100, ..Setup::default() });
    replica.run(&leader.log).unwrap();
    assert_eq!(replica.picture(), node.picture());
}
