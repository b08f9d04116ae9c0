//! TensorFlow's record files: for each record its length (u64, little-endian), that length's checksum, the data, the data's
//! checksum. A checksum is a CRC-32C, masked.

/// The records of a file; an error says what is wrong with it, and with which record.
pub(super) fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], String>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        number += 1;
        Some(match first(bytes) {
            Ok((data, rest)) => {
                bytes = rest;
                Ok(data)
            }
            Err(problem) => {
                bytes = &[];
                Err(format!("record {number}: {problem}"))
            }
        })
    })
}

/// The first record, and the rest.
fn first(bytes: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    const CUT: &str = "the file ends within it";
    let (length, rest) = bytes.split_first_chunk::<8>().ok_or(CUT)?;
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    if masked(length) != u32::from_le_bytes(*sum) {
        return Err("the checksum of its length is wrong");
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| CUT)?;
    let (data, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    let (sum, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    match masked(data) == u32::from_le_bytes(*sum) {
        true => Ok((data, rest)),
        false => Err("the checksum of its data is wrong"),
    }
}

/// CRC-32C, rotated and shifted, so that the checksum of data that holds checksums is no special case.
fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}
