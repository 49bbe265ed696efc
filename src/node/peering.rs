//! The node's side of its connections to the other members: raft's messages, requests of nodes that do not lead, KEKs.
//!
//! ```text
//! request  kind(1) 1 a bundle of requests for the leader, as drawn in `propose`
//!                  2 a request about the members, as drawn in `member_wire.rs`
//!                  3 a request for a snapshot, as drawn in `snapshot/giver.rs`
//! facts    as drawn in `kek_meetings.rs`
//! ```

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::Builder;

use bytes::Bytes;
use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use crate::fsm::state::MemberAddress;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::limits::BOOK_EVERY;
use crate::members::Members;
use crate::node::book::Book;
use crate::node::cluster_config::ClusterConfig;
use crate::node::cluster_config::is_loopback;
use crate::node::kek_meetings::KekMeetings;
use crate::node::member_wire::answer_bytes;
use crate::node::member_wire::take_request;
use crate::node::members_watch::KnownMembers;
use crate::node::members_watch::MembersWatch;
use crate::node::membership::MEMBERS;
use crate::node::membership::NodeMembership;
use crate::node::open::log_facts;
use crate::node::snapshot::SNAPSHOT;
use crate::node::snapshot::Snapshots;
use crate::peers;
use crate::peers::CallAnswer;
use crate::peers::CallFailed;
use crate::peers::CallFuture;
use crate::peers::PeerAddress;
use crate::peers::PeerHandler;
use crate::peers::Peers;
use crate::peers::PeersConfig;
use crate::peers::PeersRefused;
use crate::peers::Security;
use crate::peers::WhyNotSent;
use crate::propose::Bundle;
use crate::propose::Forwarder;
use crate::propose::ProposeHandle;
use crate::raft::Input;
use crate::raft::PeerMessage;
use crate::resp::MemberRefused;
use crate::wal::Recovered;
use crate::world::World;

/// Starts the connections of a node of several. From now on its requests go to who leads, and its members are followed.
///
/// # Errors
/// [`PeersRefused`].
pub(crate) fn start(
    config: &ClusterConfig,
    desk: PeerDesk,
    members: &MembersWatch,
    queue_bytes_max: usize,
) -> Result<Arc<Peers>, PeersRefused> {
    let (proposer, membership) = (desk.proposer.clone(), Arc::clone(&desk.membership));
    if let Some(book) = desk.meetings.book() {
        if !book.is_open() {
            tracing::info!("this directory is new: the node waits until it has met all founders");
            // Raft does not run yet, and its queue is empty.
            drop(desk.raft.send(Input::TakesPart(false)));
        }
        keep_up(book, desk.raft.clone())?;
    }
    let taker = Arc::clone(&desk.snapshots.taker);
    let peers = PeersConfig {
        node: config.node,
        cluster: config.cluster,
        listen: config.peer_listen,
        members: Vec::new(),
        security: match &config.tls {
            Some(files) => Security::MutualTls(files.clone()),
            None => Security::InsecurePlain { beyond_loopback: config.is_insecure },
        },
        threads: 1,
        queue_bytes_max,
    };
    let book = desk.meetings.book().cloned();
    let peers = Arc::new(peers::start(peers, Arc::new(desk))?);
    let dialled = Arc::downgrade(&peers);
    let stays_here = config.tls.is_none() && !config.is_insecure;
    members.tell(Box::new(move |known| {
        // Remembered first, and durably: whoever comes back is refused, after a restart too.
        let remembered = book.as_ref().map(|book| book.take_out(&known.taken_out));
        if let Some(Err(error)) = remembered {
            tracing::warn!(%error, "that nodes were taken out cannot be written");
        }
        if let Some(peers) = dialled.upgrade() {
            peers.set_members(&reachable(known, stays_here));
            peers.turn_out(&known.taken_out);
        }
    }));
    // Only once: this is the one place that sets it.
    let _ = membership.peers.set(Arc::downgrade(&peers));
    let _ = taker.peers.set(Arc::downgrade(&peers));
    proposer.forward_by(Arc::new(PeerForwarder { peers: Arc::downgrade(&peers) }));
    Ok(peers)
}

/// What a node of several remembers of the others. A node that joins has no founder to wait for but one that answers.
///
/// # Errors
/// PEERS cannot be read or written, or is damaged.
pub(crate) fn open_book(
    data_dir: &Path,
    several: &ClusterConfig,
    recovered: &Recovered,
    members: &Members,
    world: &World,
) -> io::Result<Book> {
    let (last, compacted) = (log_facts(recovered).last, recovered.compacted);
    let term = recovered.entries.last().map_or(compacted.term, |entry| entry.term);
    let has = (term.max(recovered.hard_state.term), last);
    let founders = several.founders.iter().map(|founder| founder.node);
    let to_meet = if several.is_joining { Vec::new() } else { founders.collect() };
    let took_part = last > Index(1);
    let book = Book::open(data_dir, several.node, has, took_part, to_meet, &*world.entropy)?;
    // Everything that this log ever had is in the state. With entries, some that made a member may wait to be applied again.
    if recovered.entries.is_empty() {
        book.keep_only(&members.nodes().unwrap_or_default())?;
    }
    Ok(book)
}

/// Writes once in a while what the others have acknowledged, as long as there is a book. Raft may have had no place for the word
/// that this node takes part, so it hears it here once more.
fn keep_up(book: &Arc<Book>, raft: Sender<Input>) -> Result<(), PeersRefused> {
    let mut knows = book.is_open();
    let book = Arc::downgrade(book);
    let keep = move || {
        while let Some(book) = book.upgrade() {
            if let Err(error) = book.save() {
                tracing::warn!(%error, "what the others acknowledged cannot be written");
            }
            let is_new = !knows && book.is_open();
            drop(book);
            if is_new {
                // Gone only when the node ends.
                drop(raft.send(Input::TakesPart(true)));
                knows = true;
            }
            std::thread::sleep(BOOK_EVERY);
        }
    };
    Builder::new().name("book".to_owned()).spawn(keep).map(drop).map_err(PeersRefused::Threads)
}

