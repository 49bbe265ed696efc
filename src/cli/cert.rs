//! `sealkv cert`: a CA for one cluster, and certificates of its nodes and of clients. For trying out and for small
//! deployments; whoever has a CA uses that. Never overwrites.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::keys::file::write_new;
use crate::limits::CERTIFICATE_DAYS_MAX;
use crate::node::cluster_config::cluster_of;
use crate::node::settings::ConfigError;
use crate::tls::Authority;
use crate::tls::Issued;
use crate::tls::TlsRefused;
use crate::tls::Validity;
use crate::tls::WrongName;
use crate::world::Clock;

/// For which cluster, where, and for how long.
#[derive(Clone, Debug)]
pub struct CertTarget {
    /// The folder of the CA; certificates go there too.
    pub folder: PathBuf,
    /// As the nodes get it: `1=HOST:PORT,...`.
    pub initial_cluster: String,
    /// As the nodes get it.
    pub cluster_name: Option<String>,
    /// Days from now on.
    pub days: u32,
}

/// Nothing was made, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The cluster is not named.
    #[error(transparent)]
    Cluster(#[from] ConfigError),
    /// Too many days, or none.
    #[error("days is {days}, expected 1 to {CERTIFICATE_DAYS_MAX}")]
    Days {
        /// As given.
        days: u32,
    },
    /// The node is no founder, and no host was given for it.
    #[error("node {node} is not in initial-cluster: name its host with --host")]
    NoHost {
        /// Which.
        node: NodeId,
    },
    /// There is something under that name; it is untouched.
    #[error("{} is there already and was not touched", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The CA is not there, or not one of this command.
    #[error("the CA: make one with sealkv cert ca")]
    Authority(#[source] TlsRefused),
    /// It cannot be named so.
    #[error(transparent)]
    Name(#[from] WrongName),
}

/// Makes `ca.crt` and `ca.key`.
///
/// # Errors
/// [`CertError`].
pub fn authority(target: &CertTarget, clock: &dyn Clock) -> Result<Vec<PathBuf>, CertError> {
    let (cluster, _) = cluster(target)?;
    let (_, issued) = Authority::new(cluster, validity(target, clock)?);
    write(&target.folder, "ca", &issued)
}

/// Makes `node-<id>.crt` and `node-<id>.key`. Without `hosts` clients find the host of the list in it.
///
/// # Errors
/// [`CertError`].
pub fn node(target: &CertTarget, node: NodeId, hosts: &[String], clock: &dyn Clock) -> Result<Vec<PathBuf>, CertError> {
    let (cluster, founders) = cluster(target)?;
    let mut hosts = hosts.to_vec();
    if hosts.is_empty() {
        let of_list = founders.into_iter().find(|(founder, _)| *founder == node);
        hosts.push(of_list.ok_or(CertError::NoHost { node })?.1);
    }
    let issued = read(target, cluster)?.node(node, &hosts, validity(target, clock)?)?;
    write(&target.folder, &format!("node-{node}"), &issued)
}

/// Makes `client-<name>.crt` and `client-<name>.key`.
///
/// # Errors
/// [`CertError`].
pub fn client(target: &CertTarget, name: &str, clock: &dyn Clock) -> Result<Vec<PathBuf>, CertError> {
    let (cluster, _) = cluster(target)?;
    let issued = read(target, cluster)?.client(name, validity(target, clock)?)?;
    write(&target.folder, &format!("client-{name}"), &issued)
}

/// The cluster's id, and the hosts of its founders.
fn cluster(target: &CertTarget) -> Result<(ClusterId, Vec<(NodeId, String)>), CertError> {
    let (cluster, founders) = cluster_of(&target.initial_cluster, target.cluster_name.as_deref())?;
    let host = |address: &str| {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    };
    Ok((cluster, founders.iter().map(|founder| (founder.node, host(&founder.address))).collect()))
}

fn read(target: &CertTarget, cluster: ClusterId) -> Result<Authority, CertError> {
    Authority::read(cluster, &target.folder.join("ca.key")).map_err(CertError::Authority)
}

fn validity(target: &CertTarget, clock: &dyn Clock) -> Result<Validity, CertError> {
    let days = target.days;
    if days == 0 || days > CERTIFICATE_DAYS_MAX {
        return Err(CertError::Days { days });
    }
    Ok(Validity::days(clock.wall_ms() / 1000, days))
}

/// The key first: a certificate without its key is of no use, and both are refused if one is there.
fn write(folder: &Path, name: &str, issued: &Issued) -> Result<Vec<PathBuf>, CertError> {
    let paths = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")));
    if let Some(path) = paths.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(CertError::Exists { path: path.clone() });
    }
    for (path, text) in [(&paths[1], issued.key.as_str()), (&paths[0], issued.certificate.as_str())] {
        write_new(path, text.as_bytes()).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => CertError::Exists { path: path.clone() },
            _ => CertError::Write { path: path.clone(), source },
        })?;
    }
    Ok(paths.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::PeerTls;
    use crate::tls::TlsFiles;
    use crate::world::SystemClock;

    fn target(folder: &Path) -> CertTarget {
        let initial_cluster = "1=db1.example:7379,2=10.0.0.2:7379,3=[::1]:7379".to_owned();
        CertTarget { folder: folder.to_owned(), initial_cluster, cluster_name: None, days: 30 }
    }

    #[test]
    fn a_node_takes_what_is_made_for_it_and_nothing_is_touched_twice() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let clock = SystemClock::default();
        assert!(matches!(node(&target, NodeId::new(1).unwrap(), &[], &clock), Err(CertError::Authority(_))));
        let ca = authority(&target, &clock).unwrap().remove(0);
        let (cluster, _) = cluster_of(&target.initial_cluster, None).unwrap();
        for id in 1..=3 {
            let id = NodeId::new(id).unwrap();
            let made = node(&target, id, &[], &clock).unwrap();
            let [certificate, key] = made.try_into().unwrap();
            assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
            let before = fs::read(&key).unwrap();
            assert!(matches!(node(&target, id, &[], &clock), Err(CertError::Exists { .. })));
            assert_eq!(fs::read(&key).unwrap(), before);
            PeerTls::load(&TlsFiles { certificate, key, ca: ca.clone() }, cluster, id).unwrap();
        }
        assert!(matches!(authority(&target, &clock), Err(CertError::Exists { .. })));
        let joiner = NodeId::new(4).unwrap();
        assert!(matches!(node(&target, joiner, &[], &clock), Err(CertError::NoHost { .. })));
        node(&target, joiner, &["db4.example".to_owned()], &clock).unwrap();
        assert_eq!(client(&target, "worker", &clock).unwrap()[0], folder.path().join("client-worker.crt"));
        assert!(matches!(client(&target, "../x", &clock), Err(CertError::Name(_))));
        let forever = CertTarget { days: CERTIFICATE_DAYS_MAX + 1, ..target };
        assert!(matches!(client(&forever, "other", &clock), Err(CertError::Days { .. })));
    }
}
