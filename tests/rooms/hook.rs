//! The hook between log and state machine, by the library alone: what a halt says, and the smallest of values.

use std::error::Error;

use bytes::Bytes;
use sealkv::apply::halt::HaltCause;
use sealkv::apply::halt::HaltClass;
use sealkv::keys::kek::KekSet;

use crate::kit::Leader;
use crate::kit::Node;
use crate::kit::append;
use crate::kit::founded;
use crate::kit::in_clear;
use crate::kit::set;

fn two_entries() -> Leader {
    let mut leader = Leader::sealed(81);
    leader.clients(&[set("a", "1")]);
    leader.clients(&[append("a", "2")]);
    leader
}

/// Every class of halt says its class, its cause, its place, and down the chain what was wrong.
#[test]
fn err_mark_a_halt_has_its_class_and_its_cause_in_the_chain() {
    let edited = |byte: usize, value: u8| {
        let mut leader = two_entries();
        let mut data = leader.entry(6).data.to_vec();
        data[byte] ^= value;
        leader.entry_mut(6).data = Bytes::from(data);
        leader
    };
    let halt_of = |leader: &Leader| Node::new().run(&leader.log).expect_err("it halts");
    let mut clear = two_entries();
    clear.entry_mut(6).data = in_clear(b"no command");
    let no_cipher = Node::start(founded(), KekSet::default()).unwrap().run(&two_entries().log).expect_err("no keys");
    let damaged = {
        let leader = two_entries();
        let mut node = Node::new();
        node.run(&leader.log[..4]).unwrap();
        let mut node = node.with_row(b"a", vec![0xff; 60]);
        node.run(&leader.log).expect_err("the value is damaged")
    };
    let halts = [
        (halt_of(&edited(40, 1)), HaltClass::Unauthentic, 6),
        (halt_of(&edited(14, 0x40)), HaltClass::UnknownKey, 6),
        (halt_of(&edited(0, 1)), HaltClass::Malformed, 6),
        (halt_of(&clear), HaltClass::Malformed, 6),
        (no_cipher, HaltClass::NoCipher, 3),
        (damaged, HaltClass::StateMachine, 6),
    ];
    for (halt, class, index) in halts {
        let agrees = match &halt.cause {
            HaltCause::NoCipher => class == HaltClass::NoCipher,
            HaltCause::UnknownKey(_) => class == HaltClass::UnknownKey,
            HaltCause::Unauthentic => class == HaltClass::Unauthentic,
            HaltCause::Malformed(_) => class == HaltClass::Malformed,
            HaltCause::StateMachine(_) => class == HaltClass::StateMachine,
        };
        assert!(agrees && halt.class() == class, "{halt:?}");
        assert!(halt.to_string().contains(&format!("index {index} term 1")), "{halt}");
        let cause = halt.source().expect("the cause");
        let has_more = cause.source().is_some();
        assert_eq!(has_more, !matches!(class, HaltClass::NoCipher | HaltClass::Unauthentic), "{class:?}: {cause}");
        let is_key = matches!(class, HaltClass::NoCipher | HaltClass::UnknownKey);
        assert_eq!(halt.blame().status(), if is_key { 78 } else { 74 });
    }
}

#[test]
fn empty_value_sealed_is_there_and_empty() {
    let mut leader = Leader::sealed(82);
    leader.clients(&[set("", ""), set("empty", "")]);
    let mut node = Node::new();
    node.run(&leader.log).unwrap();
    for key in [&b""[..], b"empty"] {
        assert_eq!(node.value(key).unwrap().unwrap().bytes, "");
        let row = node.row_of(key).unwrap();
        assert_eq!(row[0] & 0b110, 0b010, "sealed");
    }
    assert!(node.value(b"absent").unwrap().is_none());
    leader.clients(&[append("empty", "x")]);
    node.run(&leader.log).unwrap();
    assert_eq!(node.value(b"empty").unwrap().unwrap().bytes, "x");
}