/// The nodes that have an address; where nothing may leave this machine in the clear, those on it.
fn reachable(known: &KnownMembers, stays_here: bool) -> Vec<(NodeId, PeerAddress)> {
    let address = |member: &MemberAddress| match member.address.parse() {
        Ok(_) if stays_here && !is_loopback(&member.address) => {
            let (node, address) = (member.node.value(), &member.address);
            tracing::error!(node, address, "a member beyond loopback is not dialled without TLS or --insecure-peers");
            None
        }
        Ok(address) => Some((member.node, address)),
        Err(error) => {
            tracing::warn!(node = member.node.value(), address = member.address, %error, "a member cannot be dialled");
            None
        }
    };
    known.dialled().filter_map(address).collect()
}

/// Takes what comes from the peers.
pub(crate) struct PeerDesk {
    /// The raft thread.
    pub(crate) raft: Sender<Input>,
    /// Takes requests of nodes that do not lead.
    pub(crate) proposer: ProposeHandle,
    /// What the peers show of themselves.
    pub(crate) meetings: Arc<KekMeetings>,
    /// Who the members are, and where.
    pub(crate) members: Arc<MembersWatch>,
    /// Takes requests about the members.
    pub(crate) membership: Arc<NodeMembership>,
    /// Fetches snapshots of others, and answers those who fetch them here.
    pub(crate) snapshots: Snapshots,
}

impl PeerHandler for PeerDesk {
    fn message(&self, message: PeerMessage) {
        if let Some(book) = self.meetings.book() {
            // A directory that could have lost something hears nothing: it neither votes nor acknowledges.
            if !book.is_open() {
                return;
            }
            if let (Some(node), Some(reach)) = (NodeId::new(message.from()), message.acknowledges()) {
                book.acknowledged(node, reach);
            }
        }
        // A full queue drops it: raft sends again.
        drop(self.raft.try_send(Input::Message(message)));
    }

    fn undialled(&self, node: NodeId) {
        self.members.hear(node);
    }

    fn unreachable(&self, node: NodeId) {
        drop(self.raft.try_send(Input::Unreachable(node.value())));
    }

    fn facts(&self) -> Vec<u8> {
        self.meetings.facts()
    }

    fn meet(&self, node: NodeId, facts: &[u8]) -> Result<(), String> {
        let could_take_part = self.meetings.book().is_none_or(|book| book.is_open());
        self.meetings.meet(node, facts)?;
        if !could_take_part && self.meetings.book().is_none_or(|book| book.is_open()) {
            tracing::info!("all founders were met: this node takes part from now on");
            drop(self.raft.try_send(Input::TakesPart(true)));
        }
        Ok(())
    }

    fn call(&self, from: NodeId, request: Bytes) -> CallFuture {
        // A node that was taken out has its certificate still. Raft's own messages are another matter: who is behind may hear of
        // a newer member first from that member.
        if !self.meetings.is_member(from) {
            return Box::pin(async { CallAnswer::NotRun });
        }
        let (done, answer) = oneshot::channel();
        match request.first() {
            Some(&FORWARD) => {
                // The connection may have gone; then nobody wants the answer.
                self.proposer.forwarded(&request[1..], Box::new(move |bytes| drop(done.send(bytes))));
            }
            Some(&SNAPSHOT) => {
                // It reads from a disk, which no thread that moves bytes waits for.
                let giver = Arc::clone(&self.snapshots.giver);
                let read = tokio::task::spawn_blocking(move || giver.answer(from, &request[1..]));
                return Box::pin(async move {
                    read.await.map_or(CallAnswer::NotRun, |piece| CallAnswer::Done(piece.into()))
                });
            }
            Some(&MEMBERS) => match take_request(&request[1..]) {
                Ok(request) => {
                    let answered = move |result| drop(done.send(answer_bytes(&result)));
                    self.membership.do_here(request, Box::new(answered));
                }
                Err(error) => {
                    let words = format!("the leader does not understand this request: {error}");
                    drop(done.send(answer_bytes(&Err(MemberRefused::Words(words)))));
                }
            },
            _ => return Box::pin(async { CallAnswer::NotRun }),
        }
        Box::pin(async {
            match answer.await {
                Ok(bytes) => CallAnswer::Done(bytes.into()),
                Err(_) => CallAnswer::Unknown,
            }
        })
    }
}

/// Requests on their way to the leader.
struct PeerForwarder {
    peers: std::sync::Weak<Peers>,
}

impl Forwarder for PeerForwarder {
    fn forward(&self, leader: NodeId, mut bundle: Bundle) {
        let Some(peers) = self.peers.upgrade() else { return bundle.not_sent() };
        let mut request = vec![FORWARD];
        request.append(&mut bundle.bytes());
        let patience = bundle.patience();
        let done = move |result: Result<Bytes, CallFailed>| match result {
            Ok(answer) => bundle.answered(&answer),
            Err(CallFailed::NotSent(WhyNotSent::TooLong { .. })) => bundle.too_large(),
            Err(CallFailed::NotSent(_)) => bundle.not_sent(),
            // Dropped: nobody knows how its requests end.
            Err(CallFailed::Unknown) => {}
        };
        peers.call_then(leader, request.into(), patience, Box::new(done));
    }
}

const FORWARD: u8 = 1;
