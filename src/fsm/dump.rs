//! The payload of DUMP and RESTORE: one value as Redis' RDB format has it.
//!
//! ```text
//! type(1) = 0, a string | the string | RDB version(2) | CRC-64 of all before it (8)       the last two little-endian
//!
//! string    length, and as many bytes; or one of
//!           0xc0 i8 | 0xc1 i16 | 0xc2 i32          a number, little-endian, which stands for its digits
//!           0xc3 length length bytes               LZF: compressed and plain length
//! length    0b00xxxxxx | 0b01xxxxxx xxxxxxxx | 0x80 u32 | 0x81 u64         big-endian
//! ```
//!
//! What is written is what Redis 7.0 writes, but never compressed; what is read is every form, up to the version of Redis 7.2.

use crate::codec::Reader;
use crate::limits::VALUE_BYTES_MAX;

/// Why a payload is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpError {
    /// It was cut, changed, or made by a newer Redis.
    VersionOrChecksum,
    /// It is whole, and no string.
    Format,
    /// The value in it is longer than one may be here.
    Long,
}

/// The payload of a value.
#[must_use]
pub fn dump(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + OVERHEAD_MAX);
    out.push(TYPE_STRING);
    match small_number(value) {
        Some(number) if i8::try_from(number).is_ok() => out.extend_from_slice(&[NUMBER_8, number.to_le_bytes()[0]]),
        Some(number) if i16::try_from(number).is_ok() => {
            out.push(NUMBER_16);
            out.extend_from_slice(&number.to_le_bytes()[..2]);
        }
        Some(number) => {
            out.push(NUMBER_32);
            out.extend_from_slice(&number.to_le_bytes());
        }
        None => {
            put_length(value.len(), &mut out);
            out.extend_from_slice(value);
        }
    }
    out.extend_from_slice(&VERSION_WRITTEN.to_le_bytes());
    out.extend_from_slice(&crc64(&out).to_le_bytes());
    out
}

/// The value in a payload.
///
/// # Errors
/// [`DumpError`]. A length is compared with its bound before anything is allocated.
pub fn restore(payload: &[u8]) -> Result<Vec<u8>, DumpError> {
    let (checked, checksum) = payload.split_last_chunk::<8>().ok_or(DumpError::VersionOrChecksum)?;
    let (object, version) = checked.split_last_chunk::<2>().ok_or(DumpError::VersionOrChecksum)?;
    if u16::from_le_bytes(*version) > VERSION_READ_MAX || crc64(checked) != u64::from_le_bytes(*checksum) {
        return Err(DumpError::VersionOrChecksum);
    }
    let (kind, text) = object.split_first().ok_or(DumpError::Format)?;
    if *kind != TYPE_STRING {
        return Err(DumpError::Format);
    }
    let mut reader = Reader::new(text);
    let value = take_string(&mut reader)?;
    // As Redis does, bytes behind the value are not looked at.
    Ok(value)
}

fn take_string(reader: &mut Reader<'_>) -> Result<Vec<u8>, DumpError> {
    let first = take::<1>(reader)?[0];
    match first {
        NUMBER_8 => Ok(take::<1>(reader).map(i8::from_le_bytes)?.to_string().into()),
        NUMBER_16 => Ok(take::<2>(reader).map(i16::from_le_bytes)?.to_string().into()),
        NUMBER_32 => Ok(take::<4>(reader).map(i32::from_le_bytes)?.to_string().into()),
        COMPRESSED => {
            let first = take::<1>(reader)?[0];
            let packed = take_length(first, reader)?;
            let first = take::<1>(reader)?[0];
            let plain = take_length(first, reader)?;
            let packed = reader.slice(packed, "compressed").map_err(|_| DumpError::Format)?;
            unpack(packed, plain)
        }
        _ => {
            let len = take_length(first, reader)?;
            Ok(reader.slice(len, "string").map_err(|_| DumpError::Format)?.to_vec())
        }
    }
}

/// A length of at most [`VALUE_BYTES_MAX`].
fn take_length(first: u8, reader: &mut Reader<'_>) -> Result<usize, DumpError> {
    let len = match first {
        0x00..=0x3f => u64::from(first),
        0x40..=0x7f => u64::from(u16::from_be_bytes([first & 0x3f, take::<1>(reader)?[0]])),
        LENGTH_32 => u64::from(take(reader).map(u32::from_be_bytes)?),
        LENGTH_64 => take(reader).map(u64::from_be_bytes)?,
        _ => return Err(DumpError::Format),
    };
    usize::try_from(len).ok().filter(|len| *len <= VALUE_BYTES_MAX).ok_or(DumpError::Long)
}

fn take<const N: usize>(reader: &mut Reader<'_>) -> Result<[u8; N], DumpError> {
    reader.array("payload").map_err(|_| DumpError::Format)
}

