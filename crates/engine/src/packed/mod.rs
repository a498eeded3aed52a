//! Values stored behind respguard's header: compressed, or unchanged if they happen to begin like a header.
//!
//! ```text
//! 8 bytes   ff "RGCOMP" fe
//! 1 byte    version, 1
//! 1 byte    algorithm: 0 as it is, 1 zstd, 2 LZ4 block
//! 4 bytes   length of the value, little-endian
//! 4 bytes   CRC-32 of the value, little-endian
//! the rest  the value by that algorithm
//! ```

mod codec;

use std::fmt;

use codec::{compress, decompress};

/// What a header begins with: no text in UTF-8 does.
pub const MAGIC: [u8; 8] = *b"\xffRGCOMP\xfe";
/// The length of a header.
pub const HEADER_BYTES: usize = 18;
/// The longest string that Redis takes.
pub const VALUE_BYTES_MAX: u64 = 512 * 1024 * 1024;

const VERSION: u8 = 1;
/// The longest text that Redis may read as a number (<https://redis.io/docs/latest/commands/incrbyfloat/>).
const NUMBER_BYTES_MAX: usize = 5 * 1024;

/// How a value is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// With its level.
    Zstd(i32),
    /// LZ4, which is faster and packs less.
    Lz4,
}

/// Why a value behind a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// Its header is cut off.
    Short,
    /// A header of a version that is not known.
    Version(u8),
    /// An algorithm that is not known.
    Algorithm(u8),
    /// It says to be longer than may be.
    TooLong {
        /// The length that it says.
        bytes: u64,
        /// The longest that may be.
        max: u64,
    },
    /// What is behind the header is not what its algorithm writes, or is not as long as it says.
    Data,
    /// What comes out does not have the header's checksum.
    Checksum,
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Corrupt::Short => f.write_str("its header is cut off"),
            Corrupt::Version(version) => write!(f, "its header is of version {version}, which is not known"),
            Corrupt::Algorithm(number) => write!(f, "its header names algorithm {number}, which is not known"),
            Corrupt::TooLong { bytes, max } => write!(f, "its header says {bytes} bytes, and {max} may be"),
            Corrupt::Data => f.write_str("what is behind its header is damaged"),
            Corrupt::Checksum => f.write_str("its checksum is another one"),
        }
    }
}

/// What is stored in the value's place; `None` where that is the value itself.
///
/// It is compressed if it then takes a tenth less, and unless it may be a number, which Redis must be able to read.
pub fn pack(value: &[u8], method: Option<Method>) -> Option<Vec<u8>> {
    let packed = method.filter(|_| !may_be_number(value)).and_then(|method| smaller(value, method));
    packed.or_else(|| is_packed(value).then(|| behind_header(0, value, value)).flatten())
}

fn smaller(value: &[u8], method: Method) -> Option<Vec<u8>> {
    let (algorithm, data) = match method {
        Method::Zstd(level) => (1, compress(value, Some(level))?),
        Method::Lz4 => (2, compress(value, None)?),
    };
    let is_worth_it = (data.len() + HEADER_BYTES).saturating_mul(10) <= value.len().saturating_mul(9);
    if is_worth_it { behind_header(algorithm, value, &data) } else { None }
}

fn behind_header(algorithm: u8, value: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(value.len()).ok()?;
    let mut packed = Vec::with_capacity(HEADER_BYTES + data.len());
    packed.extend_from_slice(&MAGIC);
    packed.extend([VERSION, algorithm]);
    packed.extend_from_slice(&length.to_le_bytes());
    packed.extend_from_slice(&crc32fast::hash(value).to_le_bytes());
    packed.extend_from_slice(data);
    Some(packed)
}

/// Whether what is stored begins with a header.
pub fn is_packed(stored: &[u8]) -> bool {
    stored.starts_with(&MAGIC)
}

/// The value of what is stored, of at most `max` bytes; `None` where it has no header.
///
/// # Errors
///
/// Where the value behind a header cannot be read, or is longer.
pub fn unpack(stored: &[u8], max: u64) -> Result<Option<Vec<u8>>, Corrupt> {
    if !is_packed(stored) {
        return Ok(None);
    }
    let (header, data) = stored.split_at_checked(HEADER_BYTES).ok_or(Corrupt::Short)?;
    let (version, algorithm) = (header[8], header[9]);
    let number = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let (length, sum) = (number(10), number(14));
    if version != VERSION {
        return Err(Corrupt::Version(version));
    }
    let max = max.min(VALUE_BYTES_MAX);
    if u64::from(length) > max && algorithm != 0 {
        return Err(Corrupt::TooLong { bytes: length.into(), max });
    }
    let length = length as usize;
    let value = match algorithm {
        0 => Some(data.to_vec()),
        1 => decompress(data, length, true),
        2 => decompress(data, length, false),
        other => return Err(Corrupt::Algorithm(other)),
    };
    let value = value.filter(|value| value.len() == length).ok_or(Corrupt::Data)?;
    if crc32fast::hash(&value) == sum { Ok(Some(value)) } else { Err(Corrupt::Checksum) }
}

/// The decompressed length of a stored value; 0 if it has no header or would be longer than `max`.
pub fn promised(stored: &[u8], max: u64) -> u64 {
    let Some((header, data)) = stored.split_at_checked(HEADER_BYTES).filter(|_| is_packed(stored)) else { return 0 };
    let length = header[10..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    match header[9] {
        0 => data.len() as u64,
        _ if u64::from(length) > max.min(VALUE_BYTES_MAX) => 0,
        _ => length.into(),
    }
}

fn may_be_number(value: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E' | b' ');
    value.len() <= NUMBER_BYTES_MAX && value.iter().all(digit)
}

#[cfg(test)]
mod tests;
