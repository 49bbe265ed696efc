//! OPEN-HALT, NO-CIPHER-HALT, MALFORMED-HALT and PREFIX-APPLIED in the running binary, one cause after another.
//!
//! The method: a stopped node's log gets properly sealed, committed entries, one of them spoilt. The log's own frames are
//! valid, so only the gate in front of the state machine can find it. The node must end there with the status and the line
//! of that cause, at every start; everything before the entry is in the state, nothing from it on. Put right, it goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealkv::apply::rows::SealedRows;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::keystore::LeadershipKey;
use sealkv::crypto::seal::seal_entries;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::fsm::codec::encode_batch;
use sealkv::fsm::codec::encode_control;
use sealkv::fsm::command::Expiry;
use sealkv::fsm::command::SetIf;
use sealkv::fsm::command::SetReply;
use sealkv::fsm::command::WriteCommand;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowKey;
use sealkv::fsm::name::RowName;
use sealkv::fsm::naming::name_of;
use sealkv::fsm::reader::Base;
use sealkv::fsm::value::Value;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;
use sealkv::keys::change::BootstrapKind;
use sealkv::keys::kek;
use sealkv::keys::kek::KekSet;
use sealkv::keys::make::make_bootstrap;
use sealkv::node::config::Config;
use sealkv::node::open;
use sealkv::node::open::OpenedNode;
use sealkv::node::settings::Encryption;
use sealkv::node::settings::Settings;
use sealkv::testing::base::reader_of;
use sealkv::wal::Append;
use sealkv::wal::HardState;
use sealkv::world::KernelEntropy;
use sealkv::world::World;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Refusal;
use crate::harness::Site;
use crate::harness::refused_start;

const ENTRIES: u64 = 7;
/// Which of the added entries is spoilt, counted from 0.
const POISONED: u64 = 4;

/// A directory with the library's eyes. The node must not run.
pub fn open(site: &Site, kek_file: Option<PathBuf>) -> OpenedNode {
    let encryption = kek_file.is_none().then_some(Encryption::Off);
    let settings = Settings { data_dir: Some(site.data()), kek_file, encryption, ..Settings::default() };
    let config = Config::check(settings).unwrap();
    let world = World::real();
    open::open(&config, &world).map_err(|refusal| refusal.to_string()).unwrap()
}

/// Where the row of a key is.
pub fn row_name(opened: &OpenedNode, key: &[u8]) -> RowName {
    name_of(Database::FIRST, key, opened.node_keys.current().name_key().unwrap())
}

fn value_of(opened: &OpenedNode, key: &[u8]) -> Option<Value> {
    let cipher = Arc::new(SealedRows::new(Arc::clone(&opened.node_keys)));
    let reader = reader_of(Arc::clone(&opened.base), cipher);
    reader.value(RowKey::new(row_name(opened, key), key)).unwrap()
}

