//! Reading of the kernel's text, from bytes, without allocating.

/// The lines of a file with their numbers, counted from 1. A newline at the end begins no further line.
pub(crate) fn lines(content: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut rest = content;
    let mut number = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let line;
        (line, rest) = match memchr::memchr(b'\n', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &[][..]),
        };
        number += 1;
        Some((number, line))
    })
}

/// The fields of a line, separated by white space.
pub(crate) fn fields(line: &[u8]) -> Fields<'_> {
    Fields { rest: line }
}

/// See [`fields`].
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|byte| !is_space(*byte))?;
        let rest = &self.rest[start..];
        let end = rest.iter().position(|byte| is_space(*byte)).unwrap_or(rest.len());
        self.rest = &rest[end..];
        Some(&rest[..end])
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A decimal number that fits.
pub(crate) fn unsigned(digits: &[u8]) -> Option<u64> {
    // Nineteen digits always fit; only longer ones need checking at each step.
    if digits.is_empty() {
        return None;
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = if digits.len() <= 19 {
            value * 10 + u64::from(digit)
        } else {
            value.checked_mul(10)?.checked_add(u64::from(digit))?
        };
    }
    Some(value)
}

/// A decimal number with an optional sign.
pub(crate) fn signed(text: &[u8]) -> Option<i64> {
    match text.split_first()? {
        (b'-', digits) => 0i64.checked_sub_unsigned(unsigned(digits)?),
        (b'+', digits) => i64::try_from(unsigned(digits)?).ok(),
        _ => i64::try_from(unsigned(text)?).ok(),
    }
}

/// A hexadecimal number without prefix.
pub(crate) fn hexadecimal(digits: &[u8]) -> Option<u64> {
    let bounded = digits.first().is_some_and(u8::is_ascii_hexdigit);
    bounded.then(|| u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}

/// Any number, to the nearest float.
pub(crate) fn number(text: &[u8]) -> Option<f64> {
    if let Some(value) = unsigned(text) {
        return Some(value as f64);
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A word that may be part of a metric's name: nothing else becomes one, whatever the kernel writes.
pub(crate) fn name_part(word: &[u8]) -> Option<&str> {
    let fits = !word.is_empty() && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if fits { std::str::from_utf8(word).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits() {
        let split: Vec<_> =
            lines(b"a b\n\n  c\td ").map(|(number, line)| (number, fields(line).count())).collect();
        assert_eq!(split, [(1, 2), (2, 0), (3, 2)]);
        assert_eq!(lines(b"").count(), 0);
    }

    #[test]
    fn numbers() {
        assert_eq!(unsigned(b"18446744073709551615"), Some(u64::MAX));
        for text in ["", "18446744073709551616", "99999999999999999999", "1a", "-1", "+1", " 1", "/", ":"] {
            assert_eq!(unsigned(text.as_bytes()), None, "{text}");
        }
        assert_eq!(signed(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(signed(b"-"), None);
        assert_eq!(hexadecimal(b"0000ff"), Some(255));
        assert_eq!(hexadecimal(b"+f"), None);
        assert_eq!(number(b"0.37"), Some(0.37));
        assert_eq!(number(b"-1"), Some(-1.0));
        assert_eq!(number(b""), None);
    }

    proptest! {
        #[test]
        fn unsigned_agrees_with_the_standard_library(text in "[0-9]{0,22}") {
            prop_assert_eq!(unsigned(text.as_bytes()), text.parse().ok());
        }

        #[test]
        fn numbers_round_like_text(value: u64) {
            let text = value.to_string();
            prop_assert_eq!(number(text.as_bytes()).map(f64::to_bits), text.parse::<f64>().ok().map(f64::to_bits));
        }
    }
}
