//! The settings of a node of several: who it is, where its peers are, and how it shows them that it is one of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::crypto::digest::ContentDigest;
use crate::fsm::state::MemberAddress;
use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::limits::MEMBERS_MAX;
use crate::node::members_watch::AddressSettings;
use crate::node::settings::ConfigError;
use crate::node::settings::Settings;
use crate::raft::ClockDrift;
use crate::tls::TlsFiles;

/// A node of several, as its settings say.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// This node.
    pub node: NodeId,
    /// Where its peers connect.
    pub peer_listen: SocketAddr,
    /// The founders of the cluster, ascending by node. The same on every node, for ever: the cluster's id follows from it.
    pub founders: Vec<MemberAddress>,
    /// Where nodes are now that are elsewhere than the state of the cluster says.
    pub moved: Vec<MemberAddress>,
    /// It is no founder: the leader takes it in.
    pub is_joining: bool,
    /// Of the founders and the cluster's name.
    pub cluster: ClusterId,
    /// How it shows who it is; `None` on loopback, or where that was asked for.
    pub tls: Option<TlsFiles>,
    /// The operator insists on nodes without TLS beyond loopback.
    pub is_insecure: bool,
    /// Reads by the leader's lease, with clocks that drift by at most that.
    pub lease: Option<ClockDrift>,
}

impl ClusterConfig {
    /// `None` for a node that is alone.
    ///
    /// # Errors
    /// [`ConfigError`], naming the setting and what was expected.
    pub(crate) fn check(settings: &Settings) -> Result<Option<ClusterConfig>, ConfigError> {
        let Some(list) = &settings.initial_cluster else {
            return none_of(settings).map(|()| None);
        };
        let needs = |name, expected| ConfigError::Needed { name, of: "initial-cluster", expected };
        let node = settings.node_id.ok_or(needs("node-id", "the number of this node in the list"))?;
        let node = NodeId::new(node).ok_or_else(|| range("node-id", "0", "1 or more"))?;
        let peer_listen = settings.peer_listen.ok_or(needs("peer-listen", "the address for the other nodes"))?;
        if peer_listen.port() == 0 {
            return Err(range(
                "peer-listen",
                &peer_listen.to_string(),
                "a port other than 0: the others have to know it",
            ));
        }
        let founders = parse_list("initial-cluster", list)?;
        let moved = settings.peer_addresses.as_deref().map(|list| parse_list("peer-addresses", list));
        let moved = moved.transpose()?.unwrap_or_default();
        let is_joining = settings.join.unwrap_or(false);
        let is_founder = founders.iter().any(|founder| founder.node == node);
        match (is_founder, is_joining) {
            (false, false) => {
                let expected = format!("a node of initial-cluster ({list}), or --join for one that is taken in later");
                return Err(range("node-id", &node.to_string(), &expected));
            }
            (true, true) => {
                let expected =
                    format!("a number that is not in initial-cluster ({list}): --join is for others than its founders");
                return Err(range("node-id", &node.to_string(), &expected));
            }
            _ => {}
        }
        let tls = tls_files(settings)?;
        if tls.is_none() && !settings.insecure_peers.unwrap_or(false) {
            check_loopback(peer_listen, if moved.is_empty() { &founders } else { &moved })?;
        }
        let cluster = cluster_id(settings.cluster_name.as_deref().unwrap_or(""), &founders);
        let is_insecure = settings.insecure_peers.unwrap_or(false);
        let lease = lease(settings.read_lease_drift_ppm)?;
        Ok(Some(ClusterConfig { node, peer_listen, founders, moved, is_joining, cluster, tls, is_insecure, lease }))
    }

    /// What it says of addresses beside the state.
    pub(crate) fn addresses(&self) -> AddressSettings {
        AddressSettings { moved: self.moved.clone(), listen: self.peer_listen }
    }
}

