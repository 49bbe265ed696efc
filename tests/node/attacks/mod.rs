//! An attacker who owns the disk and recomputes every checksum that needs no key. Each edit of a data directory ends
//! in one of two ways: the node refuses or halts with 74 or 78, or it serves exactly what was acknowledged.

mod flips;
mod load;
mod log;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use crate::client::Client;
use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::fingerprint;
use crate::harness::sealkv;

const BLOCK: u64 = 4096;

/// What became of a start on an edited directory.
#[derive(Debug)]
enum End {
    /// 74 or 78, at the start or soon after.
    Refused(i32, String),
    /// Everything that was acknowledged, unchanged.
    Whole,
}

impl End {
    fn refused_with(&self, status: i32, words: &[&str]) {
        match self {
            End::Refused(found, output) => {
                assert_eq!(*found, status, "{output}");
                for word in words {
                    assert!(output.contains(word), "{word:?} is not in: {output}");
                }
            }
            End::Whole => panic!("it serves, expected a refusal with {status}"),
        }
    }
}

/// A directory whose node acknowledged `expected`.
struct Victim {
    site: Site,
    expected: BTreeMap<String, String>,
}

impl Victim {
    /// Killed: the state is as at the first start, the log has everything.
    fn killed() -> Victim {
        let (victim, node) = Victim::used();
        node.kill();
        victim
    }

    /// Stopped: the state has everything.
    fn stopped() -> Victim {
        let (victim, node) = Victim::used();
        assert_eq!(node.stop().code(), Some(0));
        victim
    }

    fn used() -> (Victim, Node) {
        let site = Site::new();
        let node = Node::start(&site.sealed());
        let mut client = node.client();
        let mut expected = BTreeMap::new();
        for n in 0..12 {
            let (key, value) = (format!("key-{n}"), format!("value-{n}-{}", "x".repeat(n * 700)));
            assert_eq!(client.call(&[b"SET", key.as_bytes(), value.as_bytes()]), Reply::ok());
            expected.insert(key, value);
        }
        for n in 1..=9 {
            assert_eq!(client.words("INCR counter"), Reply::Integer(n));
        }
        expected.insert("counter".to_owned(), "9".to_owned());
        assert_eq!(client.words("SET lasting v EX 100000"), Reply::ok());
        expected.insert("lasting".to_owned(), "v".to_owned());
        // The idle frame that acknowledges the last one.
        std::thread::sleep(Duration::from_millis(40));
        (Victim { site, expected }, node)
    }

    fn slots(&self) -> Vec<PathBuf> {
        let mut slots: Vec<PathBuf> =
            fs::read_dir(self.site.data().join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
        // A slot that is being made has another name until it is full of zeros.
        slots.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
        slots.sort();
        slots
    }

    /// The slot of the newest segment.
    fn newest_slot(&self) -> PathBuf {
        let number = |path: &PathBuf| u64::from_be_bytes(read_at(path, 16, 8).try_into().unwrap());
        self.slots().into_iter().max_by_key(number).unwrap()
    }

    fn start(&self) -> End {
        self.start_with(&self.site.sealed())
    }

    /// Starts, reads everything, and says which of the two ends it was; anything else fails the test.
    fn start_with(&self, args: &[String]) -> End {
        let mut child = sealkv().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (lines, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            use std::io::BufRead;
            for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        let mut log = String::new();
        let begin = Instant::now();
        let mut verdict = None;
        while verdict.is_none() {
            assert!(begin.elapsed() < Duration::from_secs(20), "neither refused nor serving: it hangs: {log}");
            match heard.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    if let Some(port) = port_of(&line) {
                        verdict = self.read_all(port).err();
                        if verdict.is_none() {
                            let _ = child.kill();
                            let _ = child.wait();
                            return End::Whole;
                        }
                    }
                    log.push_str(&line);
                    log.push('\n');
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        log.extend(heard.try_iter().map(|line| line + "\n"));
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(!log.contains("a bug"), "it panicked: {log}");
        match (status, verdict) {
            (Some(status), _) => {
                let code = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}: {log}"));
                assert!(code == 74 || code == 78, "status {code}: {log}");
                End::Refused(code, log)
            }
            (None, why) => panic!("it serves what was not acknowledged: {why:?}: {log}"),
        }
    }

    /// Everything as it was acknowledged, or what was found instead.
    fn read_all(&self, port: u16) -> Result<(), String> {
        let mut client = Client::try_connect(port).map_err(|error| error.to_string())?;
        for (key, value) in &self.expected {
            match client.try_call(&[b"GET", key.as_bytes()]) {
                Ok(reply) if reply == Reply::bulk(value) => {}
                other => return Err(format!("{key}: {other:?}")),
            }
        }
        Ok(())
    }

    /// Edits a file, starts, and puts the file back.
    fn with_edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) -> End {
        let original = fs::read(path).unwrap();
        let mut bytes = original.clone();
        edit(&mut bytes);
        assert!(bytes != original, "the edit changes something");
        fs::write(path, &bytes).unwrap();
        let end = self.start();
        fs::write(path, &original).unwrap();
        end
    }

    /// As `with_edit`, and a refusal must have changed nothing on the disk.
    fn with_log_edit(&self, path: &Path, edits: &[(u64, Vec<u8>)]) -> End {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let before: Vec<(u64, Vec<u8>)> =
            edits.iter().map(|(offset, bytes)| (*offset, read_at(path, *offset, bytes.len()))).collect();
        for (offset, bytes) in edits {
            file.write_all_at(bytes, *offset).unwrap();
        }
        let marked = fingerprint(self.site.path());
        let end = self.start();
        if let End::Refused(_, output) = &end {
            assert!(marked == fingerprint(self.site.path()), "a refused start changed the directory: {output}");
            for (offset, bytes) in before.iter().rev() {
                file.write_all_at(bytes, *offset).unwrap();
            }
        }
        end
    }
}

fn port_of(line: &str) -> Option<u16> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    if value["message"] != "clients" {
        return None;
    }
    value["address"].as_str()?.rsplit(':').next()?.parse().ok()
}

fn read_at(path: &Path, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    File::open(path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}
