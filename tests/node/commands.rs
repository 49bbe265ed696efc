//! Every command beside Redis itself: the same random commands to both, each reply compared.
//!
//! Left out, because the servers must differ: times to live in numbers (two clocks), the order of keys, what OBJECT tells of how a
//! value came about, the version in INFO, CLUSTER INFO and READONLY (members of a cluster answer them here), DUMP of values that Redis compresses (the payload is restored on the other side).

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::redis::Redis;

/// Draws what replays from its seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        list[self.below(list.len())]
    }

    /// A line of the grammar with each word of one capital letter replaced; now and then with one argument too few or too many.
    fn arguments(&mut self) -> Vec<Vec<u8>> {
        let line = self.pick(COMMANDS);
        let mut arguments: Vec<Vec<u8>> = line.split(' ').map(|word| self.word(word)).collect();
        match self.below(50) {
            0 if arguments.len() > 1 && !is_exact(&arguments[0]) => drop(arguments.pop()),
            1 if !is_exact(&arguments[0]) => arguments.push(b"extra".to_vec()),
            2 => arguments[0].make_ascii_lowercase(),
            _ => {}
        }
        arguments
    }

    fn word(&mut self, word: &str) -> Vec<u8> {
        let list: &[&'static str] = match word {
            "K" => &["a", "b", "c", "d", "", "key:with:colons"],
            "V" => &["", "1", "-7", "2.5", "x", "hello", "foobar", "\u{e9}\0\u{1}", "9223372036854775807", "007"],
            "N" => &[
                "0",
                "1",
                "-1",
                "2",
                "7",
                "-100",
                "100",
                "9223372036854775807",
                "-9223372036854775808",
                "x",
                "1.5",
                "",
            ],
            "S" => &["0", "1", "-1", "3", "5", "-5", "100", "-100", "x"],
            "O" => &["0", "1", "5", "7", "8", "31", "100", "-1", "x", "4294967296"],
            "B" => &["0", "1", "2", "x"],
            "T" => &["u1", "u5", "u8", "i5", "i8", "i64", "u63", "u64", "i0", "f8", "i16"],
            "F" => &["0", "3", "#0", "#1", "#7", "100", "-1", "#x"],
            "W" => &["WRAP", "SAT", "wrap", "MAYBE"],
            "P" => &["*", "a", "?", "[a-c]", "k*:*s", "[^a]", "\\a", "b*", "nosuch"],
            "D" => &["0", "0", "0", "1", "15", "16", "-1", "x"],
            "E" => &["100000000", "1000000000", "0", "-1", "x", "9223372036854775807"],
            other => return other.as_bytes().to_vec(),
        };
        self.pick(list).as_bytes().to_vec()
    }
}

/// Commands whose number of arguments is left alone: Redis 7.0 looks at the key of BITCOUNT and BITPOS first, and refuses
/// wrong subcommands of these others when they are queued, not when they run.
fn is_exact(name: &[u8]) -> bool {
    let names = [
        "BITCOUNT", "BITPOS", "MEMORY", "SLOWLOG", "LATENCY", "ACL", "MODULE", "CLUSTER", "CLIENT", "COMMAND",
        "FUNCTION",
    ];
    names.iter().any(|exact| name.eq_ignore_ascii_case(exact.as_bytes()))
}

/// One connection to each server, and what is known of both.
struct Pair {
    ours: Client,
    theirs: Client,
    queued: Vec<Vec<Vec<u8>>>,
    /// Watched keys that were not there when the watch began, each with its database.
    absent: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Pair {
    /// Sends a command to both servers. What is wrong with the replies.
    fn play(&mut self, arguments: &[Vec<u8>]) -> Result<Reply, String> {
        let words: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let (their, our) = (self.theirs.call(&words), self.ours.call(&words));
        let name = String::from_utf8_lossy(words[0]).to_ascii_uppercase();
        let is_alike = match (&name[..], &our, &their) {
            ("EXEC", Reply::Array(our), Reply::Array(their)) if our.len() == self.queued.len() => {
                let pairs = our.iter().zip(their).zip(&self.queued);
                our.len() == their.len() && pairs.clone().all(|((our, their), queued)| are_alike(queued, our, their))
            }
            _ => are_alike(arguments, &our, &their),
        };
        match &our {
            Reply::Simple(word) if word == "QUEUED" => self.queued.push(arguments.to_vec()),
            Reply::Simple(word) if word == "OK" && name == "WATCH" => self.watch(&words[1..]),
            // Outside of a transaction these are errors that end nothing.
            Reply::Error(words) if words.contains("without MULTI") => {}
            _ if matches!(&name[..], "EXEC" | "DISCARD" | "RESET" | "UNWATCH") => {
                self.queued.clear();
                self.absent.clear();
            }
            _ => {}
        }
        if is_alike {
            return Ok(our);
        }
        let shown: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
        Err(format!("{shown:?}\n  ours   {our:?}\n  theirs {their:?}"))
    }
}

impl Pair {
    fn watch(&mut self, keys: &[&[u8]]) {
        let Reply::Bulk(client) = self.ours.words("CLIENT INFO") else { panic!("a line about the client") };
        let client = String::from_utf8(client).unwrap();
        let database = client.split(' ').find_map(|word| word.strip_prefix("db=")).unwrap();
        for key in keys {
            if self.ours.call(&[b"EXISTS", key]) == Reply::Integer(0) {
                self.absent.push((database.as_bytes().to_vec(), key.to_vec()));
            }
        }
    }

