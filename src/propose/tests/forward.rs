//! Requests at followers: they reach the leader once, their outcomes come back, and nothing that may have arrived is sent again.

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;

use super::cluster::Cluster;
use super::cluster::IDS;
use super::rig::set;
use crate::fsm::codec::Condition;
use crate::fsm::command::ReadCommand;
use crate::fsm::name::Database;
use crate::ids::NodeId;
use crate::propose::*;

/// Bundles on their way, with who they are for.
type Post = Arc<Mutex<Vec<(u64, Bundle)>>>;

/// Answers on their way back.
type Answers = Arc<Mutex<Vec<(Bundle, Vec<u8>)>>>;

struct Postman(Post);

impl Forwarder for Postman {
    fn forward(&self, leader: NodeId, bundle: Bundle) {
        self.0.lock().unwrap().push((leader.value(), bundle));
    }
}

/// What becomes of a bundle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    NotSent,
    /// It arrives, and its answer does not.
    NoAnswer,
}

struct Posted {
    cluster: Cluster,
    post: Post,
    answers: Answers,
}

impl Posted {
    fn new(seed: u64) -> Posted {
        let (cluster, post) = (Cluster::new(Mode::On, seed), Post::default());
        IDS.iter().for_each(|id| cluster.nodes[id].handle.forward_by(Arc::new(Postman(Arc::clone(&post)))));
        Posted { cluster, post, answers: Arc::default() }
    }

    /// A round, with the bundles that were sent and the answers that were given before it. How many arrived.
    fn round(&mut self, way: Way) -> usize {
        let (bundles, answers) = (std::mem::take(&mut *self.post.lock().unwrap()), Arc::clone(&self.answers));
        let count = bundles.len();
        for (to, mut bundle) in bundles {
            let (bytes, answers) = (bundle.bytes(), Arc::clone(&answers));
            match way {
                Way::NotSent => bundle.not_sent(),
                Way::NoAnswer => self.cluster.nodes[&to].handle.forwarded(&bytes, Box::new(move |_| drop(bundle))),
                Way::There => {
                    let answer = move |answer| answers.lock().unwrap().push((bundle, answer));
                    self.cluster.nodes[&to].handle.forwarded(&bytes, Box::new(answer));
                }
            }
        }
        let answers = std::mem::take(&mut *answers.lock().unwrap());
        answers.into_iter().for_each(|(bundle, answer)| bundle.answered(&answer));
        self.cluster.round();
        count
    }

    fn rounds(&mut self, count: usize, way: Way) -> usize {
        (0..count).map(|_| self.round(way)).sum()
    }

    fn follower(&self) -> u64 {
        let leader = self.cluster.leader().unwrap();
        IDS.into_iter().find(|id| *id != leader).unwrap()
    }

    fn batches(&self) -> usize {
        self.cluster.words.iter().filter(|word| word.contains("batch")).count()
    }
}

#[test]
fn a_write_at_a_follower_is_executed_once_by_the_leader_and_answered_at_the_follower() {
    let mut posted = Posted::new(1);
    posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    (0..40).for_each(|name| posted.cluster.set(follower, name));
    let arrived = posted.rounds(20, Way::There);
    assert_eq!(arrived, 1, "what waits together travels together");
    for name in 0..40 {
        assert_eq!(posted.cluster.end_of(name), Some("Replies([Ok])"));
    }
    assert_eq!(posted.batches(), 40);
    assert!(posted.cluster.words.iter().filter(|word| word.contains("batch")).all(|word| word.starts_with("sealed")));
}

#[test]
fn a_transaction_with_conditions_reads_and_databases_travels_whole() {
    let mut posted = Posted::new(2);
    posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    let read = |key: &'static str| {
        RequestSlot::Read(Database::new(3).unwrap(), ReadCommand::Get { key: Bytes::from_static(key.as_bytes()) })
    };
    let node = &posted.cluster.nodes[&follower];
    let mut request = node.request(7, vec![read("a"), set("k", b"1"), read("k"), set("l", b"2")]);
    request.conditions = vec![Condition::new(Database::FIRST, Bytes::from_static(b"watched"), 9)];
    node.handle.propose(request).unwrap();
    posted.rounds(20, Way::There);
    assert_eq!(posted.cluster.end_of(7), Some("Replies([Ok, Ok, Ok, Ok])"), "one reply a slot, by the double");
    assert_eq!(posted.batches(), 1);
    assert_eq!(posted.cluster.words.last().unwrap(), "sealed batch of 2");
}

