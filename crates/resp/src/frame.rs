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
