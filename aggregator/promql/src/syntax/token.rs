use crate::ast::Aggregation;

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) kind: TokenKind,
    pub(crate) start: usize,
    pub(crate) text: &'a str,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TokenKind {
    End,
    /// The text is no PromQL from here on.
    Error(String),
    Identifier,
    /// A word with a colon, which can only be a metric's name.
    MetricIdentifier,
    Keyword(Keyword),
    Number,
    Duration,
    String,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    Equal,
    EqualRegex,
    NotRegex,
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    EqualEqual,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    TrimUpper,
    TrimLower,
}

/// Words with a meaning, in any case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyword {
    And,
    Or,
    Unless,
    Atan2,
    Aggregation(Aggregation),
    Offset,
    Smoothed,
    Anchored,
    By,
    Without,
    On,
    Ignoring,
    GroupLeft,
    GroupRight,
    Fill,
    FillLeft,
    FillRight,
    Bool,
    Start,
    End,
    Step,
    Range,
    MaxOf,
    MinOf,
}

impl Keyword {
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        const LONGEST: usize = "count_values".len();
        if word.len() > LONGEST {
            return None;
        }
        Some(match word.to_ascii_lowercase().as_str() {
            "and" => Self::And,
            "or" => Self::Or,
            "unless" => Self::Unless,
            "atan2" => Self::Atan2,
            "sum" => Self::Aggregation(Aggregation::Sum),
            "avg" => Self::Aggregation(Aggregation::Avg),
            "count" => Self::Aggregation(Aggregation::Count),
            "min" => Self::Aggregation(Aggregation::Min),
            "max" => Self::Aggregation(Aggregation::Max),
            "group" => Self::Aggregation(Aggregation::Group),
            "stddev" => Self::Aggregation(Aggregation::Stddev),
            "stdvar" => Self::Aggregation(Aggregation::Stdvar),
            "topk" => Self::Aggregation(Aggregation::Topk),
            "bottomk" => Self::Aggregation(Aggregation::Bottomk),
            "count_values" => Self::Aggregation(Aggregation::CountValues),
            "quantile" => Self::Aggregation(Aggregation::Quantile),
            "limitk" => Self::Aggregation(Aggregation::Limitk),
            "limit_ratio" => Self::Aggregation(Aggregation::LimitRatio),
            "offset" => Self::Offset,
            "smoothed" => Self::Smoothed,
            "anchored" => Self::Anchored,
            "by" => Self::By,
            "without" => Self::Without,
            "on" => Self::On,
            "ignoring" => Self::Ignoring,
            "group_left" => Self::GroupLeft,
            "group_right" => Self::GroupRight,
            "fill" => Self::Fill,
            "fill_left" => Self::FillLeft,
            "fill_right" => Self::FillRight,
            "bool" => Self::Bool,
            "start" => Self::Start,
            "end" => Self::End,
            "step" => Self::Step,
            "range" => Self::Range,
            "max_of" => Self::MaxOf,
            "min_of" => Self::MinOf,
            _ => return None,
        })
    }

    /// Whether it may also name a metric.
    pub(crate) const fn may_name_metric(self) -> bool {
        !matches!(
            self,
            Self::On | Self::Ignoring | Self::GroupLeft | Self::GroupRight | Self::Bool | Self::Atan2
        )
    }

    const fn is_operator(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless | Self::Atan2)
    }
}

impl Token<'_> {
    /// As Prometheus names it after `unexpected`.
    pub(crate) fn describe(&self) -> String {
        let quoted = || crate::syntax::printer::quote(self.text);
        match &self.kind {
            TokenKind::End => "end of input".to_owned(),
            TokenKind::Error(message) => message.clone(),
            TokenKind::Identifier => format!("identifier {}", quoted()),
            TokenKind::MetricIdentifier => format!("metric identifier {}", quoted()),
            TokenKind::Number => format!("number {}", shortened(self.text)),
            TokenKind::Duration => format!("duration {}", shortened(self.text)),
            TokenKind::String => format!("string {}", shortened(self.text)),
            TokenKind::Keyword(Keyword::Aggregation(_)) => format!("<aggr:{}>", self.text),
            TokenKind::Keyword(keyword) if keyword.is_operator() => format!("<op:{}>", self.text),
            TokenKind::Keyword(_) => format!("<{}>", self.text),
            TokenKind::Add
            | TokenKind::Sub
            | TokenKind::Mul
            | TokenKind::Div
            | TokenKind::Mod
            | TokenKind::Pow
            | TokenKind::EqualEqual
            | TokenKind::NotEqual
            | TokenKind::Less
            | TokenKind::LessEqual
            | TokenKind::Greater
            | TokenKind::GreaterEqual
            | TokenKind::TrimUpper
            | TokenKind::TrimLower
            | TokenKind::EqualRegex
            | TokenKind::NotRegex
            | TokenKind::At => format!("<op:{}>", self.text),
            _ => quoted(),
        }
    }
}

/// Quoted; of a long one the beginning.
fn shortened(text: &str) -> String {
    const SHOWN_MAX: usize = 10;
    if text.len() <= SHOWN_MAX {
        return crate::syntax::printer::quote(text);
    }
    let beginning: String = text.chars().take(SHOWN_MAX).collect();
    format!("{}...", crate::syntax::printer::quote(&beginning))
}
