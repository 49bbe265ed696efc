//! What comes with the offer of a snapshot: where the members are reached, as of now. A node that joins knows the founders
//! only, and its leader may be none of them. The bytes, big-endian:
//!
//! ```text
//! count(2), then of each member: node(8), length of its address(2), address (UTF-8)
//! ```

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::state::MemberAddress;
use crate::ids::NodeId;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::limits::MEMBERS_MAX;

/// The bytes drawn above.
pub(super) fn encode(addresses: &[MemberAddress]) -> Vec<u8> {
    let length = |length: usize| u16::try_from(length).expect("bounded where it is taken").to_be_bytes();
    let mut out = length(addresses.len()).to_vec();
    for MemberAddress { node, address } in addresses {
        out.extend_from_slice(&node.value().to_be_bytes());
        out.extend_from_slice(&length(address.len()));
        out.extend_from_slice(address.as_bytes());
    }
    out
}

/// Reads them.
///
/// # Errors
/// [`CodecError`].
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<MemberAddress>, CodecError> {
    let mut reader = Reader::new(bytes);
    let count = usize::from(reader.u16("members")?);
    if count > MEMBERS_MAX {
        return Err(CodecError::Field { field: "members" });
    }
    let mut addresses = Vec::with_capacity(count);
    for _ in 0..count {
        let node = NodeId::new(reader.u64("member")?).ok_or(CodecError::Field { field: "member" })?;
        let length = usize::from(reader.u16("address of a member")?);
        if length > ADDRESS_BYTES_MAX {
            return Err(CodecError::Field { field: "address of a member" });
        }
        let address = str::from_utf8(reader.slice(length, "address of a member")?)
            .map_err(|_| CodecError::Field { field: "address of a member" })?
            .to_owned();
        addresses.push(MemberAddress { node, address });
    }
    reader.end()?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::kit::garbage;
    use crate::keys::tests::kit::hurt;

    #[test]
    fn addresses_come_back_as_they_were_and_nothing_else_is_read() {
        let member = |id, address: &str| MemberAddress { node: NodeId::new(id).unwrap(), address: address.to_owned() };
        let addresses = vec![member(4, "10.0.0.4:7000"), member(9, "")];
        let bytes = encode(&addresses);
        assert_eq!(decode(&bytes), Ok(addresses));
        hurt(&bytes, decode);
        garbage(7, &[0, 2], decode);
    }
}
