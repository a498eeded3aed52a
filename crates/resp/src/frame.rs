//! The numbers in frame heads: at once if a complete plain line is there, otherwise byte by byte.

/// Reads `digits CR x` at the start of `bytes`, where `x` is any byte (a caller that cares checks it).
///
/// Returns the number and the bytes used, `x` included. `None` says only that these bytes do not settle
/// it the easy way: the line may be unfinished, negative, long or malformed.
#[inline(always)]
pub(super) fn plain_length(bytes: &[u8]) -> Option<(u32, usize)> {
    match *bytes {
        [ones @ b'0'..=b'9', b'\r', _, ..] => return Some((u32::from(ones - b'0'), 3)),
        [tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _, ..] => {
            return Some((u32::from(tens - b'0') * 10 + u32::from(ones - b'0'), 4));
        }
        _ => {}
    }
    let mut value = u32::from(digit(*bytes.first()?)?);
    let mut at = 1;
    loop {
        let byte = *bytes.get(at)?;
        let Some(digit) = digit(byte) else {
            return (byte == b'\r' && bytes.len() > at + 1).then_some((value, at + 2));
        };
        // Nine digits fit a u32; a zero in front of other digits is malformed.
        if at == 9 || value == 0 {
            return None;
        }
        value = value * 10 + u32::from(digit);
        at += 1;
    }
}

/// As `plain_length`, of a line that begins with the byte `KIND`, which counts among those used, and ends with a line feed.
#[inline(always)]
pub(super) fn length_of<const KIND: u8>(bytes: &[u8]) -> Option<(u32, usize)> {
    match short_length_of::<KIND>(bytes) {
        Some(known) => Some(known),
        None => longer_length_of::<KIND>(bytes),
    }
}

/// The same of more digits, or at the end of what has come.
#[inline]
fn longer_length_of<const KIND: u8>(bytes: &[u8]) -> Option<(u32, usize)> {
    let digits = bytes.strip_prefix(&[KIND])?;
    plain_length(digits).map(|(length, used)| (length, 1 + used)).filter(|(_, used)| bytes[used - 1] == b'\n')
}

/// The same of one or two digits, which most have: one load tells.
#[inline(always)]
fn short_length_of<const KIND: u8>(bytes: &[u8]) -> Option<(u32, usize)> {
    const END: [u8; 2] = *b"\r\n";
    let line = u32::from_le_bytes(*bytes.first_chunk()?);
    let byte = |place: u32| line >> (8 * place) & 0xff;
    let digit = |place| byte(place).wrapping_sub(u32::from(b'0'));
    if byte(0) != u32::from(KIND) || digit(1) > 9 {
        return None;
    }
    if line >> 16 == u32::from(u16::from_le_bytes(END)) {
        return Some((digit(1), 4));
    }
    let has_two = *bytes.get(3..5)? == END && digit(1) > 0 && digit(2) <= 9;
    has_two.then(|| (10 * digit(1) + digit(2), 5))
}

/// The value of one decimal digit.
#[inline(always)]
fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(digit)
}

/// A decimal number taken one byte at a time, as strict as Redis: no plus sign, no leading zeros, no spaces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decimal {
    magnitude: u64,
    digits: bool,
    negative: bool,
    malformed: bool,
}

impl Decimal {
    pub(super) fn push(&mut self, byte: u8) {
        let Some(digit) = digit(byte) else {
            self.malformed |= byte != b'-' || self.digits || self.negative;
            self.negative = true;
            return;
        };
        self.malformed |= self.digits && self.magnitude == 0;
        self.digits = true;
        let grown = self.magnitude.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit)));
        match grown {
            Some(magnitude) => self.magnitude = magnitude,
            None => self.malformed = true,
        }
    }

    /// Whether no further byte can make this a number.
    pub(super) fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// The number, if it is one and fits an `i64`.
    pub(super) fn value(&self) -> Option<i64> {
        if self.malformed || !self.digits {
            return None;
        }
        match self.negative {
            false => i64::try_from(self.magnitude).ok(),
            true if self.magnitude == 0 => None,
            true => 0i64.checked_sub_unsigned(self.magnitude),
        }
    }
}

/// The length of the plain frame that `bytes` starts with; `None` also where it takes a closer look.
#[inline(always)]
pub(crate) fn plain_frame(bytes: &[u8], bulk_bytes_max: u64) -> Option<usize> {
    match bytes.first()? {
        b'$' => {
            let Some((length, used)) = length_of::<b'$'>(bytes) else {
                return bytes.starts_with(b"$-1\r\n").then_some(5);
            };
            let end = used + length as usize;
            let is_whole = bytes.get(end..end + 2)? == b"\r\n";
            (is_whole && u64::from(length) <= bulk_bytes_max).then_some(end + 2)
        }
        b':' => length_of::<b':'>(bytes).map(|(_, used)| used),
        b'+' => bytes.starts_with(b"+OK\r\n").then_some(5),
        b'_' => bytes.starts_with(b"_\r\n").then_some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Option<i64> {
        let mut decimal = Decimal::default();
        text.bytes().for_each(|byte| decimal.push(byte));
        decimal.value()
    }

    #[test]
    fn decimals_are_read_as_strictly_as_redis_reads_them() {
        for text in ["0", "1", "10", "-1", "-10", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(decimal(text), text.parse().ok(), "{text}");
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "-01",
            "+1",
            " 1",
            "1 ",
            "1-",
            "--1",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            assert_eq!(decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_short_line_reads_as_any_other() {
        for number in 0..300 {
            let line = format!("${number}\r\n").into_bytes();
            let read = Some((number, line.len()));
            assert_eq!((length_of::<b'$'>(&line), short_length_of::<b'$'>(&line)), (read, read.filter(|_| number < 100)));
            assert_eq!(length_of::<b'*'>(&line), None);
        }
        for text in [
            "", "$", "$1", "$1\r", "$\r\n", "$01\r\n", "$-1\r\n", "$x\r\n", "$1x\r\n", "$1\n\r\n", ":1\r\n", "$1\rx", "$12\rx",
            "$123\rx",
        ] {
            assert_eq!(length_of::<b'$'>(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn plain_lengths_need_the_byte_behind_the_carriage_return() {
        assert_eq!(plain_length(b"12\r"), None);
        assert_eq!(plain_length(b"12\r\n"), Some((12, 4)));
        assert_eq!(plain_length(b"0\r\nmore"), Some((0, 3)));
        assert_eq!(plain_length(b"999999999\r\n"), Some((999_999_999, 11)));
        for other in [&b""[..], b"1", b"\r\n", b"-1\r\n", b"01\r\n", b"1x\r\n", b"1000000000\r\n"] {
            assert_eq!(plain_length(other), None, "{other:?}");
        }
    }
}
