//! Commands to bytes, at the proposer. The drawing is in the parent.

use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::codec::KIND_BATCH;
use crate::fsm::codec::KIND_CONTROL;
use crate::fsm::command::EncodeError;
use crate::fsm::command::WriteCommand;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::PAYLOAD_BYTES_MAX;

/// Appends the payload of a client batch to `out`; on an error `out` is as it was.
///
/// # Errors
/// [`EncodeError`]: the commands do not fit one entry.
pub fn encode_batch<'w>(
    stamp_ms: u64,
    writes: impl IntoIterator<Item = &'w WriteCommand>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = append_batch(stamp_ms, writes, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends the payload of a control entry to `out`; `change` is the keyring's own encoding.
///
/// # Errors
/// [`EncodeError::PayloadLong`]; `out` is as it was.
pub fn encode_control(change: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let found = 1 + change.len();
    if found > PAYLOAD_BYTES_MAX {
        return Err(EncodeError::PayloadLong { found });
    }
    out.push(KIND_CONTROL);
    out.extend_from_slice(change);
    Ok(())
}

/// Gives an encoded batch another stamp: it is encoded when it arrives and stamped when it is proposed.
///
/// # Panics
/// If `payload_inout` is not a client batch.
pub fn set_stamp(payload_inout: &mut [u8], stamp_ms: u64) {
    assert!(payload_inout.len() >= BATCH_HEADER_LEN, "a client batch has a header");
    assert_eq!(payload_inout[0], KIND_BATCH, "only a client batch has a stamp");
    payload_inout[1..9].copy_from_slice(&stamp_ms.to_be_bytes());
}

fn append_batch<'w>(
    stamp_ms: u64,
    writes: impl IntoIterator<Item = &'w WriteCommand>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(KIND_BATCH);
    out.extend_from_slice(&stamp_ms.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    let mut sealed_writes = 0;
    for write in writes {
        // Before the copy, so that `out` stays bounded whatever the command holds.
        let found = out.len() - start + write.encoded_len();
        if found > PAYLOAD_BYTES_MAX {
            return Err(EncodeError::PayloadLong { found });
        }
        write.encode(out)?;
        count += 1;
        sealed_writes += write.cost().seals;
    }
    if count == 0 {
        return Err(EncodeError::Empty);
    }
    if sealed_writes > ENTRY_WRITES_MAX {
        return Err(EncodeError::WritesMany { found: sealed_writes });
    }
    out[start + 9..start + BATCH_HEADER_LEN].copy_from_slice(&count.to_be_bytes());
    Ok(())
}
