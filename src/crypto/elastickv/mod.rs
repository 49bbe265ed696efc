//! elastickv's own sealing, byte for byte: for its vectors, and for programs that read its data. A node never runs it.

pub mod envelope;
pub mod nonce;
#[cfg(feature = "node")]
pub mod vectors;
