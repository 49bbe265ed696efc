//! NO-SECRETS-OUT in process: every error, log line and panic message that can be provoked, searched for planted secrets.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use sealkv::apply::halt::HaltCause;
use sealkv::apply::halt::HaltClass;
use sealkv::apply::halt::Malformation;
use sealkv::apply::hook::Delivery;
use sealkv::apply::hook::Hook;
use sealkv::apply::hook::StateMachine;
use sealkv::apply::open::Openings;
use sealkv::apply::rows::SealedRows;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::keystore::Purpose;
use sealkv::entry::EntryKind;
use sealkv::entry::LogEntry;
use sealkv::fsm::codec::Payload;
use sealkv::fsm::codec::encode_batch;
use sealkv::fsm::command::Expiry;
use sealkv::fsm::command::SetIf;
use sealkv::fsm::command::SetReply;
use sealkv::fsm::command::WriteCommand;
use sealkv::fsm::name::RowKey;
use sealkv::fsm::reader::Base;
use sealkv::fsm::state::Applied;
use sealkv::ids::Cutover;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;
use sealkv::keys::change::BootstrapKind;
use sealkv::keys::identity::Identity;
use sealkv::keys::kek;
use sealkv::keys::kek::KekSet;
use sealkv::keys::keyring::Keyring;
use sealkv::keys::make::make_bootstrap;
use sealkv::keys::make::make_rotate;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::limits::ENTRY_BYTES_MAX;
use sealkv::limits::VALUE_BYTES_MAX;
use sealkv::node::config::Config;
use sealkv::node::open;
use sealkv::node::open::OpenedNode;
use sealkv::node::settings::Settings;
use sealkv::propose::seal::LeaderSealer;
use sealkv::propose::seal::Proposal;
use sealkv::propose::seal::seal_batch;
use sealkv::testing::base::reader_of;
use sealkv::testing::picture::Picture;
use sealkv::world::KernelEntropy;
use sealkv::world::World;
use zeroize::Zeroizing;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::planted::Planted;
use crate::planted::debugged;
use crate::planted::everything_in;

/// A plaintext value that nobody else writes.
const VALUE: &str = "canary-in-the-value-5b7f1c9e-canary";

/// What the process says by itself: log lines at trace level, panic messages.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn add(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
    }

    fn text(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes what it is given, as the node's own does, and keeps nothing.
struct Decoder;

impl StateMachine for Decoder {
    fn apply(&mut self, delivery: Delivery<'_>) -> Result<(), HaltCause> {
        assert!(!debugged(&delivery).contains("canary"));
        Payload::decode(delivery.payload).map_err(Malformation::Payload)?;
        Ok(())
    }
}

fn set(value: &[u8]) -> WriteCommand {
    WriteCommand::Set {
        key: Bytes::from_static(b"k"),
        value: Bytes::copy_from_slice(value),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    }
}

/// A sealed node's directory with [`VALUE`] in it, opened here.
fn used() -> (Site, OpenedNode) {
    let site = Site::new();
    site.make_random_kek();
    let node = Node::start(&site.sealed());
    for key in 0..3 {
        assert_eq!(node.client().words(&format!("SET key-{key} {VALUE}")), Reply::ok());
    }
    assert_eq!(node.stop().code(), Some(0));
    let settings = Settings { data_dir: Some(site.data()), kek_file: Some(site.kek()), ..Settings::default() };
    let world = World::real();
    let opened = open::open(&Config::check(settings).unwrap(), &world).map_err(|refusal| refusal.to_string()).unwrap();
    (site, opened)
}

#[test]
fn no_secrets_out_of_any_error_line_or_panic_that_can_be_provoked() {
    let said = Said::default();
    let writer = said.clone();
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    lines.init();
    let panics = said.clone();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        panics.add(format!("{info}\n").as_bytes());
        default(info);
    }));
    let (site, opened) = used();
    let mut planted = Planted::keys_of(&site, &opened);
    planted.add("value", VALUE.as_bytes());
    let mut count = 0;
    let mut judge = |place: &str, text: String| {
        planted.assert_absent(place, text);
        count += 1;
    };

    entries(&opened, &mut judge);
    rows(&opened, &mut judge);
    records(&site, &opened, &mut judge);
    things(&site, &opened, &mut judge);
    panic_messages(&opened, &mut judge);
    assert!(count > 300, "{count} things were said");
    let own = said.text();
    for line in ["log opened", "panicked at"] {
        assert!(memchr::memmem::find(&own, line.as_bytes()).is_some(), "{line:?} was captured");
    }
    planted.assert_absent("log lines and panic messages", own);
    println!("{count} errors and debug forms searched");
}

