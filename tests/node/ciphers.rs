//! What a node is sealed by, as an operator meets it: self-test, new KEKs, the tier of the AEAD.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::client::Reply;
use crate::harness::Node;
use crate::harness::Site;
use crate::harness::command;
use crate::harness::fingerprint;
use crate::harness::refused_start;
use crate::harness::sealkv;
use crate::harness::text;
use crate::operator::CONFIG;
use crate::operator::http;
use crate::operator::run;
use crate::operator::stdout;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/elastickv-envelopes.json")
}

fn gzip(path: &Path) -> PathBuf {
    let zipped = path.with_extension("json.gz");
    let mut encoder = GzEncoder::new(fs::File::create(&zipped).unwrap(), Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
    zipped
}

#[test]
fn every_vector_of_the_reference_passes_plain_and_gzipped() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("vectors.json");
    fs::copy(vectors(), &copy).unwrap();
    for path in [vectors(), gzip(&copy)] {
        let output = run(&["selftest", "--vectors", &text(&path)]);
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "81 passed, 0 failed\n"));
    }
    let output = run(&["selftest"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), "1 passed, 0 failed\n"));
}

#[test]
fn each_broken_vector_gives_one_line_that_names_it_and_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vectors.json");
    let mut file: serde_json::Value = serde_json::from_slice(&fs::read(vectors()).unwrap()).unwrap();
    let mut names = Vec::new();
    for at in [0, 5, 40, 80] {
        let vector = &mut file["vectors"][at];
        names.push(vector["name"].as_str().unwrap().to_owned());
        // Another key: nothing that was sealed opens, nothing that is sealed has the bytes.
        let dek = vector["dek"].as_str().unwrap().to_owned();
        let other = if dek.starts_with('0') { "1" } else { "0" };
        vector["dek"] = format!("{other}{}", &dek[1..]).into();
        vector["open"] = "ok".into();
    }
    fs::write(&path, file.to_string()).unwrap();
    for path in [path.clone(), gzip(&path)] {
        let output = run(&["selftest", "--vectors", &text(&path)]);
        let printed = stdout(&output);
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert_eq!(lines.last(), Some(&"77 passed, 4 failed"), "{printed}");
        assert_eq!(lines.len(), 5, "{printed}");
        for (line, name) in lines.iter().zip(&names) {
            assert!(line.contains(name.as_str()), "{name} is not in {line}");
        }
    }
    fs::write(&path, "no JSON").unwrap();
    let output = run(&["selftest", "--vectors", &text(&path)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).ends_with("\n0 passed, 1 failed\n"), "{}", stdout(&output));
}

#[test]
fn keygen_makes_mode_0600_under_any_umask_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    for umask in ["000", "077", "777"] {
        let path = dir.path().join(umask);
        let script = format!("umask {umask}; exec \"$0\" keygen \"$1\"");
        let output = command("sh").args(["-c", &script]).arg(env!("CARGO_BIN_EXE_sealkv")).arg(&path).output();
        assert_eq!(output.unwrap().status.code(), Some(0));
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.len(), metadata.permissions().mode() & 0o7777), (32, 0o600), "umask {umask}");
        let before = fs::read(&path).unwrap();
        let again = run(&["keygen", &text(&path)]);
        assert_eq!(again.status.code(), Some(CONFIG));
        assert!(String::from_utf8_lossy(&again.stderr).contains("was not touched"), "{again:?}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn info_and_metrics_name_the_aead_tier_and_nothing_twice() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let Reply::Bulk(info) = node.client().words("INFO") else { panic!("INFO gave no text") };
    let info = String::from_utf8(info).unwrap();
    let tier = info.lines().find_map(|line| line.strip_prefix("aead_tier:")).expect("INFO names the tier");
    assert!(["vaes512", "vaes256", "aesni", "library"].contains(&tier), "{tier}");
    let (_, metrics) = http(node.admin_port, "/metrics");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains(&format!("sealkv_backend_info{{backend=\"{tier}\"}} 1")), "{metrics}");
    let mut names: Vec<&str> = info.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a field is in INFO twice: {info}");
    // What `redis-cli --stat` reads.
    for field in ["used_memory", "connected_clients", "blocked_clients", "total_commands_processed"] {
        assert!(names.contains(&field), "{field} is not in {info}");
    }
}

