//! Seeded inputs of benches: small where they only show that they still run, large where they measure.

use std::sync::Arc;

use bytes::Bytes;
use bytes::BytesMut;

use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Dek;
use crate::crypto::keystore::KeyStore;
use crate::crypto::keystore::LeadershipKey;
use crate::crypto::keystore::Purpose;
use crate::crypto::keystore::TermSalt;
use crate::crypto::open::EntryKeys;
use crate::crypto::seal::seal_entries;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::fsm::codec::encode_batch;
use crate::fsm::command::Expiry;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::testing::seed::Seeded;

/// How much a bench is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// As `cargo test` runs it: each work once, checked.
    Small,
    /// As `cargo bench` runs it.
    Large,
}

impl Scale {
    /// Of this process: cargo says `--bench` to what it measures.
    #[must_use]
    pub fn of_process() -> Scale {
        if std::env::args().any(|argument| argument == "--bench") { Scale::Large } else { Scale::Small }
    }

    /// `large` where it is measured, its ends elsewhere.
    #[must_use]
    pub fn of<T: Copy>(self, large: &[T]) -> Vec<T> {
        match (self, large) {
            (Scale::Small, [first, .., last]) => vec![*first, *last],
            _ => large.to_vec(),
        }
    }
}

/// Keys, values and commands from one seed.
#[derive(Debug)]
pub struct Workload {
    chance: Seeded,
}

impl Workload {
    /// The same inputs for the same seed.
    #[must_use]
    pub fn new(seed: u64) -> Workload {
        Workload { chance: Seeded::new(seed) }
    }

    /// A key as redis-benchmark writes it.
    #[must_use]
    pub fn key(number: usize) -> Bytes {
        Bytes::from(format!("key:{number:012}"))
    }

    /// So many random bytes.
    #[must_use]
    pub fn value(&self, size: usize) -> Bytes {
        Bytes::from(self.chance.bytes(size))
    }

    /// Plain SETs of keys from `first` on.
    #[must_use]
    pub fn sets(&self, first: usize, count: usize, size: usize) -> Vec<WriteCommand> {
        let set = |number| WriteCommand::Set {
            key: Workload::key(number),
            value: self.value(size),
            when: SetIf::Always,
            expiry: Expiry::Clear,
            reply: SetReply::Ok,
        };
        (first..first + count).map(set).collect()
    }

    /// The payload of an entry with `count` SETs.
    ///
    /// # Panics
    /// If they are too many for an entry.
    #[must_use]
    pub fn payload(&self, count: usize, size: usize) -> Vec<u8> {
        let mut payload = Vec::new();
        encode_batch(1, &self.sets(0, count, size), &mut payload).expect("fits one entry");
        payload
    }

    /// Requests as a client sends them, all at once: SETs, or GETs if there is no size.
    #[must_use]
    pub fn pipeline(&self, count: usize, set_bytes: Option<usize>) -> BytesMut {
        let mut inbox = BytesMut::new();
        for number in 0..count {
            let key = Workload::key(number);
            let (words, name) = if set_bytes.is_some() { (3, "SET") } else { (2, "GET") };
            inbox.extend_from_slice(format!("*{words}\r\n$3\r\n{name}\r\n${}\r\n", key.len()).as_bytes());
            inbox.extend_from_slice(&key);
            inbox.extend_from_slice(b"\r\n");
            if let Some(size) = set_bytes {
                inbox.extend_from_slice(format!("${size}\r\n").as_bytes());
                inbox.extend_from_slice(&self.value(size));
                inbox.extend_from_slice(b"\r\n");
            }
        }
        inbox
    }

    /// The same `count` entries twice: as they are without a cipher, and sealed.
    #[must_use]
    pub fn twins(&self, count: usize, size: usize) -> Twins {
        let keys = LogKeys::new();
        let payloads: Vec<Bytes> = (0..count).map(|_| self.value(size)).collect();
        let entry = |(index, data)| LogEntry { term: TERM, index: Index(index), kind: EntryKind::Normal, data };
        let clear =
            (0..).zip(&payloads).map(|(id, payload)| EntryFrame { proposal_id: ProposalId(id), payload }.encode());
        let items: Vec<(ProposalId, &[u8])> =
            (0..).map(ProposalId).zip(payloads.iter().map(|bytes| &bytes[..])).collect();
        let sealed = seal_entries(&keys.leadership(), [9; 7], OPENER.next(), &items).expect("behind its opener");
        Twins {
            clear: (OPENER.0 + 1..).zip(clear).map(entry).collect(),
            sealed: (OPENER.0 + 1..).zip(sealed).map(entry).collect(),
            keys,
        }
    }
}

/// See [`Workload::twins`].
#[derive(Debug)]
pub struct Twins {
    /// Entry frames around the payloads.
    pub clear: Vec<LogEntry>,
    /// The same, sealed at their positions.
    pub sealed: Vec<LogEntry>,
    /// What opens them.
    pub keys: LogKeys,
}

/// One entry key and the opener of a term.
#[derive(Debug)]
pub struct LogKeys {
    store: KeyStore,
    term_salt: TermSalt,
}

impl Default for LogKeys {
    fn default() -> LogKeys {
        LogKeys::new()
    }
}

impl LogKeys {
    /// The same keys every time.
    ///
    /// # Panics
    /// Never: it is the first key.
    #[must_use]
    pub fn new() -> LogKeys {
        let store = KeyStore::new(ClusterId([1; 16]));
        store.insert(key_id(), Purpose::Entry, Dek::new(&[7; 32])).expect("the first key");
        LogKeys { store, term_salt: TermSalt { term: TERM, index: OPENER, salt: [5; 32] } }
    }

    /// For opening.
    #[must_use]
    pub fn entry_keys(&self) -> EntryKeys {
        EntryKeys::new(self.store.snapshot(), Some(self.term_salt))
    }

    /// For sealing.
    ///
    /// # Panics
    /// Never: the key is there.
    #[must_use]
    pub fn leadership(&self) -> Arc<LeadershipKey> {
        self.store.snapshot().entry(key_id()).expect("inserted at first").leadership(&self.term_salt)
    }
}

fn key_id() -> KeyId {
    KeyId::new(1).expect("not 0")
}

/// Term of all entries.
pub const TERM: Term = Term(3);
/// Where the opener of that term stands; the entries follow.
pub const OPENER: Index = Index(10);