    /// Whether a watched key that was not there is not there again: here it counts as unchanged, Redis knows that it came and went.
    fn may_have_come_and_gone(&self, observer: &mut Client) -> bool {
        self.absent.iter().any(|(database, key)| {
            assert_eq!(observer.call(&[b"SELECT", database]), Reply::ok());
            observer.call(&[b"EXISTS", key]) == Reply::Integer(0)
        })
    }
}

/// Method: two connections to each server, one random command after another on one of them. Size and seed come from outside.
#[test]
fn random_commands_are_answered_as_redis_answers_them() {
    let Some(redis) = Redis::start() else { return };
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let pair =
        || Pair { ours: node.client(), theirs: Client::connect(redis.port), queued: Vec::new(), absent: Vec::new() };
    let (mut pairs, mut observer) = ([pair(), pair()], node.client());
    let number =
        |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (seed, runs) = (number("SEALKV_SEED", 20_261_129), number("SEALKV_RUNS", 10_000));
    println!("SEALKV_SEED={seed}");
    let mut draw = Draw(seed);
    let (mut failed, mut errors, mut blurred) = (0, 0_u64, 0);
    for step in 0..runs {
        let which = usize::from(draw.below(3) == 0);
        let arguments = draw.arguments();
        let is = |name: &str| arguments[0].eq_ignore_ascii_case(name.as_bytes());
        let is_blurred = is("exec") && pairs[which].may_have_come_and_gone(&mut observer);
        match pairs[which].play(&arguments) {
            Ok(Reply::Bulk(_)) if is("dump") => pairs[which].cross_restore(&arguments),
            Ok(our) => errors += u64::from(matches!(our, Reply::Error(_))),
            Err(_) if is_blurred => {
                blurred += 1;
                pairs.iter_mut().for_each(|pair| drop(pair.play(&[b"RESET".to_vec()])));
                pairs[which].play(&[b"FLUSHALL".to_vec()]).unwrap();
            }
            Err(difference) => {
                failed += 1;
                println!("step {step}, connection {which}: {difference}");
                assert!(failed < 20, "too many differences to go on");
            }
        }
    }
    assert!(blurred <= 1 + runs / 2000, "{blurred} of {runs} were transactions whose watched key came and went");
    println!("{runs} tried, {failed} failed");
    assert_eq!(failed, 0);
    assert!(errors > runs / 50 && errors < runs / 2, "vacuous: {errors} errors in {runs}");
}

impl Pair {
    /// What one server dumps, the other one restores.
    fn cross_restore(&mut self, dump: &[Vec<u8>]) {
        let dump: Vec<&[u8]> = dump.iter().map(Vec::as_slice).collect();
        let (Reply::Bulk(their), Reply::Bulk(our)) = (self.theirs.call(&dump), self.ours.call(&dump)) else { return };
        let replies = [
            self.theirs.call(&[b"RESTORE", b"d", b"0", &our, b"REPLACE"]),
            self.ours.call(&[b"RESTORE", b"d", b"0", &their, b"REPLACE"]),
        ];
        assert_eq!(replies[0], replies[1], "{our:?} {their:?}");
        assert_eq!(self.ours.words("GET d"), self.theirs.words("GET d"));
    }
}

/// Whether two replies are the same, but for what must differ.
fn are_alike(arguments: &[Vec<u8>], our: &Reply, their: &Reply) -> bool {
    let name = String::from_utf8_lossy(&arguments[0]).to_ascii_uppercase();
    match (&name[..], our, their) {
        ("KEYS", Reply::Array(our), Reply::Array(their)) => sorted(our) == sorted(their),
        ("SCAN", Reply::Array(our), Reply::Array(their)) => {
            matches!((&our[1], &their[1]), (Reply::Array(our), Reply::Array(their)) if sorted(our) == sorted(their))
        }
        ("RANDOMKEY", Reply::Bulk(_), Reply::Bulk(_)) => true,
        ("DUMP", Reply::Bulk(our), Reply::Bulk(their)) => our.len() > 30 || our == their,
        ("TTL" | "PTTL" | "EXPIRETIME" | "PEXPIRETIME", Reply::Integer(our), Reply::Integer(their)) => {
            (*our < 0) == (*their < 0) && our.abs_diff(*their) < 5000
        }
        (_, our, their) => our == their,
    }
}

fn sorted(replies: &[Reply]) -> Vec<String> {
    let mut shown: Vec<String> = replies.iter().map(|reply| format!("{reply:?}")).collect();
    shown.sort();
    shown
}

/// A word of one capital letter stands for one of a list, see [`Draw::word`].
const COMMANDS: &[&str] = &[
    "SET K V",
    "SET K V",
    "SET K V",
    "SET K V NX",
    "SET K V XX",
    "SET K V XX GET",
    "SET K V NX GET",
    "SET K V EX E",
    "SET K V KEEPTTL",
    "SET K V PX 1000000",
    "SET K V PXAT 99999999999999",
    "SETNX K V",
    "SETEX K E V",
    "PSETEX K E V",
    "GETSET K V",
    "GET K",
    "GET K",
    "GETDEL K",
    "GETEX K",
    "GETEX K PERSIST",
    "GETEX K EX E",
    "MGET K K K",
    "MSET K V K V",
    "MSETNX K V K V",
    "STRLEN K",
    "APPEND K V",
    "GETRANGE K S S",
    "SUBSTR K S S",
    "SETRANGE K O V",
    "INCR K",
    "DECR K",
    "INCRBY K N",
    "DECRBY K N",
    "DEL K",
    "DEL K K",
    "UNLINK K K",
    "EXISTS K K",
    "TOUCH K K",
    "TYPE K",
    "TTL K",
    "PTTL K",
    "EXPIRETIME K",
    "PEXPIRETIME K",
    "EXPIRE K E",
    "EXPIRE K E NX",
    "EXPIRE K 500000 XX",
    "EXPIRE K 500000 NX XX",
    "PEXPIRE K 900000",
    "EXPIREAT K E",
    "PERSIST K",
    "RENAME K K",
    "RENAME K K",
    "RENAMENX K K",
    "COPY K K",
    "COPY K K REPLACE",
    "COPY K K DB D",
    "MOVE K D",
    "DUMP K",
    "RESTORE K 0 rubbish",
    "KEYS P",
    "SCAN 0 COUNT 1000",
    "SCAN 0 MATCH P COUNT 1000",
    "SCAN 0 TYPE list COUNT 1000",
    "SCAN x",
    "SCAN 0 COUNT 0",
    "SCAN 0 COUNT x",
    "RANDOMKEY",
    "DBSIZE",
    "SELECT D",
    "SELECT 0",
    "SELECT 0",
    "SETBIT K O B",
    "SETBIT K O B",
    "GETBIT K O",
    "BITCOUNT K",
    "BITCOUNT K 0 -1 BIT",
    "BITPOS K B",
    "BITOP AND K K K",
    "BITOP OR K K K",
    "BITOP XOR K K K K",
    "BITOP NOT K K",
    "BITOP NAND K K",
    "BITFIELD K GET T F",
    "BITFIELD K SET T F N",
    "BITFIELD K INCRBY T F N",
    "BITFIELD K OVERFLOW W INCRBY T F N GET T F",
    "BITFIELD_RO K GET T F",
    "BITFIELD_RO K SET T F N",
    "LCS K K",
    "LCS K K LEN",
    "LCS K K IDX",
    "LCS K K IDX MINMATCHLEN S WITHMATCHLEN",
    "LCS K K LEN IDX",
    "OBJECT REFCOUNT nosuch",
    "OBJECT FREQ K",
    "OBJECT nosuch K",
    "MEMORY USAGE nosuch",
    "MEMORY USAGE K SAMPLES x",
    "MULTI",
    "MULTI",
    "EXEC",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH w",
    "WATCH w nosuch",
    "SET w V",
    "INCR w",
    "APPEND w V",
    "EXPIRE w 500000",
    "SET w V",
    "UNWATCH",
    "PING",
    "PING V",
    "ECHO V",
    "FLUSHDB",
    "FLUSHALL ASYNC",
    "RESET",
    "WAIT 0 S",
    "SLOWLOG LEN",
    "SLOWLOG GET S",
    "LATENCY RESET nosuch",
    "ACL WHOAMI",
    "ACL USERS",
    "MODULE LIST",
    "CLIENT GETNAME",
    "CLIENT GETREDIR",
    "CLIENT UNPAUSE",
    "CLIENT NO-EVICT B",
    "COMMAND GETKEYS SET K V",
    "COMMAND GETKEYS BITOP AND K K K",
    "COMMAND GETKEYS OBJECT ENCODING K",
    "NOSUCH K",
    "LOLWUTS",
    "FUNCTION FLUSH",
];