/// Halts of every class that the library makes, and a sealer's errors.
fn entries(opened: &OpenedNode, judge: &mut impl FnMut(&str, String)) {
    let view = opened.node_keys.current();
    let key = view.leadership_key().unwrap();
    let first = Position { term: key.term_salt().term, index: opened.record.applied.position.index.next() };
    let mut payload = Vec::new();
    encode_batch(1, [&set(VALUE.as_bytes())], &mut payload).unwrap();
    let sealer = LeaderSealer::new(&key, &KernelEntropy);
    let seal = |payload: &[u8]| seal_batch(Some(&sealer), first, vec![Proposal::new(ProposalId(7), payload)]);
    let entry = |data| LogEntry { term: first.term, index: first.index, kind: EntryKind::Normal, data };
    let cutover = Arc::new(Cutover::default());
    cutover.set(view.keyring().unwrap().cutover());
    let mut hook = Hook::new(cutover, Openings::new(None));
    let keys = view.entry_keys().unwrap();
    let good = seal(&payload).unwrap().remove(0);
    hook.open_and_deliver(&[entry(good.clone())], Some(&keys), &mut Decoder).unwrap();

    let mut classes = Vec::new();
    let mut halts = |data: Bytes, keys| {
        let halt = hook.open_and_deliver(&[entry(data)], keys, &mut Decoder).unwrap_err();
        classes.push(halt.class());
        judge("a halt", everything_in(&halt));
    };
    for at in 0..good.len() {
        let mut data = good.to_vec();
        data[at] ^= 0x40;
        halts(data.into(), Some(&keys));
    }
    halts(good, None);
    let clear = EntryFrame { proposal_id: ProposalId(7), payload: &payload }.encode();
    halts(clear, Some(&keys));
    halts(Bytes::from(VALUE), Some(&keys));
    for at in 0..payload.len() {
        let mut bad = payload.clone();
        bad[at] ^= 0x80;
        if Payload::decode(&bad).is_err() {
            halts(seal(&bad).unwrap().remove(0), Some(&keys));
        }
        if Payload::decode(&payload[..at]).is_err() {
            halts(seal(&payload[..at]).unwrap().remove(0), Some(&keys));
        }
    }
    halts(seal(VALUE.as_bytes()).unwrap().remove(0), Some(&keys));
    for class in [HaltClass::NoCipher, HaltClass::UnknownKey, HaltClass::Unauthentic, HaltClass::Malformed] {
        assert!(classes.contains(&class), "{class:?} was provoked");
    }

    let huge = VALUE.repeat(ENTRY_BYTES_MAX / VALUE.len() + 1);
    judge("a sealer's error", everything_in(&seal(huge.as_bytes()).unwrap_err()));
    judge("an encoder's error", everything_in(&encode_batch(1, [&set(huge.as_bytes())], &mut Vec::new()).unwrap_err()));
    assert!(huge.len() > VALUE_BYTES_MAX);
    let elsewhere = Position { term: Term(99), index: first.index };
    let refused = seal_batch(Some(&sealer), elsewhere, vec![Proposal::new(ProposalId(7), VALUE.as_bytes())]);
    judge("a sealer's error", everything_in(&refused.unwrap_err()));
    judge("a sealer", debugged(&sealer) + &debugged(&Proposal::new(ProposalId(7), VALUE.as_bytes())));
}

/// Stored rows, changed at each byte, and read with keys and without.
fn rows(opened: &OpenedNode, judge: &mut impl FnMut(&str, String)) {
    let (name, row) = Picture::of_base(&*opened.base).rows.pop_first().expect("a row");
    let asked = RowKey::named(name);
    let sealed_rows = |node_keys| Arc::new(SealedRows::new(Arc::clone(node_keys)));
    let reader = reader_of(Arc::clone(&opened.base), sealed_rows(&opened.node_keys));
    let value = reader.value(asked).unwrap().unwrap();
    assert_eq!(value.bytes, VALUE.as_bytes());
    judge("a value", debugged(&value));
    let keyless = Arc::new(NodeKeys::new(opened.node_keys.cluster(), KekSet::default()));
    for at in 0..row.len() {
        let mut bad = row.clone();
        bad[at] ^= 0x21;
        let rows = [(name, bad)].into();
        let base = Arc::new(Picture { rows, applied: Vec::new(), keyring: None }.to_base());
        for node_keys in [&opened.node_keys, &keyless] {
            let reader = reader_of(base.clone(), sealed_rows(node_keys));
            judge("a read error", everything_in(&reader.value(asked).unwrap_err()));
        }
    }
}