fn put_length(len: usize, out: &mut Vec<u8>) {
    match u32::try_from(len).expect("a value is far shorter") {
        len @ 0..=0x3f => out.push(len.to_le_bytes()[0]),
        len @ 0x40..=0x3fff => out.extend_from_slice(&(0x4000 | len).to_be_bytes()[2..]),
        len => {
            out.push(LENGTH_32);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// A number that Redis keeps as such: its digits are these bytes, and it fits 32 bits.
fn small_number(value: &[u8]) -> Option<i32> {
    if value.len() > NUMBER_BYTES_MAX {
        return None;
    }
    let number: i32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == value).then_some(number)
}

/// LZF, which copies runs of literals and pieces of what it has written already.
fn unpack(mut packed: &[u8], plain: usize) -> Result<Vec<u8>, DumpError> {
    let mut out = Vec::with_capacity(plain);
    while let Some((control, rest)) = packed.split_first() {
        packed = rest;
        if *control < 0x20 {
            let (literals, rest) = packed.split_at_checked(usize::from(*control) + 1).ok_or(DumpError::Format)?;
            packed = rest;
            out.extend_from_slice(literals);
        } else {
            let mut len = usize::from(control >> 5);
            if len == 7 {
                let (more, rest) = packed.split_first().ok_or(DumpError::Format)?;
                packed = rest;
                len += usize::from(*more);
            }
            let (low, rest) = packed.split_first().ok_or(DumpError::Format)?;
            packed = rest;
            let distance = usize::from(control & 0x1f) << 8 | usize::from(*low);
            let start = out.len().checked_sub(distance + 1).ok_or(DumpError::Format)?;
            if out.len() + len + 2 > plain {
                return Err(DumpError::Format);
            }
            for at in start..start + len + 2 {
                out.push(out[at]);
            }
        }
        if out.len() > plain {
            return Err(DumpError::Format);
        }
    }
    if out.len() == plain { Ok(out) } else { Err(DumpError::Format) }
}

/// CRC-64 of Jones, as Redis has it: reflected, beginning with zero.
fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |crc, byte| CRC_TABLE[usize::from(crc.to_le_bytes()[0] ^ byte)] ^ crc >> 8)
}

const CRC_TABLE: [u64; 256] = {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let (mut crc, mut bit) = (at as u64, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ CRC_POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[at] = crc;
        at += 1;
    }
    table
};

/// 0xad93d23594c935a9 with its bits reversed.
const CRC_POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;
const TYPE_STRING: u8 = 0;
const LENGTH_32: u8 = 0x80;
const LENGTH_64: u8 = 0x81;
const NUMBER_8: u8 = 0xc0;
const NUMBER_16: u8 = 0xc1;
const NUMBER_32: u8 = 0xc2;
const COMPRESSED: u8 = 0xc3;
/// That of Redis 7.0: older ones take it too, for strings have not changed.
const VERSION_WRITTEN: u16 = 10;
/// That of Redis 7.2.
const VERSION_READ_MAX: u16 = 11;
/// Digits of the longest i32, and its sign.
const NUMBER_BYTES_MAX: usize = 11;
/// Type, length, version and checksum.
const OVERHEAD_MAX: usize = 1 + 5 + 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::seed::Seeded;

    /// From redis-server 7.0.15.
    #[test]
    fn golden_payloads_are_those_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca, "the check value of Redis' own test");
        assert_eq!(hex::encode(dump(b"10")), "00c00a0a006e9f57450eae63bb");
    }

    #[test]
    fn what_is_dumped_is_restored() {
        let rng = Seeded::fresh();
        let numbers =
            ["0", "-1", "127", "128", "-129", "32767", "-32769", "2147483647", "2147483648", "-2147483648", "007"];
        for text in numbers {
            assert_eq!(restore(&dump(text.as_bytes())).unwrap(), text.as_bytes());
        }
        for len in [0, 1, 63, 64, 300, 16383, 16384, 100_000] {
            let value: Vec<u8> = (0..len).map(|_| rng.bits().to_le_bytes()[0]).collect();
            assert_eq!(restore(&dump(&value)).unwrap(), value, "{len}");
        }
    }

    fn payload(object: &[u8], version: u16) -> Vec<u8> {
        let mut out = object.to_vec();
        out.extend_from_slice(&version.to_le_bytes());
        out.extend_from_slice(&crc64(&out).to_le_bytes());
        out
    }

    #[test]
    fn cut_changed_newer_and_foreign_payloads_are_refused() {
        let good = dump(b"hello world");
        for len in 0..good.len() {
            assert_eq!(restore(&good[..len]), Err(DumpError::VersionOrChecksum), "{len}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(restore(&bad), Err(DumpError::VersionOrChecksum), "{at}");
        }
        assert_eq!(restore(&payload(b"\0\x01a", 12)), Err(DumpError::VersionOrChecksum));
        assert_eq!(restore(&payload(b"\0\x01a", 11)).unwrap(), b"a");
        for object in [&b""[..], b"\x01\x01a", b"\0", b"\0\x05ab", b"\0\xc4", b"\0\xc1\0", b"\0\xc3\x01\x05\0"] {
            assert_eq!(restore(&payload(object, 10)), Err(DumpError::Format), "{object:?}");
        }
        let long = [&b"\0\x80"[..], &u32::MAX.to_be_bytes()].concat();
        assert_eq!(restore(&payload(&long, 10)), Err(DumpError::Long));
        let long = [&b"\0\x81"[..], &u64::MAX.to_be_bytes()].concat();
        assert_eq!(restore(&payload(&long, 10)), Err(DumpError::Long));
    }

    #[test]
    fn lzf_is_unpacked_and_its_damage_is_found() {
        // "a", then 8 bytes from one back: a run of the same letter.
        assert_eq!(unpack(b"\x00a\xc0\x00", 9).unwrap(), b"aaaaaaaaa");
        assert_eq!(unpack(b"\x02abc\xe0\x03\x02", 15).unwrap(), b"abcabcabcabcabc");
        for (packed, plain) in
            [(&b"\x00a\xc0\x00"[..], 8), (b"\x00a\xc0\x00", 10), (b"\x00a\xc0", 9), (b"\x05ab", 6), (b"\x20\x05", 3)]
        {
            assert_eq!(unpack(packed, plain), Err(DumpError::Format), "{packed:?}");
        }
    }
}
