//! The connections to the other members, for metrics and INFO.

use std::fmt::Write as _;

use crate::node::families::Families;
use crate::peers::PeerStatus;

/// The metrics of each.
pub(super) fn link_metrics(links: &[PeerStatus], out: &mut Families) {
    for link in links {
        let node = link.node.to_string();
        let peer = ("peer", node.as_str());
        out.labeled(
            "sealkv_peer_connected",
            "1 if both connections to this member stand",
            peer,
            link.is_connected.into(),
        );
        out.labeled("sealkv_peer_queued", "Messages that wait for this member", peer, link.queued as u64);
        let micros = link.round_trip.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let help = "Round trip to this member and back, what waits before it included; 0 if unknown";
        out.labeled("sealkv_peer_round_trip_microseconds", help, peer, micros);
        for (name, help, count) in [
            ("sealkv_peer_connects_total", "Connections to this member that were made", link.connects_total),
            ("sealkv_peer_sent_bytes_total", "Bytes sent to this member", link.sent_bytes_total),
            ("sealkv_peer_sent_messages_total", "Messages sent to this member", link.sent_messages_total),
            ("sealkv_peer_received_bytes_total", "Bytes that came from this member", link.received_bytes_total),
            (
                "sealkv_peer_received_messages_total",
                "Messages that came from this member",
                link.received_messages_total,
            ),
            ("sealkv_peer_dropped_total", "Messages to this member that were dropped", link.dropped_total),
        ] {
            out.labeled_counter(name, help, peer, count);
        }
    }
}

/// All of them in a line of INFO.
pub(super) fn link_line(links: &[PeerStatus]) -> String {
    let mut line = String::new();
    for link in links {
        let state = if link.is_connected { "up" } else { "down" };
        let separator = if line.is_empty() { "" } else { ";" };
        let micros = link.round_trip.map_or(0, |time| time.as_micros());
        let written = write!(
            line,
            "{separator}node={},state={state},since_seconds={},round_trip_micros={micros},sent_bytes={},received_bytes={},dropped={}",
            link.node,
            link.since.as_secs(),
            link.sent_bytes_total,
            link.received_bytes_total,
            link.dropped_total,
        );
        written.expect("writing to a String does not fail");
    }
    line
}
