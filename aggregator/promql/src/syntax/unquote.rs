/// The text that a string literal stands for. The lexer has checked its escapes.
///
/// Go's `\xff` may name any byte; where the bytes together are not UTF-8 the parts that are not become
/// U+FFFD, because label values are UTF-8 everywhere.
pub(crate) fn unquote(literal: &str) -> String {
    let inside = literal.get(1..literal.len().saturating_sub(1)).unwrap_or("");
    if literal.starts_with('`') || !inside.contains('\\') {
        return inside.to_owned();
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = push_escaped(&rest[at + 1..], &mut bytes);
    }
    bytes.extend_from_slice(rest.as_bytes());
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
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
