mod duration;
mod matching;
mod postfix;
mod selector;

use vedette_model::{Labels, LabelsBuilder, METRIC_NAME, Matcher};

use crate::ast::{
    Aggregate, Aggregation, Binary, BinaryOp, Call, Expr, ExprKind, Grouping, NumberValue, Sign, Span,
    StringValue,
};
use crate::engine::ParseOptions;
use crate::error::ParseError;
use crate::syntax::duration::parse_duration;
use crate::syntax::lexer::tokenize;
use crate::syntax::number::parse_number;
use crate::syntax::printer::{quote, quote_bytes};
use crate::syntax::token::{Keyword, Token, TokenKind};
use crate::syntax::unquote::{unquote, unquote_value};
use crate::syntax::{check, function};

/// How deep expressions may nest, counting the operators of a chain: evaluation recurses as deep.
const DEPTH_MAX: usize = 400;

/// Unary signs bind like multiplication.
const PRECEDENCE_MUL: u8 = 5;
const PRECEDENCE_POW: u8 = 6;

type Parsed<T> = Result<T, ParseError>;

/// A parser by recursive descent, with precedence climbing for operators. The first error ends it.
pub(crate) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    next: usize,
    line_starts: Vec<usize>,
    text_len: usize,
    /// End of the last token taken.
    last_end: usize,
    depth: usize,
    /// Nesting of aggregations' arguments: Prometheus names it in its messages.
    aggregation_depth: usize,
    options: ParseOptions,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, options: ParseOptions) -> Self {
        let line_starts = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            tokens: tokenize(text),
            next: 0,
            line_starts: std::iter::once(0).chain(line_starts).collect(),
            text_len: text.len(),
            last_end: 0,
            depth: 0,
            aggregation_depth: 0,
            options,
        }
    }

    /// The whole text as an expression whose types fit.
    pub(crate) fn parse_expr(mut self) -> Parsed<Expr> {
        if self.peek().kind == TokenKind::End {
            return Err(self.error(self.span(0, 0), "no expression found in input"));
        }
        let mut expr = self.expression(0)?;
        self.expect_end()?;
        check::check(&mut expr, &|from, to| self.operator_span(from, to))?;
        Ok(expr)
    }

    /// The whole text as a selector without modifiers.
    pub(crate) fn parse_selector(mut self) -> Parsed<Vec<Matcher>> {
        let selector = self.vector_selector()?;
        self.expect_end()?;
        match selector.kind {
            ExprKind::Vector(selector) => Ok(selector.matchers.0),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// The whole text as a metric: a name, labels with `=`, or both.
    pub(crate) fn parse_metric(mut self) -> Parsed<Labels> {
        let mut labels = LabelsBuilder::default();
        if self.at_metric_name() {
            labels.set(METRIC_NAME, self.take().text);
        }
        if self.take_if(&TokenKind::LeftBrace) {
            while !self.take_if(&TokenKind::RightBrace) {
                self.label(&mut labels)?;
                if !self.take_if(&TokenKind::Comma) && self.peek().kind != TokenKind::RightBrace {
                    return Err(self.unexpected("label set", "\",\" or \"}\""));
                }
            }
        }
        self.expect_end()?;
        Ok(labels.finish())
    }

    pub(super) fn label(&mut self, labels: &mut LabelsBuilder) -> Parsed<()> {
        let name = match self.peek().kind {
            TokenKind::Identifier => self.take().text.to_owned(),
            TokenKind::String => unquote(self.take().text),
            _ => return Err(self.unexpected("label set", "identifier or \"}\"")),
        };
        if !self.take_if(&TokenKind::Equal) {
            if matches!(self.peek().kind, TokenKind::Comma | TokenKind::RightBrace) {
                labels.set(METRIC_NAME, &name);
                return Ok(());
            }
            return Err(self.unexpected("label set", "\"=\""));
        }
        if self.peek().kind != TokenKind::String {
            return Err(self.unexpected("label set", "string"));
        }
        labels.set(&name, &unquote(self.take().text));
        Ok(())
    }

    // Tokens.

    pub(super) fn peek(&self) -> &Token<'a> {
        &self.tokens[self.next]
    }

    pub(super) fn peek_second(&self) -> Option<&TokenKind> {
        self.tokens.get(self.next + 1).map(|token| &token.kind)
    }

    /// Takes a token; the last one, which ends the text, stays.
    pub(super) fn take(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.last_end = token.start + token.text.len();
        if self.next + 1 < self.tokens.len() {
            self.next += 1;
        }
        token
    }

    pub(super) fn take_if(&mut self, kind: &TokenKind) -> bool {
        let hit = self.peek().kind == *kind;
        if hit {
            self.take();
        }
        hit
    }

    pub(super) fn take_keyword(&mut self, keyword: Keyword) -> bool {
        self.take_if(&TokenKind::Keyword(keyword))
    }

    pub(super) fn expect_end(&mut self) -> Parsed<()> {
        if self.peek().kind == TokenKind::End { Ok(()) } else { Err(self.unexpected("", "")) }
    }

    // Positions and errors.

    pub(super) fn span(&self, start: usize, end: usize) -> Span {
        let line = self.line_starts.partition_point(|line_start| *line_start <= start);
        let line_start = self.line_starts[line.saturating_sub(1)];
        Span { start, end, line: line as u32, column: (start - line_start + 1) as u32 }
    }

    pub(super) fn span_of(&self, token: &Token<'_>) -> Span {
        self.span(token.start, token.start + token.text.len())
    }

    pub(super) fn span_from(&self, start: usize) -> Span {
        self.span(start, self.last_end)
    }

    /// Where the tokens between two positions stand.
    pub(super) fn operator_span(&self, from: usize, to: usize) -> Span {
        let first = self.tokens.partition_point(|token| token.start < from);
        let last = self.tokens.partition_point(|token| token.start < to).saturating_sub(1);
        let start = self.tokens.get(first).map_or(from, |token| token.start);
        let end = self.tokens.get(last).map_or(to, |token| token.start + token.text.len());
        self.span(start, end)
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError { span, message: message.into() }
    }

    /// The next token does not belong here.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        if let TokenKind::Error(message) = &token.kind {
            return self.error(self.span(token.start, self.text_len), message.clone());
        }
        let mut message = format!("unexpected {}", token.describe());
        let context = if context.is_empty() && self.aggregation_depth > 0 { "aggregation" } else { context };
        if !context.is_empty() {
            message.push_str(" in ");
            message.push_str(context);
        }
        if !expected.is_empty() {
            message.push_str(", expected ");
            message.push_str(expected);
        }
        self.error(self.span_of(token), message)
    }

    pub(super) fn descend(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let span = self.span_of(self.peek());
            return Err(self.error(span, format!("expression nests deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    // Expressions.

    /// An expression whose operators all bind at least as tightly as `minimum`.
    pub(super) fn expression(&mut self, minimum: u8) -> Parsed<Expr> {
        let depth = self.depth;
        self.descend()?;
        let mut left = self.unary()?;
        while let Some((op, precedence)) = binary_operator(&self.peek().kind) {
            if precedence < minimum {
                break;
            }
            self.descend()?;
            self.take();
            let (returns_bool, matching) = self.binary_modifiers()?;
            let right_minimum = if op == BinaryOp::Pow { precedence } else { precedence + 1 };
            let right = self.expression(right_minimum)?;
            let span = left.span.to(right.span);
            if matching.fill != Default::default() && !self.options.fill_modifiers {
                return Err(self.error(span, "binop fill modifiers are experimental and not enabled"));
            }
            let binary = Binary { op, left, right, returns_bool, matching: Some(matching) };
            left = Expr { kind: ExprKind::Binary(Box::new(binary)), span };
        }
        self.depth = depth;
        Ok(left)
    }

    pub(super) fn unary(&mut self) -> Parsed<Expr> {
        let Some(op) = sign(&self.peek().kind) else {
            let primary = self.primary()?;
            return self.postfix(primary);
        };
        let start = self.take().start;
        // Its operand takes powers, and other signs, but no product: `-2 ^ 2` is `-(2 ^ 2)`.
        let operand = self.expression(PRECEDENCE_POW)?;
        let span = self.span(start, operand.span.end);
        if let ExprKind::Number { value: NumberValue(value), duration } = operand.kind {
            let value = NumberValue(if op == Sign::Minus { -value } else { value });
            return Ok(Expr { kind: ExprKind::Number { value, duration }, span });
        }
        Ok(Expr { kind: ExprKind::Unary { op, operand: Box::new(operand) }, span })
    }

    pub(super) fn primary(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        match self.peek().kind {
            TokenKind::Number | TokenKind::Duration => {
                let (value, duration) = self.number()?;
                let kind = ExprKind::Number { value: NumberValue(value), duration };
                Ok(Expr { kind, span: self.span_from(start) })
            }
            TokenKind::String => {
                let value = unquote_value(self.take().text);
                Ok(Expr { kind: ExprKind::String(value), span: self.span_from(start) })
            }
            TokenKind::LeftParen => {
                self.take();
                let inner = self.expression(0)?;
                if !self.take_if(&TokenKind::RightParen) {
                    return Err(self.unexpected("", ""));
                }
                Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span: self.span_from(start) })
            }
            TokenKind::Keyword(Keyword::Aggregation(op)) if self.at_aggregation() => self.aggregate(op),
            TokenKind::Identifier
            | TokenKind::Keyword(
                Keyword::Start
                | Keyword::End
                | Keyword::Step
                | Keyword::Range
                | Keyword::MaxOf
                | Keyword::MinOf,
            ) if self.peek_second() == Some(&TokenKind::LeftParen) => self.call(),
            _ => self.vector_selector(),
        }
    }

    pub(super) fn number(&mut self) -> Parsed<(f64, bool)> {
        let token = self.take();
        let span = self.span_of(&token);
        if token.kind == TokenKind::Duration {
            let millis = parse_duration(token.text).map_err(|message| self.error(span, message))?;
            return Ok((millis as f64 / 1000.0, true));
        }
        match parse_number(token.text) {
            Some(value) => Ok((value, false)),
            None => {
                let quoted = quote(token.text);
                let message =
                    format!("error parsing number: strconv.ParseFloat: parsing {quoted}: invalid syntax");
                Err(self.error(span, message))
            }
        }
    }

    pub(super) fn call(&mut self) -> Parsed<Expr> {
        let name = self.take();
        let span = self.span_of(&name);
        let Some(function) = function::find(name.text) else {
            return Err(self.error(span, format!("unknown function with name {}", quote(name.text))));
        };
        if function.experimental && !self.options.experimental_functions {
            return Err(self.error(span, format!("function {} is not enabled", quote(name.text))));
        }
        let arguments = self.arguments()?;
        let span = self.span_from(name.start);
        Ok(Expr { kind: ExprKind::Call(Call { function, arguments }), span })
    }

    pub(super) fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut arguments = Vec::new();
        if !self.take_if(&TokenKind::LeftParen) {
            return Err(self.unexpected("", ""));
        }
        if self.take_if(&TokenKind::RightParen) {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(0)?);
            let comma = self.span_of(self.peek());
            if self.take_if(&TokenKind::RightParen) {
                return Ok(arguments);
            }
            if !self.take_if(&TokenKind::Comma) {
                return Err(self.unexpected("", ""));
            }
            if self.peek().kind == TokenKind::RightParen {
                return Err(self.error(comma, "trailing commas not allowed in function call args"));
            }
        }
    }

    // Aggregations.

    /// A word such as `sum` is an aggregation only before these; else it names a metric.
    pub(super) fn at_aggregation(&self) -> bool {
        matches!(
            self.peek_second(),
            Some(TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without))
        )
    }

    pub(super) fn aggregate(&mut self, op: Aggregation) -> Parsed<Expr> {
        let name = self.take();
        self.aggregation_depth += 1;
        let mut grouping = self.grouping()?;
        if self.peek().kind != TokenKind::LeftParen {
            return Err(self.unexpected("aggregation", ""));
        }
        let arguments = self.arguments()?;
        self.aggregation_depth -= 1;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let span = self.span_from(name.start);
        if arguments.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        if matches!(op, Aggregation::Limitk | Aggregation::LimitRatio) && !self.options.experimental_functions
        {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(self.error(span, message));
        }
        let wanted = 1 + usize::from(op.parameter().is_some());
        let count = arguments.len();
        let wrong = format!(
            "wrong number of arguments for aggregate expression provided, expected {wanted}, got {count}"
        );
        let mut arguments = arguments.into_iter();
        let parameter = if wanted == 2 { arguments.next() } else { None };
        let (Some(operand), None) = (arguments.next(), arguments.next()) else {
            return Err(self.error(span, wrong));
        };
        let grouping = grouping.unwrap_or(Grouping::By(Vec::new()));
        let aggregate = Aggregate { op, operand, parameter, grouping };
        Ok(Expr { kind: ExprKind::Aggregate(Box::new(aggregate)), span })
    }

    pub(super) fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        if self.take_keyword(Keyword::By) {
            return Ok(Some(Grouping::By(self.grouping_labels()?)));
        }
        if self.take_keyword(Keyword::Without) {
            return Ok(Some(Grouping::Without(self.grouping_labels()?)));
        }
        Ok(None)
    }

    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        let mut labels = Vec::new();
        if !self.take_if(&TokenKind::LeftParen) {
            return Err(self.unexpected("grouping opts", "\"(\""));
        }
        while !self.take_if(&TokenKind::RightParen) {
            let token = self.peek().clone();
            let name = match token.kind {
                TokenKind::Keyword(Keyword::Without) => {
                    return Err(self.unexpected("grouping opts", "label"));
                }
                TokenKind::Identifier | TokenKind::MetricIdentifier | TokenKind::Keyword(_) => {
                    StringValue::new(token.text.as_bytes().to_vec())
                }
                TokenKind::String => unquote_value(token.text),
                _ => return Err(self.unexpected("grouping opts", "label")),
            };
            if name.as_str().is_empty() || !name.is_utf8() {
                let message = format!("invalid label name for grouping: {}", quote_bytes(name.as_bytes()));
                return Err(self.error(self.span_of(&token), message));
            }
            self.take();
            labels.push(name.as_str().to_owned());
            if !self.take_if(&TokenKind::Comma) && self.peek().kind != TokenKind::RightParen {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
        Ok(labels)
    }
}

