//! ACK-DURABLE on real file systems: each is cut off under load without its log being flushed, mounted again, and held against
//! what was acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;

use crate::durability::CONNECTIONS;
use crate::durability::Ledger;
use crate::durability::Load;
use crate::durability::verify;
use crate::harness::Node;
use crate::harness::Site;

/// A file system in a loop file that can be cut off.
struct CutDisk {
    image: PathBuf,
    path: PathBuf,
}

impl CutDisk {
    /// `None` says why on the way.
    fn make(site: &Site, kind: &str) -> Option<CutDisk> {
        let disk = CutDisk { image: site.path().join(format!("{kind}.img")), path: site.path().join(kind) };
        std::fs::create_dir(&disk.path).unwrap();
        std::fs::File::create(&disk.image).unwrap().set_len(DISK_BYTES).unwrap();
        let mut make = Command::new(format!("mkfs.{kind}"));
        make.arg("-q");
        if !run(make.arg(&disk.image)) {
            println!("SKIPPED: {kind}: no mkfs.{kind}");
            return None;
        }
        if !disk.mount() {
            assert!(std::env::var_os("CI").is_none(), "CI runs as root and can mount");
            println!("SKIPPED: {kind}: mounting needs root, loop devices and the file system in the kernel");
            return None;
        }
        Some(disk)
    }

    fn mount(&self) -> bool {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.path))
    }

    fn unmount(&self) -> bool {
        // Registered files hold the file system a moment longer than their process lives.
        (0..100).any(|_| {
            let gone = run(Command::new("umount").arg(&self.path));
            if !gone {
                std::thread::sleep(Duration::from_millis(50));
            }
            gone
        })
    }

    /// From now on nothing reaches the medium, and what is in the journal's memory is lost.
    fn cut_off(&self) {
        assert!(run(Command::new("python3").args(["-c", SHUTDOWN]).arg(&self.path)), "the file system knows the ioctl");
    }
}

impl Drop for CutDisk {
    fn drop(&mut self) {
        self.unmount();
    }
}

/// Goal: count acknowledged writes against found ones over many cuts of each file system, with each engine in turn.
#[test]
fn power_cuts_of_ext4_and_xfs_lose_nothing_acknowledged() {
    let (cuts, chance) = (u32::try_from(runs(CI_CUTS)).unwrap(), Seeded::fresh());
    let mut tried = 0;
    for kind in ["ext4", "xfs"] {
        let site = Site::new();
        let Some(disk) = CutDisk::make(&site, kind) else { continue };
        let mut args = site.sealed_in(&disk.path.join("data"));
        args.extend(["--log-engine".to_owned(), String::new()]);
        let mut totals: HashMap<usize, u64> = HashMap::new();
        let mut acknowledged = 0;
        for cut in 0..cuts {
            *args.last_mut().unwrap() = ["uring", "plain"][cut as usize % 2].to_owned();
            let ledgers = load_and_cut(&disk, &args, &totals, &chance);
            let node = Node::start(&args);
            let mut client = node.client();
            for ledger in ledgers {
                let before = totals.get(&ledger.connection).copied().unwrap_or(0);
                let found = verify(&mut client, &ledger, before, cut);
                totals.insert(ledger.connection, found);
                acknowledged += ledger.acknowledged - before;
            }
            node.kill();
            tried += 1;
        }
        println!("{kind}: {cuts} cuts, {acknowledged} acknowledged, 0 lost");
        assert!(acknowledged > u64::from(cuts) * 100, "vacuous: only {acknowledged} writes acknowledged on {kind}");
    }
    println!("{tried} tried, 0 failed");
}

/// A node under load whose file system is cut off, and then mounted again.
fn load_and_cut(disk: &CutDisk, args: &[String], totals: &HashMap<usize, u64>, chance: &Seeded) -> Vec<Ledger> {
    let node = Node::start(args);
    let load = Load::start(node.client_port, CONNECTIONS, totals);
    std::thread::sleep(Duration::from_millis(60 + chance.below(140)));
    disk.cut_off();
    load.stop();
    node.kill();
    let ledgers = load.ledgers();
    assert!(disk.unmount() && disk.mount(), "{} is mounted again", disk.path.display());
    ledgers
}

fn run(command: &mut Command) -> bool {
    command.stderr(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

/// FS_IOC_SHUTDOWN of ext4 and XFS_IOC_GOINGDOWN are one number; 2 is "do not flush the log". By another program: there is no
/// `unsafe` in tests.
const SHUTDOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
/// The file is sparse. 200 cuts leave 500 MB of keys behind, and XFS makes none smaller than 300 MB.
const DISK_BYTES: u64 = 4 << 30;
/// Of each file system; `scripts/slow power-cut` makes many more.
const CI_CUTS: u64 = 2;