/// The settings that mean nothing to a node that is alone.
fn none_of(settings: &Settings) -> Result<(), ConfigError> {
    let given = [
        ("node-id", settings.node_id.is_some()),
        ("peer-listen", settings.peer_listen.is_some()),
        ("peer-addresses", settings.peer_addresses.is_some()),
        ("cluster-name", settings.cluster_name.is_some()),
        ("join", settings.join.unwrap_or(false)),
        ("peer-cert", settings.peer_cert.is_some()),
        ("peer-key", settings.peer_key.is_some()),
        ("peer-ca", settings.peer_ca.is_some()),
        ("read-lease-drift-ppm", settings.read_lease_drift_ppm.is_some_and(|ppm| ppm > 0)),
    ];
    let expected = "1=HOST:PORT,2=HOST:PORT,3=HOST:PORT, the founders of the cluster";
    ConfigError::without("initial-cluster", expected, &given)
}

/// `None` for reads by rounds only.
fn lease(ppm: Option<u32>) -> Result<Option<ClockDrift>, ConfigError> {
    let Some(ppm) = ppm.filter(|ppm| *ppm > 0) else { return Ok(None) };
    let expected =
        format!("1 to {} (quartz and the slewing of NTP: 1000), or 0 for reads without a lease", ClockDrift::PPM_MAX);
    ClockDrift::new(ppm).map(Some).ok_or_else(|| range("read-lease-drift-ppm", &ppm.to_string(), &expected))
}

/// `1=HOST:PORT,2=HOST:PORT,...`, ascending by node.
fn parse_list(name: &'static str, list: &str) -> Result<Vec<MemberAddress>, ConfigError> {
    let wrong = |what: String| range(name, list, &what);
    let mut founders = Vec::new();
    for part in list.split(',') {
        let (node, address) = part
            .trim()
            .split_once('=')
            .ok_or_else(|| wrong(format!("NODE=HOST:PORT between the commas, {part:?} has no =")))?;
        let node = node.parse().ok().and_then(NodeId::new);
        let node = node.ok_or_else(|| wrong(format!("a number from 1 on before the = of {part:?}")))?;
        check_address(address).map_err(|expected| wrong(format!("{expected} behind the = of {part:?}")))?;
        founders.push(MemberAddress { node, address: address.to_owned() });
    }
    founders.sort_by_key(|founder| founder.node);
    if let Some(twice) = founders.windows(2).find(|pair| pair[0].node == pair[1].node) {
        return Err(wrong(format!("each node once, {} is there twice", twice[0].node)));
    }
    let addresses: BTreeSet<&str> = founders.iter().map(|founder| founder.address.as_str()).collect();
    if addresses.len() < founders.len() {
        return Err(wrong("an address of its own for each node".to_owned()));
    }
    if founders.len() > MEMBERS_MAX {
        return Err(wrong(format!("at most {MEMBERS_MAX} nodes")));
    }
    Ok(founders)
}

/// `HOST:PORT`; the host is a name or an address.
///
/// # Errors
/// What was expected.
pub fn check_address(address: &str) -> Result<(), String> {
    let expected = || "HOST:PORT".to_owned();
    let (host, port) = address.rsplit_once(':').ok_or_else(expected)?;
    let is_host = !host.is_empty()
        && (address.parse::<SocketAddr>().is_ok()
            || host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)));
    match port.parse::<u16>() {
        Ok(1..) if is_host && address.len() <= ADDRESS_BYTES_MAX => Ok(()),
        _ => Err(expected()),
    }
}

/// The id of the cluster that this list and this name found.
///
/// # Errors
/// [`ConfigError`]: the list is none.
pub fn cluster_of(list: &str, name: Option<&str>) -> Result<(ClusterId, Vec<MemberAddress>), ConfigError> {
    let founders = parse_list("initial-cluster", list)?;
    Ok((cluster_id(name.unwrap_or(""), &founders), founders))
}

/// Nodes that were given another list, or another name, are of another cluster, and say so to each other.
fn cluster_id(name: &str, founders: &[MemberAddress]) -> ClusterId {
    let mut digest = ContentDigest::default();
    digest.add(b"sealkv cluster id");
    digest.add(name.as_bytes());
    for founder in founders {
        digest.add(&founder.node.value().to_be_bytes());
        digest.add(founder.address.as_bytes());
    }
    let digest = digest.finish();
    ClusterId(*digest.first_chunk().expect("a digest has 32 bytes"))
}