/// A site whose node ran, took one write, and stopped.
fn used_site(args: fn(&Site) -> Vec<String>) -> Site {
    let site = Site::new();
    let node = Node::start(&args(&site));
    assert_eq!(node.client().words("SET before 1"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    site
}

/// Entries that follow on the end of a stopped node's log.
struct Added {
    key: Arc<LeadershipKey>,
    first: Position,
}

impl Added {
    fn seal(&self, n: u64, payload: &[u8]) -> Bytes {
        let item = (ProposalId(1000 + n), payload);
        seal_entries(&self.key, [7; 7], Index(self.first.index.0 + n), &[item]).unwrap().remove(0)
    }

    /// Raises the term from the poisoned entry on by `more_terms`.
    fn entry(&self, n: u64, data: Bytes, more_terms: u64) -> LogEntry {
        let term = Term(self.first.term.0 + if n >= POISONED { more_terms } else { 0 });
        LogEntry { term, index: Index(self.first.index.0 + n), kind: EntryKind::Normal, data }
    }
}

/// Puts committed entries into the log; what was there from the first one's index on is gone.
fn write(opened: &mut OpenedNode, entries: Vec<LogEntry>) {
    let newest = entries.last().unwrap();
    let before = opened.recovered.hard_state;
    let term = before.term.max(newest.term);
    let vote = if term == before.term { before.vote } else { 0 };
    let hard_state = HardState { term, vote, commit: newest.index };
    let append = Append { ticket: 1, hard_state: Some(hard_state), entries, ..Append::default() };
    opened.log.offer(append).unwrap();
    while opened.log.step(Duration::from_secs(1)).unwrap().persisted_ticket.is_none() {}
}

fn payload(n: u64) -> Vec<u8> {
    let write = WriteCommand::Set {
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

/// Changes one byte of entry data.
fn change(data: &Bytes, at: usize, byte: u8) -> Bytes {
    let mut bytes = data.to_vec();
    assert_ne!(bytes[at], byte);
    bytes[at] = byte;
    Bytes::from(bytes)
}

fn must_halt(args: &[String], at: Position, status: i32, words: &[&str]) -> Refusal {
    let ended = refused_start(args);
    assert_eq!(ended.status, status, "{}", ended.output);
    let line = format!("apply halted at index {} term {}", at.index, at.term);
    for part in words.iter().chain([&&*line]) {
        assert!(ended.output.contains(part), "{part:?} is not in {}", ended.output);
    }
    assert!(!ended.output.contains("value-"), "no plaintext in what the node says");
    ended
}

/// What the spoilt entry is, what the node must say of it, and whether its place is in a later term.
struct Case<'a> {
    spoil: &'a dyn Fn(&Added, &Bytes) -> Bytes,
    more_terms: u64,
    status: i32,
    words: &'a [&'a str],
}

fn halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(case: &Case<'_>) {
    let site = used_site(Site::sealed);
    let mut opened = open(&site, Some(site.kek()));
    // A node that stopped cleanly has flushed everything, so its applied position is the end of its log.
    let last = opened.record.applied.position;
    let key = opened.node_keys.current().leadership_key().expect("the node has its keys");
    assert_eq!(key.term_salt().term, last.term, "the newest opener is of the newest term");
    let added = Added { key, first: Position { term: last.term, index: last.index.next() } };
    let good: Vec<Bytes> = (0..ENTRIES).map(|n| added.seal(n, &payload(n))).collect();
    let bad = good.iter().zip(0..).map(|(data, n)| {
        let data = if n == POISONED { (case.spoil)(&added, data) } else { data.clone() };
        added.entry(n, data, case.more_terms)
    });
    write(&mut opened, bad.collect());
    drop(opened);
    let at = added.entry(POISONED, Bytes::new(), case.more_terms).position();
    for start in 1..=2 {
        must_halt(&site.sealed(), at, case.status, case.words);
        let opened = open(&site, Some(site.kek()));
        assert_eq!(
            opened.record.applied.position.index.next(),
            at.index,
            "everything before it is applied and flushed"
        );
        for n in 0..ENTRIES {
            let found = value_of(&opened, format!("added-{n}").as_bytes());
            let expected = (n < POISONED).then(|| format!("value-{n}"));
            let found = found.map(|value| String::from_utf8(value.bytes.to_vec()).unwrap());
            assert_eq!(found, expected, "start {start}, entry {n}: nothing from the halt on is visible");
        }
    }
    let mut opened = open(&site, Some(site.kek()));
    let rest = (POISONED..ENTRIES).zip(&good[usize::try_from(POISONED).unwrap()..]);
    write(&mut opened, rest.map(|(n, data)| added.entry(n, data.clone(), 0)).collect());
    drop(opened);
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("GET before"), Reply::bulk("1"));
    for n in 0..ENTRIES {
        assert_eq!(client.words(&format!("GET added-{n}")), Reply::bulk(format!("value-{n}")), "nothing is lost");
    }
    assert_eq!(node.stop().code(), Some(0));
}

/// Frame 9, version 1, flag 1, key id 4 and nonce 12 stand before the ciphertext.
const VERSION_AT: usize = 9;
const KEY_ID_LAST_AT: usize = 14;
const CIPHERTEXT_AT: usize = 27;

const SEE_DAMAGE: &str = "replace the node from its peers or a backup";

#[test]
fn the_node_halts_at_an_entry_that_does_not_open_after_applying_all_before_it_and_again_at_the_next_start() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|_, data| change(data, CIPHERTEXT_AT + 5, data[CIPHERTEXT_AT + 5] ^ 0x10),
        more_terms: 0,
        status: 74,
        words: &["key 1", "unauthentic", SEE_DAMAGE],
    });
}

