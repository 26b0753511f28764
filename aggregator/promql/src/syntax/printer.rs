use std::fmt;

use vedette_model::number::{format_exposition, format_plain};
use vedette_model::{METRIC_NAME, MatchOp};

use crate::ast::{
    Aggregate, AtModifier, Binary, Cardinality, DurationExpr, DurationOp, DurationValue, Expr, ExprKind,
    Grouping, Modifiers, NumberValue, RangeMode, Sign, Subquery, VectorMatching, VectorSelector,
};
use crate::syntax::duration::format_duration;

/// The expression in Prometheus' canonical form.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, duration } => write_number(f, *value, *duration),
            ExprKind::String(value) => f.write_str(&quote_bytes(value.as_bytes())),
            ExprKind::Vector(selector) => {
                write_selector(f, selector)?;
                write_at(f, &selector.modifiers)?;
                write_mode(f, selector.modifiers.mode)?;
                write_offset(f, &selector.modifiers)
            }
            ExprKind::Matrix(matrix) => {
                write_selector(f, &matrix.selector)?;
                write!(f, "[{}]", matrix.range)?;
                let modifiers = &matrix.selector.modifiers;
                write_mode(f, modifiers.mode)?;
                write_at(f, modifiers)?;
                write_offset(f, modifiers)
            }
            ExprKind::Subquery(subquery) => write!(f, "{}{}", subquery.inner, SubqueryTail(subquery)),
            ExprKind::Unary { op, operand } => write!(f, "{}{operand}", sign_text(*op)),
            ExprKind::Binary(binary) => write_binary(f, binary),
            ExprKind::Aggregate(aggregate) => write_aggregate(f, aggregate),
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                for (index, argument) in call.arguments.iter().enumerate() {
                    write!(f, "{}{argument}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

impl fmt::Display for DurationValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Millis(millis) => f.write_str(&format_duration(*millis)),
            Self::Expr(expr) => expr.fmt(f),
        }
    }
}

impl fmt::Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.op {
            DurationOp::Number { value, duration } => write_number(f, *value, *duration),
            DurationOp::Step => f.write_str("step()"),
            DurationOp::Range => f.write_str("range()"),
            DurationOp::Unary(sign, operand) => write!(f, "{}{operand}", sign_text(*sign)),
            DurationOp::Binary(op, left, right) => write!(f, "{left} {} {right}", op.as_str()),
            DurationOp::MinOf(left, right) => write!(f, "min_of({left}, {right})"),
            DurationOp::MaxOf(left, right) => write!(f, "max_of({left}, {right})"),
            DurationOp::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

pub(crate) const fn sign_text(sign: Sign) -> &'static str {
    match sign {
        Sign::Plus => "+",
        Sign::Minus => "-",
    }
}

fn write_number(f: &mut fmt::Formatter<'_>, value: NumberValue, duration: bool) -> fmt::Result {
    let NumberValue(value) = value;
    if duration {
        // By way of nanoseconds, as Prometheus does: 1s1ms is 1000999999 of them, and so 1s.
        return f.write_str(&format_duration((value * 1e9) as i64 / 1_000_000));
    }
    f.write_str(&format_plain(value))
}

fn write_selector(f: &mut fmt::Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let name = selector.name.as_deref().unwrap_or("");
    f.write_str(name)?;
    let mut matchers: Vec<String> = selector
        .matchers
        .0
        .iter()
        .filter(|matcher| {
            let is_name = matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal;
            !(is_name && matcher.value() == name && !name.is_empty())
        })
        .map(|matcher| {
            format!("{}{}{}", quote_name_if_needed(matcher.name()), matcher.op(), quote(matcher.value()))
        })
        .collect();
    if matchers.is_empty() {
        return if name.is_empty() { f.write_str("{}") } else { Ok(()) };
    }
    matchers.sort_unstable();
    write!(f, "{{{}}}", matchers.join(","))
}

fn write_at(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match modifiers.at {
        Some(AtModifier::Time(at)) => write!(f, " @ {at}"),
        Some(AtModifier::Start) => f.write_str(" @ start()"),
        Some(AtModifier::End) => f.write_str(" @ end()"),
        None => Ok(()),
    }
}

fn write_offset(f: &mut fmt::Formatter<'_>, modifiers: &Modifiers) -> fmt::Result {
    match &modifiers.offset {
        Some(offset) => write!(f, " offset {offset}"),
        None => Ok(()),
    }
}

