//! What scripts/deploy hands to an operator names only what is there: flags, variables, paths, pages and metrics.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::harness::Node;
use crate::harness::Site;
use crate::harness::sealkv;
use crate::operator;
use crate::operator::http;

const UNIT: &str = include_str!("../../scripts/deploy/sealkv.service");
const ENVIRONMENT: &str = include_str!("../../scripts/deploy/sealkv.env");
const DOCKERFILE: &str = include_str!("../../scripts/deploy/Dockerfile");
const KUBERNETES: &str = include_str!("../../scripts/deploy/kubernetes.yaml");
const ALERTS: &str = include_str!("../../scripts/deploy/alerts.yml");
const DASHBOARD: &str = include_str!("../../scripts/deploy/dashboard.json");
const README: &str = include_str!("../../README.md");

/// The words of `text` that begin with `prefix` and go on with letters, digits and what `more` allows.
fn words<'t>(text: &'t str, prefix: &str, more: &str) -> BTreeSet<&'t str> {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    let begins = text.match_indices(prefix).map(|(at, _)| at);
    let begins = begins.filter(|at| !text[..*at].ends_with(is_of_word));
    begins.map(|at| text[at..].split(|c| !is_of_word(c)).next().unwrap()).collect()
}

fn flags_of_serve() -> BTreeSet<String> {
    let help = String::from_utf8(sealkv().args(["serve", "--help"]).output().unwrap().stdout).unwrap();
    words(&help, "--", "-").into_iter().map(str::to_owned).collect()
}

#[test]
fn every_flag_of_the_files_is_a_flag_of_serve() {
    let flags = flags_of_serve();
    let dockers_own = ["--no-install-recommends", "--from", "--mount"];
    let secrets_own = ["--from-file"];
    for (text, least) in [(UNIT, 2), (DOCKERFILE, 6), (KUBERNETES, 7)] {
        let named: BTreeSet<&str> = words(text, "--", "-")
            .into_iter()
            .filter(|flag| {
                !flag.trim_matches('-').is_empty() && !dockers_own.contains(flag) && !secrets_own.contains(flag)
            })
            .collect();
        assert!(named.len() >= least, "{named:?}");
        for flag in named {
            assert!(flags.contains(flag), "{flag} is no flag of `sealkv serve`");
        }
    }
}

#[test]
fn every_variable_of_the_environment_file_is_a_setting_with_a_good_value() {
    let site = Site::new();
    let variables = words(ENVIRONMENT, "SEALKV_", "_").into_iter().filter(|name| *name != "SEALKV_NAME").count();
    let mut command = sealkv();
    command.args(["serve", "--check-config", "--data-dir"]).arg(site.path().join("data"));
    command.arg("--kek-file").arg(site.make_kek("of-the-unit", 7));
    let mut set = 0;
    for line in ENVIRONMENT.lines().filter(|line| line.contains('=') && !line.contains(' ')) {
        let (name, value) = line.trim_start_matches('#').split_once('=').unwrap();
        // Files with passwords are the operator's to make.
        let password = site.make_secret(name, format!("of {name}\n").as_bytes()).display().to_string();
        let value = if value.ends_with(".password") { password } else { value.to_owned() };
        command.env(name, value);
        set += 1;
    }
    assert_eq!(set, variables, "each stands in a line of its own");
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn every_page_and_every_metric_of_the_files_is_there() {
    let site = Site::new();
    let node = Node::start(&site.sealed());
    let mut client = node.client();
    client.words("SET a b");
    client.words("GET a");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert!(KUBERNETES.contains(path), "{path}");
        let (head, _) = http(node.admin_port, path);
        assert!(head.contains(" 200"), "{path}: {head}");
    }
    // The free space of the disk is known once somebody has looked at it.
    let begin = Instant::now();
    let mut metrics = String::new();
    while !metrics.contains("sealkv_disk_free_bytes") && begin.elapsed() < Duration::from_secs(20) {
        metrics = operator::metrics(node.admin_port);
    }
    let there: BTreeSet<&str> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 20);
    for text in [ALERTS, DASHBOARD] {
        let named: BTreeSet<&str> =
            words(text, "sealkv_", "_").into_iter().chain(words(text, "process_", "_")).collect();
        assert!(named.len() > 15, "{named:?}");
        for name in named {
            assert!(there.contains(name), "{name} is not in /metrics:\n{metrics}");
        }
    }
}

#[test]
fn paths_and_ports_are_the_same_in_every_file_and_in_readme() {
    for path in ["/usr/local/bin/sealkv", "/etc/sealkv/kek", "/etc/sealkv/sealkv.env"] {
        assert!(UNIT.contains(path), "{path} in the unit");
        assert!(README.contains(path), "{path} in README");
    }
    assert!(DOCKERFILE.contains("/usr/local/bin/sealkv"));
    for port in ["6379", "9379"] {
        for text in [ENVIRONMENT, DOCKERFILE, KUBERNETES] {
            assert!(text.contains(port), "{port}");
        }
    }
    for name in ["sealkv.service", "sealkv.env", "Dockerfile", "kubernetes.yaml", "alerts.yml", "dashboard.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/deploy").join(name);
        assert!(path.is_file(), "{}", path.display());
        assert!(README.contains(&format!("scripts/deploy/{name}")), "{name} in README");
    }
    assert!(UNIT.contains("RestartPreventExitStatus=74 78"), "README says what a supervisor should do");
}

#[test]
fn systemd_takes_the_unit_and_finds_little_exposed() {
    let has_systemd =
        Command::new("systemd-analyze").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_systemd {
        println!("NOT RUN: there is no systemd-analyze on this machine");
        return;
    }
    let site = Site::new();
    // The binary that is here, so that it is found.
    let unit = site.path().join("sealkv.service");
    std::fs::write(&unit, UNIT.replace("/usr/local/bin/sealkv", env!("CARGO_BIN_EXE_sealkv"))).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).arg(&unit).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (is_right, said) = analyze(&["verify", "--man=no"]);
    assert!(is_right && !said.contains("sealkv.service:"), "{said}");
    // In tenths of the scale from 0 (little) to 10.
    let (is_right, said) = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
    assert!(is_right, "{said}");
}
