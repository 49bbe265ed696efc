//! BOUNDED: what a client or a full disk can do to a running node.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use sealkv::testing::seed::runs;

use crate::client::Client;
use crate::client::Reply;
use crate::client::encode;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::text;

#[test]
fn a_frame_announcing_1_gib_gets_an_error_and_its_connection_is_closed_and_the_node_lives() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut good = node.client();
    assert_eq!(good.words("SET k v"), Reply::ok());
    let before = resident_bytes(node.pid());
    for announcement in ["*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n", "*4294967296\r\n", "*2\r\n$1073741824\r\n"] {
        let mut bad = node.client();
        bad.send(announcement.as_bytes()).unwrap();
        let Reply::Error(words) = bad.reply().unwrap() else { panic!("an error is owed for {announcement:?}") };
        assert!(words.starts_with("ERR Protocol error"), "{words}");
        assert!(bad.is_closed());
    }
    assert_eq!(good.words("GET k"), Reply::bulk("v"));
    assert!(resident_bytes(node.pid()) < before + (64 << 20), "nothing was allocated for an announcement");
}

#[test]
fn a_value_over_the_limit_is_an_error_that_says_the_limit_and_the_connection_lives() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    let large = vec![b'x'; 9 << 20];
    let answer = client.call(&[b"SET", b"k", &large]);
    assert!(matches!(&answer, Reply::Error(words) if words.starts_with("ERR")), "{answer:?}");
    let fits = vec![b'x'; 7 << 20];
    assert_eq!(client.call(&[b"SET", b"k", &fits]), Reply::ok());
    assert_eq!(client.words("STRLEN k"), Reply::Integer(7 << 20));
}

/// Few bytes sent, much to hold or to open: 64 values of 8 MB out of nothing at once, then one of them 20 000 times.
#[test]
fn a_pipeline_of_zeros_and_a_key_named_over_and_over_cost_no_more_than_they_must() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    let zeros: String = (0..64).map(|number| format!("SETRANGE k{number} 8318975 x\r\n")).collect();
    client.send(zeros.as_bytes()).unwrap();
    (0..64).for_each(|_| assert_eq!(client.reply().unwrap(), Reply::Integer(8_318_976)));
    let peak = memory_bytes(node.pid(), "VmHWM:");
    println!("peak of 64 x 8 MB: {} MiB", peak >> 20);
    assert!(peak < 1 << 30, "they were held together: {peak} bytes");
    let began = Instant::now();
    let words: Vec<&[u8]> = std::iter::once(&b"EXISTS"[..]).chain(std::iter::repeat_n(&b"k1"[..], 20_000)).collect();
    assert_eq!(client.call(&words), Reply::Integer(20_000));
    assert!(began.elapsed() < Duration::from_secs(10), "opened each time: {:?}", began.elapsed());
}

#[test]
fn requirepass_keeps_strangers_out() {
    let site = Site::new();
    let file = site.make_secret("password", b"correct horse\n");
    let mut args = site.sealed();
    args.extend(["--requirepass-file".to_owned(), text(&file)]);
    let node = Node::start(&args);
    let mut client = node.client();
    assert_eq!(client.words("GET k"), Reply::Error("NOAUTH Authentication required.".to_owned()));
    assert!(matches!(client.words("AUTH wrong"), Reply::Error(words) if words.starts_with("WRONGPASS")));
    assert_eq!(client.call(&[b"AUTH", b"correct horse"]), Reply::ok());
    assert_eq!(client.words("SET k v"), Reply::ok());
}

/// Goal: fill the file system under a running node, and count acknowledged writes against found ones afterwards. Each time
/// another number of bytes is left, so that the disk is full at another place. `SEALKV_RUNS` places.
#[test]
fn a_full_disk_stops_writes_or_ends_the_node_with_74_and_loses_nothing_acknowledged() {
    let site = Site::new();
    let Some(mount) = SmallDisk::mount(&site.path().join("disk"), 260) else {
        return;
    };
    let args = site.sealed_in(&mount.path.join("data"));
    let places = runs(CI_PLACES);
    let tried = (0..places).map(|place| {
        let acknowledged = fill_and_write(&args, &mount.path.join("ballast"), place);
        // The next place begins with a disk that is as empty as this one's was.
        fs::remove_dir_all(mount.path.join("data")).unwrap();
        acknowledged
    });
    let acknowledged: usize = tried.sum();
    println!("{acknowledged} acknowledged before the disk was full, all found");
    println!("{places} tried, 0 failed");
    assert!(acknowledged > 100, "vacuous: {acknowledged} acknowledged");
}

