//! The bounds of certificates and handshakes.

use std::time::Duration;

/// How long a client may take until it has shaken hands: two ways over the network and two signatures.
pub const TLS_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// What a connection with TLS holds beside what its client makes it hold: keys, and buffers for records. Measured on 2026-11-29:
/// 400 connections, idle or with half a command sent, held 22 to 32 KiB more each than as many without TLS.
pub const TLS_CONNECTION_BYTES: usize = 32 << 10;
/// Bytes of a file with certificates or a key: a bundle of all public CAs has 220 KiB.
pub const TLS_FILE_BYTES_MAX: usize = 1 << 20;
/// Days that a certificate of `sealkv cert` is good for, if none are given: browsers' own bound.
pub const CERTIFICATE_DAYS: u32 = 397;
/// Most such days that may be asked for: a century, so that no date leaves the calendar.
pub const CERTIFICATE_DAYS_MAX: u32 = 36_500;
