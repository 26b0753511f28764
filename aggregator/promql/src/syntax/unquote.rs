use crate::ast::StringValue;

/// The text that a string literal stands for. Labels are UTF-8 everywhere, so what is not becomes U+FFFD.
pub(crate) fn unquote(literal: &str) -> String {
    unquote_value(literal).as_str().to_owned()
}

/// What a string literal stands for; Go's `\xff` may name any byte. The lexer has checked its escapes.
pub(crate) fn unquote_value(literal: &str) -> StringValue {
    let inside = literal.get(1..literal.len().saturating_sub(1)).unwrap_or("");
    if literal.starts_with('`') || !inside.contains('\\') {
        return StringValue::new(inside.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = push_escaped(&rest[at + 1..], &mut bytes);
    }
    bytes.extend_from_slice(rest.as_bytes());
    StringValue::new(bytes)
}

/// Reads one escape after its backslash and gives what follows it.
fn push_escaped<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> &'a str {
    let Some(kind) = rest.chars().next() else { return "" };
    let after = &rest[kind.len_utf8()..];
    let digits = |text: &'a str, count: usize, base: u32| {
        let value = text.get(..count).and_then(|digits| u32::from_str_radix(digits, base).ok());
        (value.unwrap_or(0), text.get(count..).unwrap_or(""))
    };
    match kind {
        'a' => bytes.push(7),
        'b' => bytes.push(8),
        'f' => bytes.push(12),
        'n' => bytes.push(b'\n'),
        'r' => bytes.push(b'\r'),
        't' => bytes.push(b'\t'),
        'v' => bytes.push(11),
        'x' => {
            let (value, after) = digits(after, 2, 16);
            bytes.push(value as u8);
            return after;
        }
        '0'..='7' => {
            let (value, after) = digits(rest, 3, 8);
            bytes.push(value as u8);
            return after;
        }
        'u' | 'U' => {
            let (value, after) = digits(after, if kind == 'u' { 4 } else { 8 }, 16);
            let character = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return after;
        }
        _ => bytes.extend_from_slice(kind.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    after
}

#[cfg(test)]
mod tests {
    use super::unquote;

    #[test]
    fn reads_go_escapes() {
        assert_eq!(unquote(r#""a\tb\"\\\x41\101\u00e9\U0001F600""#), "a\tb\"\\AAé😀");
        assert_eq!(unquote(r"`a\tb`"), r"a\tb");
        assert_eq!(unquote(r#""\xc3\xa9""#), "é");
        assert_eq!(unquote(r#""a\xc5z""#), "a\u{fffd}z");
    }
}
