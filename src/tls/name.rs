//! The name by which a certificate says which node its holder is.

use rustls::pki_types::ServerName;

use crate::ids::ClusterId;
use crate::ids::NodeId;

/// The name of a node: `node-<id>.<cluster id>.sealkv`.
#[must_use]
pub fn node_name(cluster: ClusterId, node: NodeId) -> String {
    format!("node-{node}.{cluster}.sealkv")
}

/// The same, as the library compares it.
pub(super) fn server_name(cluster: ClusterId, node: NodeId) -> ServerName<'static> {
    ServerName::try_from(node_name(cluster, node)).expect("letters, digits, hyphens and dots, in short labels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_of_every_cluster_has_a_name() {
        let name = |cluster, id| server_name(ClusterId(cluster), NodeId::new(id).unwrap()).to_str().into_owned();
        assert_eq!(name([0xab; 16], 7), format!("node-7.{}.sealkv", "ab".repeat(16)));
        assert_eq!(name([0; 16], u64::MAX), format!("node-18446744073709551615.{}.sealkv", "00".repeat(16)));
    }
}