#[test]
fn unknown_key_halts_the_node_with_78_at_a_key_id_that_the_keyring_lacks() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|_, data| change(data, KEY_ID_LAST_AT, 77),
        more_terms: 0,
        status: 78,
        words: &["key 77", "unknown_key", "the keyring has no key 77", "no KEK will open this"],
    });
}

#[test]
fn unknown_key_halts_the_node_with_78_at_a_term_without_an_opener() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|_, data| data.clone(),
        more_terms: 1,
        status: 78,
        words: &["key 1", "unknown_key", "not for an entry of this term", "no KEK will open this"],
    });
}

#[test]
fn malformed_halts_the_node_with_74_at_an_envelope_of_another_version() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|_, data| change(data, VERSION_AT, 1),
        more_terms: 0,
        status: 74,
        words: &["malformed", "envelope version 0x01", SEE_DAMAGE],
    });
}

#[test]
fn malformed_halts_the_node_with_74_at_a_control_command_in_a_clients_envelope() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|added, _| {
            let mut control = Vec::new();
            encode_control(b"a change", &mut control).unwrap();
            added.seal(POISONED, &control)
        },
        more_terms: 0,
        status: 74,
        words: &["key 1", "malformed", "of different kinds", SEE_DAMAGE],
    });
}

#[test]
fn malformed_halts_the_node_with_74_at_what_is_no_entry_frame() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|_, data| change(data, 0, 9),
        more_terms: 0,
        status: 74,
        words: &["malformed", "not an entry frame", SEE_DAMAGE],
    });
}

#[test]
fn malformed_halts_the_node_with_74_at_a_clear_command_above_the_cutover() {
    halts_exactly_there_at_every_start_and_goes_on_once_it_is_put_right(&Case {
        spoil: &|_, _| EntryFrame { proposal_id: ProposalId(9), payload: &payload(POISONED) }.encode(),
        more_terms: 0,
        status: 74,
        words: &["malformed", SEE_DAMAGE],
    });
}

/// A node without a KEK in a cluster whose leader bootstraps. It cannot be given the KEK afterwards: a directory that was
/// made without a log key refuses one, so such a node is replaced; that is why nothing is put right here.
#[test]
fn no_cipher_halts_the_node_with_78_at_a_bootstrap() {
    let site = used_site(Site::clear);
    let mut opened = open(&site, None);
    let last = opened.record.applied.position;
    let keks = KekSet::new(vec![kek::from_file(&site.kek()).unwrap()]).unwrap();
    let bootstrap = make_bootstrap(&keks, opened.identity.cluster, BootstrapKind::ClearNames, &KernelEntropy).unwrap();
    let mut control = Vec::new();
    encode_control(&bootstrap.encode(), &mut control).unwrap();
    let at = Position { term: last.term, index: Index(last.index.0 + 2) };
    let payloads = [payload(0), control, payload(1)];
    let entries = payloads.iter().zip(last.index.0 + 1..).map(|(payload, index)| LogEntry {
        term: last.term,
        index: Index(index),
        kind: EntryKind::Normal,
        data: EntryFrame { proposal_id: ProposalId(index), payload }.encode(),
    });
    write(&mut opened, entries.collect());
    drop(opened);
    for _ in 0..2 {
        must_halt(&site.clear(), at, 78, &["no_cipher", "--kek-file"]);
        let opened = open(&site, None);
        assert_eq!(opened.record.applied.position.index.next(), at.index);
        assert!(value_of(&opened, b"added-0").is_some());
        assert!(value_of(&opened, b"added-1").is_none());
        assert!(opened.node_keys.current().keyring().is_none());
    }
}
