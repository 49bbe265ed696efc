//! Real clients: redis-cli in both protocols, redis-benchmark without an error, redis-py. `scripts/test` installs them.

use std::process::Command;
use std::process::Output;

use crate::harness::Node;
use crate::harness::Site;

fn run(command: &mut Command) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().unwrap_or_else(|error| panic!("{name}: {error}; scripts/test installs it"))
}

fn redis_cli(port: u16, args: &[&str]) -> String {
    let output = run(Command::new("redis-cli").args(["-p", &port.to_string()]).args(args));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[test]
fn redis_cli_is_answered_in_both_protocols() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    for protocol in ["-2", "-3"] {
        let cli = |args: &[&str]| redis_cli(node.client_port, &[&[protocol], args].concat());
        assert_eq!(cli(&["PING"]), "PONG");
        assert_eq!(cli(&["FLUSHALL"]), "OK");
        assert_eq!(cli(&["set", "greeting", "hello world"]), "OK");
        assert_eq!(cli(&["get", "greeting"]), "hello world");
        assert_eq!(cli(&["get", "nothing"]), "");
        assert_eq!(cli(&["incrby", "n", "41"]), "41");
        assert_eq!(cli(&["incr", "n"]), "42");
        assert_eq!(cli(&["incrbyfloat", "f", "10.5"]), "10.5");
        assert_eq!(cli(&["mset", "a", "1", "b", "2"]), "OK");
        assert_eq!(cli(&["mget", "a", "missing", "b"]), "1\n\n2");
        assert_eq!(cli(&["expire", "a", "100"]), "1");
        assert_eq!(cli(&["ttl", "a"]), "100");
        assert_eq!(cli(&["dbsize"]), "5");
        assert_eq!(cli(&["del", "a", "b", "missing"]), "2");
        assert_eq!(cli(&["exists", "a"]), "0");
        assert_eq!(cli(&["function", "flush"]), "OK");
        assert!(cli(&["incr", "greeting"]).contains("ERR value is not an integer or out of range"));
        assert!(cli(&["frobnicate", "x"]).contains("ERR unknown command 'frobnicate'"));
        assert!(cli(&["info"]).contains("role:master"));
    }
    assert!(redis_cli(node.client_port, &["-3", "hello", "3"]).contains("proto"));
}

#[test]
fn redis_benchmark_runs_without_an_error() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let port = node.client_port.to_string();
    let flags = ["-t", "ping,set,get,incr,mset", "-P", "16", "-c", "50", "-d", "256", "-r", "100000", "-n", "20000"];
    for protocol in [&[][..], &["-3"][..]] {
        let output = run(Command::new("redis-benchmark").args(["-p", &port, "--csv"]).args(flags).args(protocol));
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(!text.to_lowercase().contains("err"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with('"')).count(), 7, "header and six tests: {text}");
    }
}

/// What applications use: a pipeline, expiry, bytes, increments, a client-side RESP3 handshake where it has one.
const REDIS_PY: &str = r"
import sys, os, redis
r = redis.Redis(port=int(sys.argv[1]))
assert r.ping()
value = os.urandom(1000)
assert r.set('binary', value) and r.get('binary') == value
p = r.pipeline(transaction=False)
for i in range(1000):
    p.set('p%d' % i, i)
    p.get('p%d' % i)
    p.incr('count')
answers = p.execute()
assert answers[1::3] == [str(i).encode() for i in range(1000)], answers[:9]
assert answers[2::3] == list(range(1, 1001))
assert r.mset({'x': 1, 'y': 2}) and r.mget('x', 'nope', 'y') == [b'1', None, b'2']
assert r.set('lock', 1, nx=True, px=5000) and r.set('lock', 2, nx=True) is None
assert 0 < r.pttl('lock') <= 5000
assert r.getdel('lock') == b'1' and r.exists('lock') == 0
assert r.append('s', 'abc') == 3 and r.strlen('s') == 3 and r.getrange('s', -2, -1) == b'bc'
try:
    r.incr('s')
    raise SystemExit('incr of a word must fail')
except redis.ResponseError as error:
    assert 'not an integer' in str(error)
assert r.dbsize() == 1000 + 1 + 1 + 2 + 1
assert r.pipeline().set('bal', 100).incr('bal').execute() == [True, 101]
def move(p):
    x = int(p.get('x'))
    p.multi()
    p.set('x', x + 10)
assert r.transaction(move, 'x') == [True] and r.get('x') == b'11'
with r.pipeline() as p:
    p.watch('x')
    r.set('x', 0)
    p.multi()
    p.incr('x')
    try:
        p.execute()
        raise SystemExit('a watched key was changed')
    except redis.WatchError:
        pass
assert sorted(r.scan_iter(match='p1?', count=7)) == [b'p1%d' % i for i in range(10)]
assert sorted(r.keys('p2?')) == [b'p2%d' % i for i in range(10)] and r.randomkey()
assert r.rename('p1', 'renamed') and not r.renamenx('renamed', 'p2') and r.get('renamed') == b'1'
assert r.setbit('bits', 7, 1) == 0 and r.bitcount('bits') == 1 and r.bitpos('bits', 1) == 7
assert r.restore('restored', 0, r.dump('binary')) and r.get('restored') == value
other = redis.Redis(port=int(sys.argv[1]), db=3)
assert other.get('binary') is None and other.set('binary', 'other') and other.dbsize() == 1
assert r.get('binary') == value and other.flushdb() and r.exists('binary') == 1
assert r.flushall() and r.dbsize() == 0
print('redis-py', redis.__version__, 'ok')
";

#[test]
fn redis_py_works() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let output = run(Command::new("/usr/bin/python3").args(["-c", REDIS_PY, &node.client_port.to_string()]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