/// What INFO says of the tier.
fn tier_of(node: &Node) -> String {
    let Reply::Bulk(info) = node.client().words("INFO") else { panic!("INFO gave no text") };
    let info = String::from_utf8(info).unwrap();
    info.lines().find_map(|line| line.strip_prefix("aead_tier:")).expect("INFO names the tier").to_owned()
}

#[test]
fn every_aead_tier_of_this_machine_can_be_forced_and_reads_what_another_one_wrote() {
    let site = Site::new();
    let mut served = Vec::new();
    for tier in ["library", "aesni", "vaes256", "vaes512", "-vaes512,-vaes256,-aesni"] {
        let mut args = site.sealed();
        args.extend(["--aead-tier", tier].map(str::to_owned));
        if has_tier(tier) {
            let mut command = sealkv();
            if served.is_empty() {
                command.env("SEALKV_AEAD_TIER", tier).args(site.sealed());
            } else {
                // The flag wins.
                command.env("SEALKV_AEAD_TIER", "fastest").args(&args);
            }
            let node = Node::start_with(command);
            let mut client = node.client();
            for (name, value) in &served {
                assert_eq!(client.words(&format!("GET {name}")), Reply::bulk(value), "{tier} reads it");
            }
            let (name, value) = (format!("key{}", served.len()), format!("written-with-{tier}"));
            assert_eq!(client.words(&format!("SET {name} {value}")), Reply::ok());
            served.push((name, value));
            let expected = tier.strip_prefix('-').map_or(tier, |_| "library");
            assert_eq!(tier_of(&node), expected);
            let (_, metrics) = http(node.admin_port, "/metrics");
            let metrics = String::from_utf8(metrics).unwrap();
            assert!(metrics.contains(&format!("sealkv_backend_info{{backend=\"{expected}\"}} 1")), "{metrics}");
            assert!(node.says("AEAD tier") && node.says(expected), "{}", node.log());
            assert_eq!(node.stop().code(), Some(0));
        } else {
            println!("{tier}: not on this CPU");
            let before = fingerprint(&site.data());
            let refusal = refused_start(&args);
            assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
            assert!(refusal.output.contains(tier) && refusal.output.contains("only "), "{}", refusal.output);
            assert!(refusal.output.contains("library"), "{}", refusal.output);
            assert!(before == fingerprint(&site.data()), "a refused start changed the directory");
        }
    }
    assert!(served.len() >= 2);
}

/// Whether the kernel names what a tier needs; a list to deny leaves the library, which is everywhere.
fn has_tier(tier: &str) -> bool {
    let needed: &[&str] = match tier {
        "vaes512" => &["avx512f", "avx512bw", "avx512vl", "avx512dq", "vaes", "vpclmulqdq"],
        "vaes256" => &["avx2", "vaes", "vpclmulqdq"],
        "aesni" => &["aes", "pclmulqdq", "ssse3", "sse4_1"],
        _ => &[],
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags: Vec<&str> = cpus.lines().find(|line| line.starts_with("flags")).unwrap_or("").split(' ').collect();
    needed.iter().all(|flag| flags.contains(flag))
}

#[test]
fn an_aead_tier_that_does_not_exist_is_refused_with_78_and_names_those_that_do() {
    let site = Site::new();
    for wrong in ["zmm", "", "-aesni,vaes512"] {
        let mut args = site.sealed();
        args.extend(["--aead-tier", wrong].map(str::to_owned));
        let refusal = refused_start(&args);
        assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
        assert!(refusal.output.contains("aead-tier") && refusal.output.contains("vaes512"), "{}", refusal.output);
    }
    let mut args = site.sealed();
    args.extend(["--aead-tier", "-vaes512,-vaes256,-aesni,-library"].map(str::to_owned));
    let refusal = refused_start(&args);
    assert_eq!(refusal.status, CONFIG, "{}", refusal.output);
    assert!(refusal.output.contains("denied"), "{}", refusal.output);
}
