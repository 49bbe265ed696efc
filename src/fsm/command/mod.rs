//! Commands: what clients may ask of the state, and the replies.
//!
//! A command is parsed once, at the edge, into a type that cannot be wrong. Its fields, its bytes in an entry and what it
//! costs stand side by side: writes in `write`, reads, which never stand in an entry, in `read`. What a command does is in
//! `kv`. Keys are at most `KEY_BYTES_MAX`, values at most `VALUE_BYTES_MAX`: the edge refuses longer ones, the encoder
//! refuses them again, and a decoder that meets one calls the entry malformed.

pub(super) mod bits;
pub(super) mod fields;
mod names;
mod options;
mod read;
mod reply;
pub(super) mod write;

pub use bits::BitFieldAction;
pub use bits::BitFieldStep;
pub use bits::BitOperation;
pub use bits::BitSpan;
pub use bits::BitSteps;
pub use bits::Overflow;
pub(in crate::fsm) use bits::written_bytes;
pub use fields::EncodeError;
pub use fields::KeyList;
pub use fields::PairList;
pub use fields::PayloadError;
pub use names::NameList;
pub use options::ExpireIf;
pub use options::Expiry;
pub use options::SetIf;
pub use options::SetReply;
pub use read::KeyFact;
pub use read::LcsAnswer;
pub use read::ReadCommand;
pub use read::TtlForm;
pub use reply::KeyReply;
pub use reply::Reply;
pub use write::WriteCommand;
pub use write::WriteCost;
pub use write::WriteRef;
