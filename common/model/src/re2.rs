//! Regular expressions with RE2's meaning, as Prometheus has them through Go's `regexp`, run by the `regex` crate.
//!
//! The two grammars differ in a few places, and a pattern is rewritten there before it is compiled:
//!
//! | RE2 | `regex` crate | rewritten to |
//! |---|---|---|
//! | `\d \w \s \b` are ASCII | Unicode | ASCII classes, `(?-u:\b)` |
//! | `\Q…\E` quotes | unknown | each character escaped |
//! | `[a&&b]`, `[a--b]`, `[a~~b]`, `[[a]` are plain characters | set operations | escaped |
//! | `a{`, `a{,3}` are plain characters | an error | escaped |
//! | `\z` only | `\z` | unchanged; `\Z`, `\h` and the like are refused by both |
//! | `\p{^Greek}` | `\P{Greek}` | that |
//! | `a**`, `a*+`, `a{2}{3}` are refused | repeated repetition | refused, as RE2 does |
//! | `[[:nope:]]`, `\p{sc=Greek}` are refused | plain characters, a script | likewise |
//! | a space in `(?x)`, `(?R)`, `(?u)` | flags | likewise |
//! | names of groups are ASCII, `(?P<1>a)` | Unicode, no digit first | refused; see [`group_name`] |

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Largest compiled program, in bytes: what keeps a hostile pattern from eating memory.
const PROGRAM_BYTES_MAX: usize = 10 << 20;

/// Patterns that are remembered. At so many all are forgotten.
const REMEMBERED_MAX: usize = 128;
/// The largest program of one of them, and the most that running it may keep, in bytes.
const REMEMBERED_BYTES_MAX: usize = 64 << 10;
const REMEMBERED_STATES_BYTES_MAX: usize = 512 << 10;

/// Most strings that a pattern is expanded to before it is run as a pattern instead.
const ALTERNATIVES_MAX: usize = 256;

/// RE2's limit on counted repetition.
const REPEAT_MAX: u32 = 1000;

/// What may stand between `[:` and `:]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// A pattern that RE2 would refuse, too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct RegexError(String);

/// Compiles `pattern` anchored at both ends, `.` matching newlines too, as Prometheus' matchers do.
pub fn compile_anchored(pattern: &str) -> Result<Regex, RegexError> {
    build(&anchored(pattern)?)
}

/// As [`compile_anchored`], of a pattern that is likely to be asked for again: to compile it takes longer than most
/// queries. The last patterns are remembered, but for those with large programs.
pub fn compile_remembered(pattern: &str) -> Result<Arc<Regex>, RegexError> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Arc<Regex>>>> = LazyLock::new(Mutex::default);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = known().get(pattern) {
        return Ok(Arc::clone(regex));
    }
    let anchored = anchored(pattern)?;
    let small = RegexBuilder::new(&anchored)
        .size_limit(REMEMBERED_BYTES_MAX)
        .dfa_size_limit(REMEMBERED_STATES_BYTES_MAX)
        .build();
    let Ok(small) = small else { return build(&anchored).map(Arc::new) };
    let (small, mut known) = (Arc::new(small), known());
    if known.len() >= REMEMBERED_MAX {
        known.clear();
    }
    known.insert(pattern.to_owned(), Arc::clone(&small));
    Ok(small)
}

/// What a group of this name is called in a compiled pattern: before a digit there is what no name in a pattern has.
pub fn group_name(name: &str) -> Cow<'_, str> {
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        Cow::Owned(format!("_.{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

fn anchored(pattern: &str) -> Result<String, RegexError> {
    // By itself first, so that an unbalanced parenthesis can not close the group around it.
    let translated = translate(pattern)?;
    regex_syntax::Parser::new().parse(&translated).map_err(|error| RegexError(reason(&error)))?;
    Ok(format!("^(?s:{translated})$"))
}

fn build(anchored: &str) -> Result<Regex, RegexError> {
    let built = RegexBuilder::new(anchored).size_limit(PROGRAM_BYTES_MAX).build();
    built.map_err(|error| RegexError(error.to_string()))
}

fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        other => other.to_string(),
    }
}

/// The only strings that `pattern` accepts, where these are few; in no order, maybe repeated.
pub(crate) fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::Parser::new().parse(&translate(pattern).ok()?).ok()?;
    expand(&hir)?.into_iter().map(|bytes| String::from_utf8(bytes).ok()).collect()
}

/// What all strings begin with that `pattern` accepts.
pub(crate) fn literal_prefix(pattern: &str) -> String {
    let parsed = translate(pattern).ok().and_then(|text| regex_syntax::Parser::new().parse(&text).ok());
    let Some(hir) = parsed else { return String::new() };
    let first = match hir.kind() {
        HirKind::Concat(parts) => parts.first().map(Hir::kind),
        kind => Some(kind),
    };
    match first {
        Some(HirKind::Literal(literal)) => String::from_utf8(literal.0.to_vec()).unwrap_or_default(),
        _ => String::new(),
    }
}

