use std::fmt;

use vedette_model::{Matcher, Timestamp};

use crate::syntax::function::Function;

/// A part of the text: bytes from `start` up to `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte after the last.
    pub end: usize,
    /// Line of `start`, from 1. Kept here, so that messages of the evaluation need no text.
    pub line: u32,
    /// Column of `start` in bytes, from 1.
    pub column: u32,
}

/// `line:column` of its start.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl Span {
    /// From `self`'s start to `other`'s end.
    pub fn to(self, other: Self) -> Self {
        Self { end: other.end, ..self }
    }
}

/// The type of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A number a step.
    Scalar,
    /// A set of series with one sample a step.
    Vector,
    /// A set of series with a range of samples.
    Matrix,
    /// A string.
    String,
}

impl ValueType {
    /// Prometheus' word in the HTTP API's `resultType`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            Self::String => "string",
        }
    }

    /// The word in the messages of the type check.
    pub const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::String => "string",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An expression and where it stands in the text. Equality ignores where.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// The kinds of expressions.
#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1.5`, `0x1f`, `Inf`; a duration such as `5m` counts its seconds.
    Number {
        /// The value.
        value: NumberValue,
        /// Written as a duration, and printed so.
        duration: bool,
    },
    /// `"text"`
    String(StringValue),
    /// `up{job="node"}`
    Vector(VectorSelector),
    /// `up[5m]`
    Matrix(MatrixSelector),
    /// `rate(x[5m])[1h:1m]`
    Subquery(Box<Subquery>),
    /// `-x`, `+x`
    Unary {
        /// The sign.
        op: Sign,
        /// What it applies to.
        operand: Box<Expr>,
    },
    /// `a + b`
    Binary(Box<Binary>),
    /// `sum by(job) (x)`
    Aggregate(Box<Aggregate>),
    /// `rate(x[5m])`
    Call(Call),
    /// `(x)`
    Paren(Box<Expr>),
}

/// A literal's value. Equality is that of bits, so that an expression with `NaN` equals itself.
#[derive(Clone, Copy, Debug)]
pub struct NumberValue(pub f64);

impl PartialEq for NumberValue {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || (self.0.is_nan() && other.0.is_nan())
    }
}

/// A string literal's value: bytes that are UTF-8, but need not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringValue {
    /// With U+FFFD for what is not UTF-8.
    text: String,
    /// Where that differs from the text.
    bytes: Option<Vec<u8>>,
}

impl StringValue {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { text, bytes: None },
            Err(error) => {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Self { text, bytes: Some(error.into_bytes()) }
            }
        }
    }

    /// Its text, with U+FFFD for what is not UTF-8.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is UTF-8.
    pub const fn is_utf8(&self) -> bool {
        self.bytes.is_none()
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }
}

/// A sign before an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// Matchers of a selector, that of the name included. Equality is that of their texts, in any order.
#[derive(Clone, Debug, Default)]
pub struct Matchers(pub Vec<Matcher>);

impl PartialEq for Matchers {
    fn eq(&self, other: &Self) -> bool {
        let texts = |matchers: &[Matcher]| {
            let text =
                |matcher: &Matcher| (matcher.name().to_owned(), matcher.op(), matcher.value().to_owned());
            let mut texts: Vec<_> = matchers.iter().map(text).collect();
            texts.sort_unstable();
            texts
        };
        texts(&self.0) == texts(&other.0)
    }
}

/// An instant vector selector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// The name before the braces, if there is one.
    pub name: Option<String>,
    /// All matchers, that of `name` last.
    pub matchers: Matchers,
    /// `offset`, `@`, `anchored`, `smoothed`.
    pub modifiers: Modifiers,
}

/// What may follow a selector or a subquery.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `offset 5m`; positive looks back.
    pub offset: Option<DurationValue>,
    /// `@ 1234.5`
    pub at: Option<AtModifier>,
    /// `anchored`, `smoothed`
    pub mode: RangeMode,
}

/// What `@` fixes a selector to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtModifier {
    /// A time.
    Time(Timestamp),
    /// `start()`: the query's first step.
    Start,
    /// `end()`: the query's last step.
    End,
}

/// How a range selector treats its boundaries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeMode {
    /// Only samples inside.
    #[default]
    Plain,
    /// `anchored`: the last sample before the range counts as its start.
    Anchored,
    /// `smoothed`: boundaries are interpolated.
    Smoothed,
}

/// A duration as written in a range, a step or an offset.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationValue {
    /// A literal, in milliseconds.
    Millis(i64),
    /// Arithmetic over durations.
    Expr(Box<DurationExpr>),
}

/// Arithmetic over durations, in seconds. Equality ignores where it stands.
#[derive(Clone, Debug)]
pub struct DurationExpr {
    /// What it is.
    pub op: DurationOp,
    /// Where it stands.
    pub span: Span,
}

