//! The bounds of certificates.

/// Bytes of a file with certificates or a key: a bundle of all public CAs has 220 KiB.
pub const TLS_FILE_BYTES_MAX: usize = 1 << 20;
/// Days that a certificate of `sealkv cert` is good for, if none are given: browsers' own bound.
pub const CERTIFICATE_DAYS: u32 = 397;
/// Most such days that may be asked for: a century, so that no date leaves the calendar.
pub const CERTIFICATE_DAYS_MAX: u32 = 36_500;