/// Keyring, applied row and IDENTITY, changed at each byte; other KEKs; KEK files that are none.
fn records(site: &Site, opened: &OpenedNode, judge: &mut impl FnMut(&str, String)) {
    let cluster = opened.node_keys.cluster();
    let right = std::fs::read(site.kek()).unwrap();
    let kek = || kek::from_bytes(&Zeroizing::new(right[..].try_into().unwrap()));
    let ours = || KekSet::new(vec![kek()]).unwrap();
    let other = || KekSet::new(vec![kek::from_bytes(&Zeroizing::new([0x77; 32]))]).unwrap();
    judge("two KEKs", everything_in(&KekSet::new(vec![kek(), kek()]).unwrap_err()));
    let Picture { applied: applied_row, keyring, .. } = Picture::of_base(&*opened.base);
    let keyring_row = keyring.unwrap();
    let mac = opened.node_keys.current().mac_key().unwrap();
    let identity = std::fs::read(site.data().join("IDENTITY")).unwrap();
    let flip = |bytes: &[u8], at: usize| [&bytes[..at], &[bytes[at] ^ 0x11], &bytes[at + 1..]].concat();
    for place in 0..keyring_row.len() {
        match Keyring::decode(&flip(&keyring_row, place)) {
            Err(error) => judge("a keyring's error", everything_in(&error)),
            Ok(keyring) => {
                for keks in [ours(), other(), KekSet::default()] {
                    let node_keys = NodeKeys::new(cluster, keks);
                    match node_keys.install(keyring.clone()) {
                        Err(error) => judge("an install error", everything_in(&error)),
                        Ok(()) => {
                            let lack = node_keys.current().needs();
                            judge(
                                "a node's keys",
                                debugged(&node_keys) + &lack.map(|lack| everything_in(&lack)).unwrap_or_default(),
                            );
                        }
                    }
                }
            }
        }
    }
    for place in 0..applied_row.len() {
        let row = flip(&applied_row, place);
        let error = Applied::open(&row, Some(&keyring_row), mac.as_deref()).unwrap_err();
        judge("a state record's error", everything_in(&error));
    }
    for place in 0..identity.len() {
        let error = Identity::open(&flip(&identity, place), &ours()).unwrap_err();
        judge("an identity's error", everything_in(&error));
    }
    judge("an identity's error", everything_in(&Identity::open(&identity, &other()).unwrap_err()));
    judge("an identity's error", everything_in(&Identity::open(&identity, &KekSet::default()).unwrap_err()));
    let path = site.path().join("no-kek");
    let contents: [Vec<u8>; 4] =
        [right[..31].to_vec(), [&right[..], b"\n"].concat(), hex::encode(&right).into_bytes(), right.repeat(9)];
    for content in contents {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        judge("a KEK file's error", everything_in(&kek::from_file(&path).unwrap_err()));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    judge("a KEK file's error", everything_in(&kek::from_file(&path).unwrap_err()));
    // A key or password that somebody put into the settings: the parser would quote its line.
    let config = site.path().join("config");
    for line in [format!("kek = \"{}\"", hex::encode(&right)), format!("{VALUE} {VALUE}")] {
        std::fs::write(&config, format!("# settings\n{line}\n")).unwrap();
        let error = Settings::from_file(&config).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        judge("a configuration error", everything_in(&error));
    }
}

/// What holds secrets, printed.
fn things(site: &Site, opened: &OpenedNode, judge: &mut impl FnMut(&str, String)) {
    let view = opened.node_keys.current();
    let keks = opened.node_keys.keks();
    judge("a node", debugged(&opened) + &debugged(&opened.node_keys) + &debugged(&view));
    judge("keys", debugged(view.keys()) + &debugged(&view.entry_keys().unwrap()) + &debugged(keks));
    judge("a keyring", debugged(view.keyring().unwrap()));
    let identity = std::fs::read(site.data().join("IDENTITY")).unwrap();
    judge("an identity", debugged(&Identity::open(&identity, keks).unwrap()));
    judge("a MAC key", debugged(&view.mac_key().unwrap()));
    judge(
        "a change",
        debugged(&make_bootstrap(keks, opened.node_keys.cluster(), BootstrapKind::Cutover, &KernelEntropy).unwrap()),
    );
    let rotate = make_rotate(keks, view.keyring().unwrap(), Purpose::Entry, &KernelEntropy);
    judge("a change", debugged(&rotate.unwrap()));
}

/// Broken promises of callers, with secrets in hand.
fn panic_messages(opened: &OpenedNode, judge: &mut impl FnMut(&str, String)) {
    let data = EntryFrame { proposal_id: ProposalId(1), payload: VALUE.as_bytes() }.encode();
    let change = LogEntry { term: Term(1), index: Index(2), kind: EntryKind::ConfChange, data };
    let keys = opened.node_keys.current().entry_keys().unwrap();
    let broken: [&dyn Fn(); 4] = [
        &|| drop(Hook::default().open_and_deliver(std::slice::from_ref(&change), Some(&keys), &mut Decoder)),
        &|| drop(Proposal::in_place(ProposalId(1), VALUE.as_bytes()[..3].to_vec())),
        &|| assert_eq!(Index(u64::MAX).next(), Index(0)),
        &|| sealkv::fsm::codec::set_stamp(&mut VALUE.as_bytes()[..5].to_vec(), 1),
    ];
    for broken in broken {
        let payload = catch_unwind(AssertUnwindSafe(broken)).unwrap_err();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        judge("a panic", text.or(payload.downcast_ref::<&str>().copied()).expect("a text").to_owned());
    }
}