fn expand(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    let expanded = match hir.kind() {
        HirKind::Empty => vec![Vec::new()],
        HirKind::Literal(literal) => vec![literal.0.to_vec()],
        HirKind::Capture(capture) => expand(&capture.sub)?,
        HirKind::Class(Class::Unicode(class)) => {
            let count: usize = class.ranges().iter().map(|range| range.len()).sum();
            if count > ALTERNATIVES_MAX {
                return None;
            }
            let characters = class.ranges().iter().flat_map(|range| range.start()..=range.end());
            characters.map(|character| character.to_string().into_bytes()).collect()
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(expand(part)?);
            }
            all
        }
        HirKind::Concat(parts) => {
            let mut all = vec![Vec::new()];
            for part in parts {
                let tails = expand(part)?;
                if all.len() * tails.len() > ALTERNATIVES_MAX {
                    return None;
                }
                all = all
                    .iter()
                    .flat_map(|head| tails.iter().map(move |tail| [&head[..], tail].concat()))
                    .collect();
            }
            all
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = expand(&repetition.sub)?;
            all.push(Vec::new());
            all
        }
        HirKind::Class(Class::Bytes(_)) | HirKind::Look(_) | HirKind::Repetition(_) => return None,
    };
    (expanded.len() <= ALTERNATIVES_MAX).then_some(expanded)
}

/// Rewrites RE2's grammar to the `regex` crate's.
fn translate(pattern: &str) -> Result<String, RegexError> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut repeated: Option<&str> = None;
    while let Some(character) = rest.chars().next() {
        if let Some((operator, after)) = repetition(rest) {
            if let Some(first) = repeated {
                return Err(RegexError(format!("invalid nested repetition operator: `{first}{operator}`")));
            }
            check_count(operator)?;
            out.push_str(operator);
            (repeated, rest) = (Some(operator), after);
            continue;
        }
        repeated = None;
        match character {
            '\\' => rest = translate_escape(rest, false, &mut out)?,
            '[' => rest = translate_class(rest, &mut out)?,
            '{' => {
                out.push_str("\\{");
                rest = &rest[1..];
            }
            '(' => rest = translate_group(rest, &mut out)?,
            _ => {
                out.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    Ok(out)
}

/// `rest` starts with a backslash; gives what comes after the escape.
fn translate_escape<'a>(rest: &'a str, in_class: bool, out: &mut String) -> Result<&'a str, RegexError> {
    let Some(escaped) = rest[1..].chars().next() else {
        return Err(RegexError("trailing backslash at end of expression".to_owned()));
    };
    let after = &rest[1 + escaped.len_utf8()..];
    let ascii = match escaped {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        'D' | 'W' | 'S' => return translate_negated(escaped, after, in_class, out),
        'b' | 'B' if !in_class => {
            write!(out, "(?-u:\\{escaped})").map_err(|error| RegexError(error.to_string()))?;
            return Ok(after);
        }
        'Q' if !in_class => {
            let (quoted, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex_syntax::escape(quoted));
            return Ok(after);
        }
        'C' => return Err(RegexError("invalid escape sequence: `\\C` is not supported".to_owned())),
        '0'..='7' => return translate_octal(rest, after, escaped, out),
        'p' | 'P' if after.starts_with('{') => return translate_property(escaped, after, out),
        'x' if after.starts_with('{') => {
            let (code, after) =
                braced(after).ok_or_else(|| RegexError("invalid escape sequence: `\\x{`".to_owned()))?;
            write!(out, "\\x{{{code}}}").map_err(|error| RegexError(error.to_string()))?;
            return Ok(after);
        }
        'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'p' | 'P' => "",
        'A' | 'z' if !in_class => "",
        _ if escaped.is_ascii() && !escaped.is_ascii_alphanumeric() => "",
        _ => return Err(RegexError(format!("invalid escape sequence: `\\{escaped}`"))),
    };
    match (ascii, in_class) {
        ("", _) => out.extend(['\\', escaped]),
        (set, true) => out.push_str(set),
        (set, false) => out.extend(["[", set, "]"]),
    }
    Ok(after)
}

/// What stands in the braces that `rest` starts with, and what comes after them.
fn braced(rest: &str) -> Option<(&str, &str)> {
    rest.strip_prefix('{')?.split_once('}')
}