fn tls_files(settings: &Settings) -> Result<Option<TlsFiles>, ConfigError> {
    match (&settings.peer_cert, &settings.peer_key, &settings.peer_ca) {
        (None, None, None) => Ok(None),
        (Some(cert), Some(key), Some(ca)) => {
            Ok(Some(TlsFiles { certificate: cert.clone(), key: key.clone(), ca: ca.clone() }))
        }
        (cert, key, _) => {
            let (name, of) = match (cert, key) {
                (None, _) => ("peer-cert", "peer-key and peer-ca"),
                (_, None) => ("peer-key", "peer-cert and peer-ca"),
                _ => ("peer-ca", "peer-cert and peer-key"),
            };
            Err(ConfigError::Needed { name, of, expected: "a PEM file" })
        }
    }
}

/// Whether what is sent to `HOST:PORT` stays on this machine.
pub(crate) fn is_loopback(address: &str) -> bool {
    match address.parse::<SocketAddr>() {
        Ok(address) => address.ip().is_loopback(),
        Err(_) => address.starts_with("localhost:"),
    }
}

/// Without TLS whoever is on the path reads and writes what nodes say to each other.
fn check_loopback(peer_listen: SocketAddr, founders: &[MemberAddress]) -> Result<(), ConfigError> {
    let expected = "a loopback address, or TLS (--peer-cert, --peer-key, --peer-ca), or --insecure-peers: without TLS \
         anybody on the path can be a node";
    if !peer_listen.ip().is_loopback() {
        return Err(range("peer-listen", &peer_listen.to_string(), expected));
    }
    match founders.iter().find(|founder| !is_loopback(&founder.address)) {
        None => Ok(()),
        Some(open) => Err(range("initial-cluster", &open.address, expected)),
    }
}