/// How many writes a node acknowledged on a disk that became full; they are found again once it is not.
fn fill_and_write(args: &[String], ballast: &Path, place: u64) -> usize {
    let mut node = Node::start(args);
    let mut client = node.client();
    assert_eq!(client.words("SET first 1"), Reply::ok());
    fill(ballast);
    let filled = fs::metadata(ballast).unwrap().len();
    let ballast_file = fs::File::options().write(true).open(ballast).unwrap();
    ballast_file.set_len(filled.saturating_sub(place % 200 * (37 << 10))).unwrap();
    // An open file keeps its space after it is removed.
    drop(ballast_file);

    let mut acknowledged = Vec::new();
    let ended = 'writing: {
        for round in 0_u32..4096 {
            let value = incompressible(round, 64 << 10);
            let key = format!("k{round}");
            match client.try_call(&[b"SET", key.as_bytes(), &value]) {
                Ok(Reply::Simple(_)) => acknowledged.push((key, round)),
                Ok(Reply::Error(_)) => break 'writing None,
                Ok(other) => panic!("{other:?}"),
                Err(_) => break 'writing Some(node.wait(Duration::from_secs(30))),
            }
        }
        panic!("256 MiB were acknowledged on a disk that has no room for them");
    };
    if let Some(status) = ended {
        assert_eq!(status.code(), Some(74), "{}", node.log());
    }
    drop(node);
    fs::remove_file(ballast).unwrap();
    let node = Node::start(args);
    let mut client = node.client();
    assert_eq!(client.words("GET first"), Reply::bulk("1"));
    for (key, round) in &acknowledged {
        let answer = client.call(&[b"GET", key.as_bytes()]);
        assert!(answer == Reply::Bulk(incompressible(*round, 64 << 10)), "{key} was acknowledged and is not there");
    }
    assert_eq!(client.words("FLUSHALL"), Reply::ok());
    assert_eq!(node.stop().code(), Some(0));
    acknowledged.len()
}

#[test]
fn a_pipeline_larger_than_every_buffer_is_answered_in_order() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let port = node.client_port;
    let mut sender = Client::connect(port);
    let mut bytes = Vec::new();
    for i in 0..20_000_u32 {
        bytes.extend(encode(&[b"INCR", b"n"]));
        if i % 3 == 0 {
            bytes.extend(encode(&[b"GET", b"n"]));
        }
    }
    std::thread::scope(|scope| {
        let mut writer = sender.clone_stream();
        scope.spawn(move || std::io::Write::write_all(&mut writer, &bytes).unwrap());
        for i in 0..20_000_i64 {
            assert_eq!(sender.reply().unwrap(), Reply::Integer(i + 1));
            if i % 3 == 0 {
                assert_eq!(
                    sender.reply().unwrap(),
                    Reply::bulk((i + 1).to_string()),
                    "a read sees the write before it"
                );
            }
        }
    });
}

/// `scripts/slow disk-errors` fills it to many more.
const CI_PLACES: u64 = 1;

/// An ext4 file system of its own in a loop file; needs root, as CI has.
pub struct SmallDisk {
    pub path: std::path::PathBuf,
}

impl SmallDisk {
    pub fn mount(path: &Path, mib: u32) -> Option<SmallDisk> {
        fs::create_dir(path).unwrap();
        let image = path.with_extension("img");
        fs::File::create(&image).unwrap().set_len(u64::from(mib) << 20).unwrap();
        let made = run(Command::new("mkfs.ext4").args(["-q", "-O", "^has_journal", "-m", "0"]).arg(&image));
        if made && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(path)) {
            return Some(SmallDisk { path: path.to_owned() });
        }
        // Without loop devices (some containers) a tmpfs is full just as well.
        let size = format!("size={mib}m");
        if run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "sealkv-test"]).arg(path)) {
            return Some(SmallDisk { path: path.to_owned() });
        }
        assert!(std::env::var_os("CI").is_none(), "CI runs as root and can mount");
        println!("SKIPPED: mounting needs root");
        None
    }
}

impl SmallDisk {
    /// False: somebody has a file of it open.
    pub fn unmount(&self) -> bool {
        run(Command::new("umount").arg(&self.path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        for _ in 0..50 {
            // Registered files hold the file system a moment longer than their process lives.
            if self.unmount() || !is_mounted(&self.path) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(1).is_some_and(|place| Path::new(place) == path))
}

fn run(command: &mut Command) -> bool {
    command.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Takes every byte that is left.
pub fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let mut chunk = vec![1; 1 << 20];
    loop {
        match file.write(&chunk) {
            Ok(0) => return,
            Ok(_) => {}
            Err(_) if chunk.len() > 1 => chunk.truncate(chunk.len() / 2),
            Err(_) => return,
        }
    }
}

/// Bytes that no compression makes smaller, the same for the same seed.
pub fn incompressible(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) | 1 << 40;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn resident_bytes(pid: i32) -> u64 {
    memory_bytes(pid, "VmRSS:")
}

pub fn memory_bytes(pid: i32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