impl PartialEq for DurationExpr {
    fn eq(&self, other: &Self) -> bool {
        self.op == other.op
    }
}

/// The kinds of arithmetic over durations.
#[derive(Clone, Debug, PartialEq)]
pub enum DurationOp {
    /// A number of seconds, perhaps written as a duration.
    Number {
        /// Seconds.
        value: NumberValue,
        /// Written as a duration.
        duration: bool,
    },
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-x`, `+x`
    Unary(Sign, Box<DurationExpr>),
    /// `a + b` and the like.
    Binary(BinaryOp, Box<DurationExpr>, Box<DurationExpr>),
    /// `min_of(a, b)`
    MinOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `max_of(a, b)`
    MaxOf(Box<DurationExpr>, Box<DurationExpr>),
    /// `(x)`
    Paren(Box<DurationExpr>),
}

/// A range vector selector. Equality ignores where it stands.
#[derive(Clone, Debug)]
pub struct MatrixSelector {
    /// Which series; carries the modifiers.
    pub selector: VectorSelector,
    /// Where the vector selector stands.
    pub selector_span: Span,
    /// How far back.
    pub range: DurationValue,
}

impl PartialEq for MatrixSelector {
    fn eq(&self, other: &Self) -> bool {
        self.selector == other.selector && self.range == other.range
    }
}

/// A subquery.
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// What is evaluated at each of its steps.
    pub inner: Expr,
    /// How far back.
    pub range: DurationValue,
    /// Its step; without one, the engine's default.
    pub step: Option<DurationValue>,
    /// `offset` and `@`.
    pub modifiers: Modifiers,
}

/// Operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `atan2`
    Atan2,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `</`: trims a native histogram from above.
    TrimUpper,
    /// `>/`: trims a native histogram from below.
    TrimLower,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

impl BinaryOp {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::TrimUpper => "</",
            Self::TrimLower => ">/",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// Whether it compares.
    pub const fn is_comparison(self) -> bool {
        matches!(
            self,
            Self::Equal | Self::NotEqual | Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual
        )
    }

    /// Whether it is `and`, `or` or `unless`.
    pub const fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }
}

/// A binary expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// Left.
    pub left: Expr,
    /// Right.
    pub right: Expr,
    /// `bool`: comparisons give 0 or 1 instead of filtering.
    pub returns_bool: bool,
    /// How series find each other; only between vectors.
    pub matching: Option<VectorMatching>,
}

/// How the series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMatching {
    /// How many may meet how many.
    pub cardinality: Cardinality,
    /// `on` these labels (true) or `ignoring` them.
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Labels taken from the "one" side by `group_left` and `group_right`.
    pub include: Vec<String>,
    /// `fill`: what stands for a missing partner.
    pub fill: FillValues,
}

/// What stands for a missing partner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FillValues {
    /// For one missing on the left.
    pub left: Option<NumberValue>,
    /// For one missing on the right.
    pub right: Option<NumberValue>,
}

/// How many series of one side may meet how many of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// The default.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Cardinality {
    /// Prometheus' words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneToOne => "one-to-one",
            Self::ManyToOne => "many-to-one",
            Self::OneToMany => "one-to-many",
            Self::ManyToMany => "many-to-many",
        }
    }
}

/// The aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is PromQL's word for itself")]
pub enum Aggregation {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl Aggregation {
    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Count => "count",
            Self::Min => "min",
            Self::Max => "max",
            Self::Group => "group",
            Self::Stddev => "stddev",
            Self::Stdvar => "stdvar",
            Self::Topk => "topk",
            Self::Bottomk => "bottomk",
            Self::CountValues => "count_values",
            Self::Quantile => "quantile",
            Self::Limitk => "limitk",
            Self::LimitRatio => "limit_ratio",
        }
    }

    /// The type of its parameter, if it takes one.
    pub const fn parameter(self) -> Option<ValueType> {
        match self {
            Self::CountValues => Some(ValueType::String),
            Self::Topk | Self::Bottomk | Self::Quantile | Self::Limitk | Self::LimitRatio => {
                Some(ValueType::Scalar)
            }
            _ => None,
        }
    }

    /// Whether it gives back some of its input's series, rather than one a group.
    pub const fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio)
    }
}

/// An aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Which.
    pub op: Aggregation,
    /// Over what.
    pub operand: Expr,
    /// `k`, `φ` or the label's name.
    pub parameter: Option<Expr>,
    /// Which series go together.
    pub grouping: Grouping,
}

/// Which series go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grouping {
    /// Those that agree in these labels.
    By(Vec<String>),
    /// Those that agree in all labels but these and the name.
    Without(Vec<String>),
}

/// A function call.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The function.
    pub function: &'static Function,
    /// Its arguments.
    pub arguments: Vec<Expr>,
}
