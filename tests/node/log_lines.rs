//! Saying something never ends, hangs or mutes a node, whoever takes its log lines and however badly.

use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::command;
use crate::harness::free_port;
use crate::harness::refused_start;
use crate::harness::sealkv;
use crate::harness::text;
use crate::operator::CONFIG;
use crate::operator::http;

/// A sealed node that logs a line for every step, on ports that are known before it says anything.
struct Talker {
    child: Child,
    client_port: u16,
    admin_port: u16,
}

impl Talker {
    fn start(site: &Site, mut command: Command) -> Talker {
        let (client_port, admin_port) = (free_port(), free_port());
        command.args(["--listen", &format!("127.0.0.1:{client_port}")]);
        command.args(["--admin-listen", &format!("127.0.0.1:{admin_port}")]);
        command.args(["--log-level", "trace", "--data-dir", &text(&site.data()), "--kek-file", &text(&site.kek())]);
        command.args(crate::harness::SMALL_LOG);
        let talker = Talker { child: command.spawn().unwrap(), client_port, admin_port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !http_is_ready(admin_port) {
            assert!(Instant::now() < deadline, "it does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        talker
    }

    /// Far more lines than any queue or pipe holds, and every command is answered.
    fn must_serve_while_it_talks(&self) {
        let mut client = Client::connect(self.client_port);
        for number in 0..6000 {
            assert_eq!(client.words(&format!("SET k {number}")), Reply::ok());
        }
        assert_eq!(client.words("GET k"), Reply::bulk("5999"));
    }

    fn dropped(&self) -> u64 {
        let (_, body) = http(self.admin_port, "/metrics");
        let text = String::from_utf8(body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("sealkv_log_lines_dropped_total ")).unwrap();
        line.parse::<f64>().unwrap() as u64
    }

    fn must_stop_with_zero(mut self) {
        let began = Instant::now();
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < Duration::from_secs(8), "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn http_is_ready(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() && http(port, "/readyz").0.starts_with("HTTP/1.1 200")
}

fn serve() -> Command {
    let mut command = sealkv();
    command.arg("serve");
    command
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_no_client_and_no_end() {
    let site = Site::new();
    let mut command = serve();
    command.stdout(Stdio::piped());
    let mut talker = Talker::start(&site, command);
    talker.must_serve_while_it_talks();
    assert!(talker.dropped() > 1000, "{} lines were dropped", talker.dropped());
    let pipe = talker.child.stdout.take().unwrap();
    talker.must_stop_with_zero();
    drop(pipe);
}

#[test]
fn a_second_signal_ends_a_node_whose_log_nobody_reads() {
    let site = Site::new();
    let mut command = serve();
    command.stdout(Stdio::piped());
    let mut talker = Talker::start(&site, command);
    talker.must_serve_while_it_talks();
    // A client in the middle of a command keeps the first signal waiting.
    let mut slow = Client::connect(talker.client_port);
    slow.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n").unwrap();
    let pid = talker.child.id().to_string();
    let began = Instant::now();
    for _ in 0..2 {
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = talker.child.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(matches!(status.code(), Some(0 | 143)), "{status}");
}

#[test]
fn readers_of_both_streams_that_are_gone_do_not_end_the_node() {
    let site = Site::new();
    let mut command = serve();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut talker = Talker::start(&site, command);
    drop((talker.child.stdout.take(), talker.child.stderr.take()));
    talker.must_serve_while_it_talks();
    assert!(talker.dropped() > 1000);
    talker.must_stop_with_zero();
}

#[test]
fn a_closed_standard_output_and_a_full_disk_under_the_log_file_do_not_end_the_node() {
    for script in ["exec \"$0\" serve \"$@\" >&- 2>&-", "exec \"$0\" serve \"$@\" >/dev/full 2>&1"] {
        let site = Site::new();
        let mut command = command("bash");
        command.args(["-c", script, env!("CARGO_BIN_EXE_sealkv")]);
        let talker = Talker::start(&site, command);
        talker.must_serve_while_it_talks();
        assert!(!script.contains("full") || talker.dropped() > 1000);
        talker.must_stop_with_zero();
    }
}

/// A full disk becomes one with space: the file shows how many lines are missing, and each line stands for itself.
#[test]
fn lines_that_were_dropped_are_counted_in_the_first_one_that_can_be_written_again() {
    let site = Site::new();
    let mut command = serve();
    command.args(["--log-format", "json"]).stdout(Stdio::piped());
    let mut talker = Talker::start(&site, command);
    talker.must_serve_while_it_talks();
    assert!(talker.dropped() > 1000);
    let lines = BufReader::new(talker.child.stdout.take().unwrap()).lines();
    let mut counted = 0;
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let line: serde_json::Value = serde_json::from_str(&line).expect("a whole line");
            counted +=
                line["lines"].as_u64().filter(|_| line["message"].as_str().unwrap().contains("dropped")).unwrap_or(0);
        }
        counted
    });
    std::thread::sleep(Duration::from_millis(1500));
    Client::connect(talker.client_port).words("SET k v");
    talker.must_stop_with_zero();
    assert!(reader.join().unwrap() > 1000);
}

#[test]
fn a_reason_that_nobody_reads_does_not_hold_up_a_refused_start() {
    let site = Site::new();
    let mut command = command("bash");
    let script = "exec \"$0\" \"$@\" 2>&1 | (exec <&-; sleep 0.1); exit ${PIPESTATUS[0]}";
    command.args(["-c", script, env!("CARGO_BIN_EXE_sealkv")]).args(site.base()).args(["--kek-file", "/nowhere"]);
    assert_eq!(command.output().unwrap().status.code(), Some(CONFIG));
    let mut usage = sealkv();
    usage
        .args(["serve", "--port", "1"])
        .stdout(Stdio::null())
        .stderr(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(usage.status().unwrap().code(), Some(CONFIG), "no panic because a line could not be written");
}

#[test]
fn a_word_that_is_no_level_is_refused_with_78_and_the_levels() {
    let site = Site::new();
    let file = site.path().join("sealkv.toml");
    std::fs::write(&file, "log_level = \"inof\"\n").unwrap();
    for more in [["--log-level", "inof"], ["--log-level", "info,sealkv"], ["--config", &text(&file)]] {
        let args: Vec<String> = site.sealed().into_iter().chain(more.map(str::to_owned)).collect();
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
        assert!(refusal.output.contains("expected error, warn, info, debug or trace"), "{}", refusal.output);
        assert_eq!(refusal.output.lines().count(), 1, "{}", refusal.output);
    }
    let args: Vec<String> =
        site.sealed().into_iter().chain(["--log-level".into(), "warn,sealkv=info".into()]).collect();
    assert_eq!(Node::start(&args).stop().code(), Some(0), "single targets have levels of their own");
}

#[test]
fn the_reason_of_an_end_is_the_last_line() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    assert_eq!(node.client().words("SET k v"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    std::fs::remove_file(site.data().join("state/CURRENT")).unwrap();
    let mut child = sealkv().args(site.sealed()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(74));
    let last: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert!(last["level"] == "ERROR" && last["message"].as_str().unwrap().starts_with("state/"), "{output}");
}

#[test]
fn the_filter_of_log_lines_is_changed_while_the_node_runs() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    assert_eq!(client.words("CONFIG SET loglevel error"), Reply::ok());
    assert_eq!(client.words("CONFIG GET loglevel"), Reply::Array(vec![Reply::bulk("loglevel"), Reply::bulk("error")]));
    assert!(
        node.says("other log lines are written from now on"),
        "lines about operators are written whatever the level is"
    );
    for silent in ["info,audit=off", "audit=error,info"] {
        let refused = client.words(&format!("CONFIG SET loglevel {silent}"));
        assert!(matches!(&refused, Reply::Error(words) if words.contains("no target audit")), "{refused:?}");
    }
    let long = "info,".repeat(1000) + "info";
    let refused = client.words(&format!("CONFIG SET loglevel {long}"));
    assert!(matches!(&refused, Reply::Error(words) if words.contains("expected at most 1024")), "{refused:?}");
    let refused = client.words("CONFIG SET loglevel inof");
    assert!(matches!(&refused, Reply::Error(words) if words.contains("expected error, warn, info")), "{refused:?}");
    assert!(!node.log().contains("\"DEBUG\""), "{}", node.log());
    assert_eq!(client.words("CONFIG SET loglevel info,sealkv::resp=trace"), Reply::ok());
    drop(node.client());
    assert!(node.says("client connection ends"), "{}", node.log());
}

#[test]
fn no_filter_that_leaves_its_target_out_hides_why_the_process_ends() {
    let site = Site::new();
    for filter in ["off", "sealkv::wal=debug"] {
        let mut args = site.sealed_in(&site.path().join("nothing/is/here"));
        args.extend(["--log-level".to_owned(), filter.to_owned(), "--log-slots".to_owned(), "1".to_owned()]);
        let refused = refused_start(&args);
        assert_eq!(refused.status, 78, "{filter}");
        assert!(refused.output.contains("log-slots"), "{filter}: {}", refused.output);
    }
}