fn write_mode(f: &mut fmt::Formatter<'_>, mode: RangeMode) -> fmt::Result {
    f.write_str(match mode {
        RangeMode::Plain => "",
        RangeMode::Anchored => " anchored",
        RangeMode::Smoothed => " smoothed",
    })
}

fn write_binary(f: &mut fmt::Formatter<'_>, binary: &Binary) -> fmt::Result {
    write!(f, "{} {}", binary.left, binary.op.as_str())?;
    if binary.returns_bool {
        f.write_str(" bool")?;
    }
    if let Some(matching) = &binary.matching {
        write!(f, "{}", MatchingText(matching))?;
    }
    write!(f, " {}", binary.right)
}

/// How the sides of a binary expression are matched, with a space in front; empty when nothing is said of it.
pub(crate) struct MatchingText<'a>(pub(crate) &'a VectorMatching);

impl fmt::Display for MatchingText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(matching) = self;
        let side = match matching.cardinality {
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if !matching.labels.is_empty() || matching.on || side.is_some() {
            let word = if matching.on { "on" } else { "ignoring" };
            write!(f, " {word} ({})", label_list(&matching.labels))?;
        }
        if let Some(side) = side {
            write!(f, " group_{side} ({})", label_list(&matching.include))?;
        }
        let fill = matching.fill;
        let number = |value: NumberValue| format_exposition(value.0);
        match (fill.left, fill.right) {
            (Some(left), Some(right)) if left.0.to_bits() == right.0.to_bits() => {
                write!(f, " fill ({})", number(left))
            }
            (left, right) => {
                if let Some(left) = left {
                    write!(f, " fill_left ({})", number(left))?;
                }
                if let Some(right) = right {
                    write!(f, " fill_right ({})", number(right))?;
                }
                Ok(())
            }
        }
    }
}

/// A subquery behind its expression.
pub(crate) struct SubqueryTail<'a>(pub(crate) &'a Subquery);

impl fmt::Display for SubqueryTail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(subquery) = self;
        write!(f, "[{}:", subquery.range)?;
        if let Some(step) = &subquery.step {
            write!(f, "{step}")?;
        }
        f.write_str("]")?;
        write_at(f, &subquery.modifiers)?;
        write_offset(f, &subquery.modifiers)
    }
}

/// An aggregation up to its opening parenthesis.
pub(crate) struct AggregateHead<'a>(pub(crate) &'a Aggregate);

impl fmt::Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(aggregate) = self;
        f.write_str(aggregate.op.as_str())?;
        match &aggregate.grouping {
            Grouping::Without(labels) => write!(f, " without ({}) ", label_list(labels)),
            Grouping::By(labels) if !labels.is_empty() => write!(f, " by ({}) ", label_list(labels)),
            Grouping::By(_) => Ok(()),
        }
    }
}

fn write_aggregate(f: &mut fmt::Formatter<'_>, aggregate: &Aggregate) -> fmt::Result {
    write!(f, "{}(", AggregateHead(aggregate))?;
    if let Some(parameter) = &aggregate.parameter {
        write!(f, "{parameter}, ")?;
    }
    write!(f, "{})", aggregate.operand)
}

fn label_list(labels: &[String]) -> String {
    let quoted: Vec<_> = labels.iter().map(|label| quote_name_if_needed(label)).collect();
    quoted.join(", ")
}

/// A label's name as it can be written outside quotes, else quoted.
fn quote_name_if_needed(name: &str) -> String {
    let starts = name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic());
    let plain = starts && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
    if plain { name.to_owned() } else { quote(name) }
}

/// As Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// As Go's `strconv.Quote`, of what need not be UTF-8.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        push_escaped(&mut out, chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a `String` can not fail.
            let _written: fmt::Result = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, text: &str) {
    use fmt::Write;
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\'' => out.push('\''),
            _ if is_printable(character) => out.push(character),
            _ if character < '\u{80}' => drop(write!(out, "\\x{:02x}", u32::from(character))),
            _ if character < '\u{10000}' => drop(write!(out, "\\u{:04x}", u32::from(character))),
            _ => drop(write!(out, "\\U{:08x}", u32::from(character))),
        }
    }
}

/// Near Go's `unicode.IsPrint`: Rust's own idea of what needs no escape when debugging, after another character, as what
/// joins one is printed to Go.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return character == ' ' || character.is_ascii_graphic();
    }
    format!("a{character}").escape_debug().nth(1) != Some('\\')
}
