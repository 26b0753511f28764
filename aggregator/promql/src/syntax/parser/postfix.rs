use vedette_model::Timestamp;

use super::{Parsed, Parser, sign};
use crate::ast::{
    AtModifier, DurationValue, Expr, ExprKind, MatrixSelector, Modifiers, RangeMode, Sign, Subquery,
};
use crate::syntax::token::{Keyword, TokenKind};

/// What may follow an expression: ranges, `offset`, `@`.
impl Parser<'_> {
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Parsed<Expr> {
        loop {
            expr = match self.peek().kind {
                TokenKind::Keyword(Keyword::Offset) => {
                    self.take();
                    let offset = self.offset_duration()?;
                    self.set_offset(expr, offset)?
                }
                TokenKind::At => {
                    self.take();
                    let at = self.at_modifier(&expr)?;
                    self.set_at(expr, at)?
                }
                TokenKind::Keyword(Keyword::Anchored) => self.set_mode(expr, RangeMode::Anchored)?,
                TokenKind::Keyword(Keyword::Smoothed) => self.set_mode(expr, RangeMode::Smoothed)?,
                TokenKind::LeftBracket => self.bracket(expr)?,
                _ => return Ok(expr),
            };
        }
    }

    pub(super) fn set_offset(&mut self, mut expr: Expr, offset: DurationValue) -> Parsed<Expr> {
        let Some(modifiers) = modifiers_of(&mut expr) else {
            return Err(self.error(
                expr.span,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a \
                 subquery",
            ));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(expr.span, "offset may not be set multiple times"));
        }
        // As in Prometheus `offset 0s` is the same as none.
        modifiers.offset = Some(offset).filter(|offset| *offset != DurationValue::Millis(0));
        expr.span.end = self.last_end;
        Ok(expr)
    }

    pub(super) fn at_modifier(&mut self, expr: &Expr) -> Parsed<AtModifier> {
        for (keyword, at) in [(Keyword::Start, AtModifier::Start), (Keyword::End, AtModifier::End)] {
            if self.take_keyword(keyword) {
                if self.take_if(&TokenKind::LeftParen) && self.take_if(&TokenKind::RightParen) {
                    return Ok(at);
                }
                return Err(self.unexpected("@", "timestamp"));
            }
        }
        let sign = sign(&self.peek().kind);
        if sign.is_some() {
            self.take();
        }
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let (value, _) = self.number()?;
        let seconds = if sign == Some(Sign::Minus) { -value } else { value };
        if !seconds.is_finite() || seconds.abs() >= i64::MAX as f64 {
            let message = format!("timestamp out of bounds for @ modifier: {}", go_fixed(seconds));
            return Err(self.error(expr.span, message));
        }
        Ok(AtModifier::Time(Timestamp::from_millis((seconds * 1000.0).round() as i64)))
    }

    pub(super) fn set_at(&mut self, mut expr: Expr, at: AtModifier) -> Parsed<Expr> {
        let Some(modifiers) = modifiers_of(&mut expr) else {
            return Err(self.error(
                expr.span,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if modifiers.at.is_some() {
            return Err(self.error(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        modifiers.at = Some(at);
        expr.span.end = self.last_end;
        Ok(expr)
    }

    pub(super) fn set_mode(&mut self, mut expr: Expr, mode: RangeMode) -> Parsed<Expr> {
        let word = if mode == RangeMode::Anchored { "anchored" } else { "smoothed" };
        self.take();
        if !self.options.extended_range_selectors {
            let message = format!("{word} modifier is experimental and not enabled");
            return Err(self.error(expr.span, message));
        }
        if matches!(expr.kind, ExprKind::Subquery(_)) {
            return Err(self.error(expr.span, format!("{word} modifier is not supported for subqueries")));
        }
        let Some(modifiers) = modifiers_of(&mut expr) else {
            return Err(self.error(expr.span, format!("{word} modifier not implemented")));
        };
        if modifiers.mode != RangeMode::Plain && modifiers.mode != mode {
            return Err(self.error(expr.span, "anchored and smoothed modifiers cannot be used together"));
        }
        modifiers.mode = mode;
        Ok(expr)
    }

    /// `[5m]` or `[5m:1m]` after `expr`.
    pub(super) fn bracket(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.take();
        if matches!(self.peek().kind, TokenKind::RightBracket | TokenKind::End | TokenKind::Comma) {
            let expected = "number, duration, step(), or range()";
            return Err(self.unexpected("subquery or range selector", expected));
        }
        let context = ("subquery or range selector", "number, duration, step(), or range()");
        let range = self.positive_duration(context)?;
        if self.take_if(&TokenKind::RightBracket) {
            return self.matrix_selector(expr, range, open.start);
        }
        if !self.take_if(&TokenKind::Colon) {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        let step = if self.peek().kind == TokenKind::RightBracket {
            None
        } else {
            let context = ("subquery selector", "number, duration, step(), range(), or \"]\"");
            self.subquery_step(context)?
        };
        if !self.take_if(&TokenKind::RightBracket) {
            return Err(self.unexpected("subquery selector", "\"]\""));
        }
        let span = self.span_from(expr.span.start);
        let subquery = Subquery { inner: expr, range, step, modifiers: Modifiers::default() };
        Ok(Expr { kind: ExprKind::Subquery(Box::new(subquery)), span })
    }

    pub(super) fn matrix_selector(&mut self, expr: Expr, range: DurationValue, open: usize) -> Parsed<Expr> {
        let selector_span = expr.span;
        let bracket = self.span_from(open);
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(self.error(bracket, "ranges only allowed for vector selectors"));
        };
        if selector.modifiers.offset.is_some() {
            return Err(self.error(bracket, "no offset modifiers allowed before range"));
        }
        // As in releases up to 3.5, `@ start()` and `@ end()` may stand there.
        if matches!(selector.modifiers.at, Some(AtModifier::Time(_))) {
            return Err(self.error(bracket, "no @ modifiers allowed before range"));
        }
        let span = self.span_from(selector_span.start);
        Ok(Expr { kind: ExprKind::Matrix(MatrixSelector { selector, selector_span, range }), span })
    }
}

fn modifiers_of(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        ExprKind::Vector(selector) => Some(&mut selector.modifiers),
        ExprKind::Matrix(matrix) => Some(&mut matrix.selector.modifiers),
        ExprKind::Subquery(subquery) => Some(&mut subquery.modifiers),
        _ => None,
    }
}

/// Go's `%f`.
fn go_fixed(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { vedette_model::number::format_plain(value) }
}
