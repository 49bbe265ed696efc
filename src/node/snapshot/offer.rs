//! What comes with the offer of a snapshot: where the members are reached, as of now. A node that joins knows the founders
//! only, and its leader may be none of them. The bytes are those of the addresses in the applied row, drawn in `fsm/state.rs`.

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::state::MemberAddress;
use crate::fsm::state::put_addresses;
use crate::fsm::state::take_addresses;

/// The bytes drawn there.
pub(super) fn encode(addresses: &[MemberAddress]) -> Vec<u8> {
    let mut out = Vec::new();
    put_addresses(addresses, &mut out);
    out
}

/// Reads them.
///
/// # Errors
/// [`CodecError`].
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<MemberAddress>, CodecError> {
    let mut reader = Reader::new(bytes);
    let addresses = take_addresses(&mut reader)?;
    reader.end()?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
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
