//! elastickv's nonces: `node_id(2) | local_epoch(2) | write_count(8)`, the count from 1.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::crypto::aead::NONCE_LEN;

/// The final state of a [`CounterNonce`]: it never gives another nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the write count of this node and epoch is exhausted")]
pub struct CounterExhausted;

/// Makes nonces that are unique as long as no two processes use the same node and epoch.
#[derive(Debug)]
pub struct CounterNonce {
    node_id: u16,
    local_epoch: u16,
    write_count: AtomicU64,
}

impl CounterNonce {
    /// A factory whose first nonce carries the count 1.
    #[must_use]
    pub fn new(node_id: u16, local_epoch: u16) -> CounterNonce {
        CounterNonce::resumed(node_id, local_epoch, 0)
    }

    /// A factory that continues after `write_count`.
    #[must_use]
    pub fn resumed(node_id: u16, local_epoch: u16, write_count: u64) -> CounterNonce {
        CounterNonce { node_id, local_epoch, write_count: AtomicU64::new(write_count) }
    }

    /// The next nonce; threads may call it at once and never get the same.
    ///
    /// # Errors
    /// [`CounterExhausted`] after the count `u64::MAX`.
    pub fn next_nonce(&self) -> Result<[u8; NONCE_LEN], CounterExhausted> {
        let previous = self
            .write_count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_add(1))
            .map_err(|_| CounterExhausted)?;
        let mut nonce = [0; NONCE_LEN];
        nonce[..2].copy_from_slice(&self.node_id.to_be_bytes());
        nonce[2..4].copy_from_slice(&self.local_epoch.to_be_bytes());
        nonce[4..].copy_from_slice(&(previous + 1).to_be_bytes());
        Ok(nonce)
    }
}

/// The id of a node by name: FNV-1a-64; `None` for the empty name, 1 instead of a hash of 0.
#[must_use]
pub fn full_node_id(name: &str) -> Option<u64> {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    if name.is_empty() {
        return None;
    }
    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    Some(hash.max(1))
}

/// The two bytes of [`full_node_id`] that stand in a counter nonce.
#[must_use]
pub fn nonce_node_id(full: u64) -> u16 {
    (full & 0xffff) as u16
}