/// Whether RE2 knows it: categories, and scripts by their long names. The `regex` crate knows more.
fn is_known_property(name: &str) -> bool {
    /// Names as long as the codes of scripts that RE2 does not know.
    const AS_LONG_AS_CODES: [&str; 9] =
        ["ahom", "cham", "lisu", "mark", "miao", "modi", "newa", "thai", "toto"];
    const CODE_LENGTH: usize = 4;
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let lower = name.to_ascii_lowercase();
    let may_be_code = name.len() == CODE_LENGTH && !AS_LONG_AS_CODES.contains(&lower.as_str());
    let known = |kind: &str| regex_syntax::Parser::new().parse(&format!("\\p{{{kind}={name}}}")).is_ok();
    is_plain && !may_be_code && (known("gc") || known("sc"))
}

/// `\p{Greek}`, `\P{Greek}` or `\p{^Greek}`, of which `rest` starts with the brace.
fn translate_property<'a>(escaped: char, rest: &'a str, out: &mut String) -> Result<&'a str, RegexError> {
    let unknown = || RegexError(format!("invalid character class range: `\\{escaped}{rest}`"));
    let (name, after) = braced(rest).ok_or_else(unknown)?;
    let (name, negates) = match name.strip_prefix('^') {
        Some(name) => (name, escaped == 'p'),
        None => (name, escaped == 'P'),
    };
    if !is_known_property(name) {
        return Err(unknown());
    }
    write!(out, "\\{}{{{name}}}", if negates { 'P' } else { 'p' })
        .map_err(|error| RegexError(error.to_string()))?;
    Ok(after)
}

fn translate_negated<'a>(
    escaped: char,
    after: &'a str,
    in_class: bool,
    out: &mut String,
) -> Result<&'a str, RegexError> {
    let set = match escaped {
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        _ => "^\\t\\n\\f\\r ",
    };
    // Inside a class, a nested class of the `regex` crate means the union, which is what RE2 means.
    debug_assert!(in_class || !set.is_empty());
    out.extend(["[", set, "]"]);
    Ok(after)
}

/// RE2 reads `\0`, `\012` and `\123` as octal; `\1` alone would be a backreference, which it has not.
fn translate_octal<'a>(
    rest: &'a str,
    after: &'a str,
    first: char,
    out: &mut String,
) -> Result<&'a str, RegexError> {
    let more = after.chars().take(2).take_while(|digit| ('0'..='7').contains(digit)).count();
    if first != '0' && more == 0 {
        return Err(RegexError(format!("invalid escape sequence: `\\{first}`")));
    }
    let digits = &rest[1..2 + more];
    let code = u32::from_str_radix(digits, 8).map_err(|error| RegexError(error.to_string()))?;
    write!(out, "\\x{{{code:x}}}").map_err(|error| RegexError(error.to_string()))?;
    Ok(&after[more..])
}