#[test]
fn what_was_not_sent_waits_and_is_sent_when_it_can_be() {
    let mut posted = Posted::new(3);
    posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    posted.cluster.set(follower, 1);
    assert!(posted.rounds(50, Way::NotSent) > 3, "it is tried again, with pauses");
    assert_eq!(posted.cluster.end_of(1), None);
    posted.rounds(20, Way::There);
    assert_eq!(posted.cluster.end_of(1), Some("Replies([Ok])"));
    assert_eq!(posted.batches(), 1);
    posted.cluster.set(follower, 2);
    posted.rounds(300, Way::NotSent);
    assert_eq!(posted.cluster.end_of(2), Some("NotLeader(None)"), "for as long as it may wait");
}

#[test]
fn what_may_have_arrived_is_never_sent_again() {
    let mut posted = Posted::new(4);
    posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    posted.cluster.set(follower, 1);
    assert_eq!(posted.rounds(600, Way::NoAnswer), 1);
    assert_eq!(posted.cluster.end_of(1), Some("Unknown"));
    assert_eq!(posted.batches(), 1, "it was executed all the same");
}

// The follower believes in a leader that is none any more: it is told so, and nothing was proposed.
#[test]
fn a_node_that_does_not_lead_gives_a_forwarded_request_back() {
    let mut posted = Posted::new(5);
    let old = posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    let third = IDS.into_iter().find(|id| *id != old && *id != follower).unwrap();
    posted.cluster.set(follower, 1);
    posted.cluster.round();
    let mut post = posted.post.lock().unwrap();
    assert_eq!(post.len(), 1);
    post[0].0 = third;
    drop(post);
    posted.round(Way::There);
    posted.rounds(30, Way::There);
    assert_eq!(posted.cluster.end_of(1), Some("Replies([Ok])"), "it went to the leader after that");
    assert_eq!(posted.batches(), 1);
}

// What a node of another version sends: it would be malformed the next time too.
#[test]
fn what_the_leader_does_not_understand_is_refused_once_and_what_came_with_it_goes_again() {
    let mut posted = Posted::new(7);
    let leader = posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    (1..=3).for_each(|name| posted.cluster.set(follower, name));
    posted.cluster.round();
    let (_, mut bundle) = posted.post.lock().unwrap().remove(0);
    let mut bytes = bundle.bytes();
    let each = (bytes.len() - 3) / 3;
    // The kind of the first slot of the second one.
    bytes[3 + each + 16] = 9;
    let answers = Arc::clone(&posted.answers);
    let answer = move |answer| answers.lock().unwrap().push((bundle, answer));
    posted.cluster.nodes[&leader].handle.forwarded(&bytes, Box::new(answer));
    posted.rounds(1, Way::There);
    assert!(posted.cluster.end_of(2).unwrap().contains("field slot has value 9"), "{:?}", posted.cluster.end_of(2));
    assert_eq!((posted.cluster.end_of(1), posted.cluster.end_of(3)), (None, None));
    posted.rounds(20, Way::There);
    for name in [1, 3] {
        assert_eq!(posted.cluster.end_of(name), Some("Replies([Ok])"));
    }
    assert_eq!(posted.batches(), 2);
    posted.cluster.set(follower, 4);
    posted.cluster.round();
    let (_, bundle) = posted.post.lock().unwrap().remove(0);
    let whole = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&whole);
    posted.cluster.nodes[&leader].handle.forwarded(&[9], Box::new(move |answer| *sink.lock().unwrap() = answer));
    bundle.answered(&whole.lock().unwrap());
    posted.rounds(20, Way::There);
    assert!(posted.cluster.end_of(4).unwrap().contains("version"), "{:?}", posted.cluster.end_of(4));
}

#[test]
fn bytes_that_are_no_bundle_are_refused_and_nothing_is_proposed() {
    let mut posted = Posted::new(6);
    let leader = posted.cluster.elect();
    posted.rounds(20, Way::There);
    let follower = posted.follower();
    posted.cluster.set(follower, 1);
    posted.cluster.round();
    let (_, mut bundle) = posted.post.lock().unwrap().remove(0);
    let bytes = bundle.bytes();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let send = |bytes: &[u8]| {
        let sink = Arc::clone(&answers);
        posted.cluster.nodes[&leader]
            .handle
            .forwarded(bytes, Box::new(move |answer| sink.lock().unwrap().push(answer)));
    };
    for cut in 0..bytes.len() {
        send(&bytes[..cut]);
    }
    let mut long = bytes.clone();
    long.push(0);
    send(&long);
    assert_eq!(answers.lock().unwrap().len(), bytes.len() + 1);
    assert!(answers.lock().unwrap().iter().all(|answer| answer.starts_with(&[1, 0, 0])), "refused, with words");
    drop(bundle);
    posted.rounds(10, Way::There);
    assert_eq!(posted.batches(), 0);
    assert_eq!(posted.cluster.end_of(1), Some("Unknown"));
}
