//! OPEN-HALT and PREFIX-APPLIED in the running binary: a log with one sealed entry that does not open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealkv::crypto::seal::seal_entries;
use sealkv::fsm::codec::encode_batch;
use sealkv::fsm::command::Expiry;
use sealkv::fsm::command::SetIf;
use sealkv::fsm::command::SetReply;
use sealkv::fsm::command::Write;
use sealkv::fsm::reader::Base;
use sealkv::ids::Index;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;
use sealkv::node::config::Config;
use sealkv::node::config::Settings;
use sealkv::node::start;
use sealkv::node::start::Opened;
use sealkv::node::start::World;
use sealkv::wal::Append;
use sealkv::wal::EntryKind;
use sealkv::wal::HardState;
use sealkv::wal::LogEntry;
use sealkv::world::KernelEntropy;
use sealkv::world::SystemClock;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::refused_start;

const ENTRIES: u64 = 7;
/// Which of the added entries is changed, counted from 0.
const POISONED: u64 = 4;

fn config(site: &Site) -> Config {
    let settings = Settings { data_dir: Some(site.data()), kek_file: Some(site.kek()), ..Settings::default() };
    settings.check().unwrap()
}

fn open(site: &Site) -> Opened {
    let world = World { clock: Arc::new(SystemClock::default()), entropy: Arc::new(KernelEntropy) };
    start::open(&config(site), &world).map_err(|refusal| refusal.to_string()).unwrap()
}

/// Goal: append properly sealed, committed entries to a stopped node's log, one of them with a changed ciphertext byte.
/// The log's own frames are valid: only the entry's seal can show it. Returns its place.
fn poison(site: &Site) -> (Term, Index, u32) {
    let mut opened = open(site);
    // A node that stopped cleanly has flushed everything, so its applied position is the end of its log.
    let last = opened.applied.position;
    let key = opened.ring.view().leadership_key().expect("the node has its keys");
    assert_eq!(key.opener().term, last.term, "the newest opener is of the newest term");
    let payloads: Vec<Vec<u8>> = (0..ENTRIES).map(payload).collect();
    let items: Vec<(ProposalId, &[u8])> =
        payloads.iter().enumerate().map(|(i, p)| (ProposalId(1000 + i as u64), p.as_slice())).collect();
    let first = last.index.next();
    let sealed = seal_entries(&key, [7; 7], first, &items).unwrap();
    let entries = sealed.into_iter().enumerate().map(|(i, data)| LogEntry {
        term: last.term,
        index: Index(first.0 + i as u64),
        kind: EntryKind::Normal,
        data: if i as u64 == POISONED { flip(&data) } else { data },
    });
    let commit = Index(first.0 + ENTRIES - 1);
    let hard_state = HardState { commit, ..opened.recovered.hard_state };
    let append = Append { ticket: 1, hard_state: Some(hard_state), entries: entries.collect(), ..Append::default() };
    opened.log.offer(append).unwrap();
    while opened.log.step(Duration::from_secs(1)).unwrap().persisted_ticket.is_none() {}
    (last.term, Index(first.0 + POISONED), key.key_id().value())
}

fn payload(n: u64) -> Vec<u8> {
    let write = Write::Set {
        key: Bytes::from(format!("added-{n}")),
        value: Bytes::from(format!("value-{n}")),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    };
    let mut out = Vec::new();
    encode_batch(1_700_000_000_000, [&write], &mut out).unwrap();
    out
}

/// Changes one byte in the middle of the ciphertext.
fn flip(data: &Bytes) -> Bytes {
    let mut bytes = data.to_vec();
    let middle = bytes.len() - 16 - 5;
    bytes[middle] ^= 0x10;
    Bytes::from(bytes)
}

#[test]
fn the_node_halts_at_an_entry_that_does_not_open_after_applying_all_before_it_and_again_at_the_next_start() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET before 1"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    let (term, index, key_id) = poison(&site);

    for start in 1..=2 {
        let ended = refused_start(&site.sealed());
        assert_eq!(ended.status, 74, "start {start}: {}", ended.output);
        let line = format!("apply halted at index {index} term {term}");
        for part in [&*line, &format!("key {key_id}"), "unauthentic"] {
            assert!(ended.output.contains(part), "start {start}: {part:?} is not in {}", ended.output);
        }
        assert!(!ended.output.contains("value-"), "no plaintext in what the node says");

        let opened = open(&site);
        assert_eq!(opened.applied.position.index, Index(index.0 - 1), "everything before it is applied and flushed");
        for n in 0..ENTRIES {
            let found = opened.reader.value(format!("added-{n}").as_bytes()).unwrap();
            let expected = (n < POISONED).then(|| format!("value-{n}"));
            let found = found.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap());
            assert_eq!(found, expected, "start {start}, entry {n}: nothing from the halt on is visible");
        }
    }
}
