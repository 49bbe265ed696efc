//! AES-256-GCM over batches: the one door through which anything is sealed or opened.
//!
//! A batch is a slice of [`Message`]s under one key, each a mutable slice (text, then space for the tag) of one arena;
//! that they cannot overlap is the borrow checker's proof. Tiers differ in speed, never in bytes.

#[cfg(target_arch = "x86_64")]
mod cpu;
mod known;
#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    clippy::multiple_unsafe_ops_per_block,
    reason = "the kernels: every operation on vectors is unsafe, for one reason that `lanes::vector` gives"
)]
mod lanes;
mod library;
mod library_tags;
mod message;
mod tier;

pub use library::Library;
pub use message::Aead;
pub use message::KEY_LEN;
pub use message::Message;
pub use message::NONCE_LEN;
pub use message::TAG_KEYS_LEN;
pub use message::TAG_LEN;
pub use message::TagMessage;
pub use message::Tags;
pub use message::Verdict;
#[cfg(any(test, feature = "kernels"))]
pub use tier::Kernels;
pub use tier::Tier;
pub use tier::TierChoice;
pub use tier::TierError;
pub use tier::choose;
pub use tier::chosen;
pub use tier::key;
pub use tier::tag_key;

#[cfg(test)]
#[allow(clippy::multiple_unsafe_ops_per_block, reason = "addresses of guard pages")]
mod tests;