pub(super) fn sign(kind: &TokenKind) -> Option<Sign> {
    match kind {
        TokenKind::Add => Some(Sign::Plus),
        TokenKind::Sub => Some(Sign::Minus),
        _ => None,
    }
}

/// The operator that a token stands for, and how tightly it binds.
pub(super) fn binary_operator(kind: &TokenKind) -> Option<(BinaryOp, u8)> {
    Some(match kind {
        TokenKind::Keyword(Keyword::Or) => (BinaryOp::Or, 1),
        TokenKind::Keyword(Keyword::And) => (BinaryOp::And, 2),
        TokenKind::Keyword(Keyword::Unless) => (BinaryOp::Unless, 2),
        TokenKind::EqualEqual => (BinaryOp::Equal, 3),
        TokenKind::NotEqual => (BinaryOp::NotEqual, 3),
        TokenKind::Less => (BinaryOp::Less, 3),
        TokenKind::LessEqual => (BinaryOp::LessEqual, 3),
        TokenKind::Greater => (BinaryOp::Greater, 3),
        TokenKind::GreaterEqual => (BinaryOp::GreaterEqual, 3),
        TokenKind::TrimUpper => (BinaryOp::TrimUpper, 3),
        TokenKind::TrimLower => (BinaryOp::TrimLower, 3),
        TokenKind::Add => (BinaryOp::Add, 4),
        TokenKind::Sub => (BinaryOp::Sub, 4),
        TokenKind::Mul => (BinaryOp::Mul, PRECEDENCE_MUL),
        TokenKind::Div => (BinaryOp::Div, PRECEDENCE_MUL),
        TokenKind::Mod => (BinaryOp::Mod, PRECEDENCE_MUL),
        TokenKind::Keyword(Keyword::Atan2) => (BinaryOp::Atan2, PRECEDENCE_MUL),
        TokenKind::Pow => (BinaryOp::Pow, PRECEDENCE_POW),
        _ => return None,
    })
}