/// `rest` starts with `[`.
fn translate_class<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, RegexError> {
    out.push('[');
    let mut rest = &rest[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        let Some(character) = rest.chars().next() else {
            return Err(RegexError("missing closing ]".to_owned()));
        };
        match character {
            ']' if !first => {
                out.push(']');
                return Ok(&rest[1..]);
            }
            '\\' => rest = translate_escape(rest, true, out)?,
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |end| end + 2);
                if !POSIX_CLASSES.contains(&rest[2..end - 2].trim_start_matches('^')) {
                    return Err(RegexError(format!("invalid character class range: `{}`", &rest[..end])));
                }
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            '[' | ']' | '&' | '~' | '^' => {
                out.extend(['\\', character]);
                rest = &rest[1..];
            }
            '-' => {
                rest = &rest[1..];
                // A hyphen at either end stands for itself.
                let literal = first || rest.starts_with(']') || out.ends_with("\\-");
                out.push_str(if literal { "\\-" } else { "-" });
            }
            _ => {
                out.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        first = false;
    }
}

/// The repetition that `rest` starts with, lazy or not, and what comes after it.
fn repetition(rest: &str) -> Option<(&str, &str)> {
    let length = match rest.as_bytes().first()? {
        b'*' | b'+' | b'?' => 1,
        b'{' => counted(rest)?,
        _ => return None,
    };
    Some(rest.split_at(length + usize::from(rest[length..].starts_with('?'))))
}

/// The length of `{n}`, `{n,}` or `{n,m}`; else a brace is the character itself.
fn counted(rest: &str) -> Option<usize> {
    let inside = &rest[1..rest.find('}')?];
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    (!low.is_empty() && digits(low) && digits(high)).then_some(inside.len() + 2)
}

/// Refuses what repeats too often.
fn check_count(operator: &str) -> Result<(), RegexError> {
    let mut counts =
        operator.split(|character: char| !character.is_ascii_digit()).filter(|text| !text.is_empty());
    match counts.all(|count| count.parse::<u32>().is_ok_and(|count| count <= REPEAT_MAX)) {
        true => Ok(()),
        false => Err(RegexError(format!("invalid repeat count: `{operator}`"))),
    }
}

/// `rest` starts with `(`: only RE2's flags may follow `(?`.
fn translate_group<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, RegexError> {
    let flags = rest.strip_prefix("(?").unwrap_or("");
    let flags = &flags[..flags.find([':', ')', 'P', '<']).unwrap_or(0)];
    if let Some(unknown) = flags.chars().find(|flag| !"imsU-".contains(*flag)) {
        return Err(RegexError(format!("invalid or unsupported Perl syntax: `(?{unknown}`")));
    }
    let named = rest.strip_prefix("(?P<").or_else(|| rest.strip_prefix("(?<"));
    if let Some((name, after)) = named.and_then(|named| named.split_once('>')) {
        let is_word = |character: char| character == '_' || character.is_ascii_alphanumeric();
        if name.is_empty() || !name.chars().all(is_word) {
            return Err(RegexError(format!("invalid named capture: `(?P<{name}>`")));
        }
        write!(out, "(?P<{}>", group_name(name)).map_err(|error| RegexError(error.to_string()))?;
        return Ok(after);
    }
    out.push('(');
    Ok(&rest[1..])
}

#[cfg(test)]
mod tests {
    use super::{compile_anchored, group_name};

    fn accepts(pattern: &str, text: &str) -> bool {
        compile_anchored(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")).is_match(text)
    }

    #[test]
    fn classes_are_ascii() {
        assert!(accepts(r"\d+", "12") && !accepts(r"\d+", "१२"));
        assert!(accepts(r"[\w-]+", "a-b") && !accepts(r"\w", "é"));
        assert!(accepts(r"[^\s]+", "ab") && accepts(r"\S+", "é") && accepts(r"[\Da]", "x"));
    }

    #[test]
    fn set_operators_are_plain_characters() {
        assert!(accepts("[a&&b]+", "a&b") && accepts("[[a]+", "[a") && accepts("[a~~b]+", "~"));
        assert!(accepts("[]a]+", "]a") && accepts("[^]]", "x") && accepts("[+--]+", "+,-"));
        assert!(accepts("[[:alpha:]_]+", "a_b"));
    }

    #[test]
    fn braces_may_be_plain() {
        assert!(accepts("a{", "a{") && accepts("a{,2}", "a{,2}") && accepts("{x}", "{x}"));
        assert!(accepts("a{2}", "aa") && accepts("a{1,}", "aaa"));
        assert!(compile_anchored("a{1001}").is_err());
        assert!(accepts(r"\x{41}\x42", "AB") && accepts("a{1,2}?b", "aab"));
    }

    #[test]
    fn properties_have_names() {
        assert!(accepts(r"\p{Greek}+", "αβ") && !accepts(r"\p{Greek}", "a") && accepts(r"\pL", "a"));
        assert!(accepts(r"\p{Thai}", "ก") && accepts(r"\p{Letter}\p{Nd}", "a1") && accepts(r"\p{Any}", "x"));
        assert!(accepts(r"\p{^Greek}", "a") && accepts(r"\P{^Greek}", "α") && accepts(r"[\p{Lu}x]+", "Ax"));
    }

    #[test]
    fn names_of_groups_are_ascii_words() {
        let regex = compile_anchored("(?P<1e5>a)(?<n_1>b)").unwrap_or_else(|error| panic!("{error}"));
        let captures = regex.captures("ab").expect("it matches");
        let named = |name: &str| captures.name(&group_name(name)).map(|group| group.as_str());
        assert_eq!((named("1e5"), named("n_1"), named("_1e5")), (Some("a"), Some("b"), None));
        for pattern in ["(?P<ü>a)", "(?P<>a)", "(?P<a.b>a)", "(?P<n>a)(?P<n>b)", "(?P<n", "(?<=a)b"] {
            assert!(compile_anchored(pattern).is_err(), "{pattern} should be refused");
        }
    }

    #[test]
    fn quoting_and_octal() {
        assert!(accepts(r"\Qa.b\E.", "a.bc") && accepts(r"\Q[", "["));
        assert!(accepts(r"\101", "A") && accepts(r"a\/b\-c", "a/b-c"));
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "a**",
            "a*+",
            "a++",
            "a+??",
            "a{2}{3}",
            "a*{2}",
            "[[:nope:]]",
            r"\p{sc=Greek}",
            r"\p{Grek}",
            r"\p{Alphabetic}",
            r"\p{",
            r"\x{",
        ] {
            assert!(compile_anchored(pattern).is_err(), "{pattern} should be refused");
        }
        for pattern in
            ["(", ")", "a)(b", "*", r"\h", r"\8", r"\1", "(?x)a b", "(?=a)", "[b-a]", "\\", "[a", r"\Z"]
        {
            assert!(compile_anchored(pattern).is_err(), "{pattern} should be refused");
        }
    }
}