fn range(name: &'static str, found: &str, expected: &str) -> ConfigError {
    ConfigError::Range { name, found: found.to_owned(), expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const LIST: &str = "1=127.0.0.1:7001,2=127.0.0.1:7002,3=localhost:7003";

    fn three() -> Settings {
        Settings {
            node_id: Some(2),
            peer_listen: Some("127.0.0.1:7002".parse().unwrap()),
            initial_cluster: Some(LIST.to_owned()),
            ..Settings::default()
        }
    }

    fn refused(settings: Settings) -> String {
        ClusterConfig::check(&settings).unwrap_err().to_string()
    }

    #[test]
    fn a_list_is_the_same_cluster_in_any_order_and_another_with_any_change() {
        let of = |list: &str, name: Option<&str>| {
            let (list, name) = (Some(list.to_owned()), name.map(str::to_owned));
            let settings = Settings { initial_cluster: list, cluster_name: name, ..three() };
            ClusterConfig::check(&settings).unwrap().unwrap().cluster
        };
        let one = of(LIST, None);
        assert_eq!(one, of("3=localhost:7003, 2=127.0.0.1:7002,1=127.0.0.1:7001", None));
        let others = [
            of(LIST, Some("other")),
            of("1=127.0.0.1:7001,2=127.0.0.1:7002", None),
            of("1=127.0.0.1:7001,2=127.0.0.1:7002,3=localhost:7004", None),
            of("1=127.0.0.1:7001,2=127.0.0.1:7002,4=localhost:7003", None),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert_eq!(others.iter().collect::<std::collections::HashSet<_>>().len(), others.len());
    }

    #[test]
    fn a_list_that_is_none_is_an_error_that_names_what_is_wrong() {
        for (list, words) in [
            ("", "has no ="),
            ("1=127.0.0.1:7001,2", "has no ="),
            ("0=127.0.0.1:7001", "a number from 1 on"),
            ("x=127.0.0.1:7001", "a number from 1 on"),
            ("1=127.0.0.1", "HOST:PORT"),
            ("1=:7001", "HOST:PORT"),
            ("1=127.0.0.1:0", "HOST:PORT"),
            ("1=127.0.0.1:70000", "HOST:PORT"),
            ("1=a b:7001", "HOST:PORT"),
            ("2=127.0.0.1:7001,2=127.0.0.1:7002", "2 is there twice"),
            ("1=127.0.0.1:7001,2=127.0.0.1:7001", "an address of its own"),
        ] {
            let said = refused(Settings { initial_cluster: Some(list.to_owned()), ..three() });
            assert!(said.starts_with("initial-cluster is ") && said.contains(words), "{list}: {said}");
        }
    }

    #[test]
    fn nodes_that_moved_are_the_same_cluster_elsewhere() {
        let moved = Settings { peer_addresses: Some("2=localhost:8002".to_owned()), ..three() };
        let [before, after] = [three(), moved].map(|settings| ClusterConfig::check(&settings).unwrap().unwrap());
        assert_eq!(before.cluster, after.cluster);
        assert_eq!((before.moved.len(), after.moved[0].address.as_str()), (0, "localhost:8002"));
        let wrong = Settings { peer_addresses: Some("2=nowhere".to_owned()), ..three() };
        assert!(refused(wrong).starts_with("peer-addresses is 2=nowhere"));
    }

    #[test]
    fn a_node_is_in_the_list_or_joins() {
        let stranger = Settings { node_id: Some(4), ..three() };
        assert!(refused(stranger.clone()).contains("--join"));
        assert!(ClusterConfig::check(&Settings { join: Some(true), ..stranger }).unwrap().unwrap().is_joining);
        assert!(refused(Settings { join: Some(true), ..three() }).contains("not in initial-cluster"));
        assert!(refused(Settings { node_id: None, ..three() }).starts_with("node-id is missing"));
        assert!(refused(Settings { node_id: Some(0), ..three() }).starts_with("node-id is 0"));
        assert!(refused(Settings { peer_listen: None, ..three() }).starts_with("peer-listen is missing"));
        let alone = Settings { node_id: Some(1), ..Settings::default() };
        assert!(refused(alone).starts_with("initial-cluster is missing"));
        assert!(ClusterConfig::check(&Settings::default()).unwrap().is_none());
    }

    #[test]
    fn a_lease_needs_a_bound_that_clocks_can_keep_and_a_cluster() {
        let with = |ppm| Settings { read_lease_drift_ppm: Some(ppm), ..three() };
        let lease = |ppm| ClusterConfig::check(&with(ppm)).unwrap().unwrap().lease;
        assert_eq!(lease(0), None);
        assert_eq!(lease(1_000), ClockDrift::new(1_000));
        assert!(lease(100_000).is_some());
        let why = refused(with(100_001));
        assert!(why.starts_with("read-lease-drift-ppm is 100001, expected 1 to 100000"), "{why}");
        let alone = Settings { read_lease_drift_ppm: Some(1_000), ..Settings::default() };
        assert!(refused(alone).starts_with("initial-cluster is missing, which read-lease-drift-ppm needs"));
    }

    #[test]
    fn nodes_beyond_loopback_need_tls_or_the_insecure_flag() {
        let list = Some("1=10.0.0.1:7001,2=10.0.0.2:7001".to_owned());
        let open = Settings { initial_cluster: list, ..three() };
        assert!(refused(open.clone()).contains("--insecure-peers"));
        assert!(ClusterConfig::check(&Settings { insecure_peers: Some(true), ..open.clone() }).is_ok());
        let file = || Some(PathBuf::from("/f"));
        let tls = Settings { peer_cert: file(), peer_key: file(), peer_ca: file(), ..open };
        assert!(ClusterConfig::check(&tls).unwrap().unwrap().tls.is_some());
        assert!(refused(Settings { peer_ca: None, ..tls.clone() }).starts_with("peer-ca is missing"));
        assert!(refused(Settings { peer_cert: None, ..tls }).starts_with("peer-cert is missing"));
        let anywhere = Settings { peer_listen: Some("0.0.0.0:7002".parse().unwrap()), ..three() };
        assert!(refused(anywhere).starts_with("peer-listen is 0.0.0.0:7002"));
    }
}
