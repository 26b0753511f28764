use super::{PRECEDENCE_POW, Parsed, Parser, binary_operator, sign};
use crate::ast::{BinaryOp, DurationExpr, DurationOp, DurationValue, NumberValue, Sign};
use crate::syntax::token::{Keyword, TokenKind};

/// Durations, and arithmetic over them.
impl Parser<'_> {
    pub(super) fn positive_duration(&mut self, context: (&str, &str)) -> Parsed<DurationValue> {
        let expr = self.positive_expression(context)?;
        self.duration_value(expr)
    }

    /// Less than half a nanosecond is none to Prometheus, as if there were no step.
    pub(super) fn subquery_step(&mut self, context: (&str, &str)) -> Parsed<Option<DurationValue>> {
        let expr = self.positive_expression(context)?;
        match expr.op {
            DurationOp::Number { value, .. } if value.0 * 1e9 < 0.5 => Ok(None),
            _ => self.duration_value(expr).map(Some),
        }
    }

    fn positive_expression(&mut self, context: (&str, &str)) -> Parsed<DurationExpr> {
        let expr = self.duration_expression(0, context)?;
        if let DurationOp::Number { value, .. } = &expr.op
            && value.0 <= 0.0
        {
            return Err(self.error(expr.span, "duration must be greater than 0"));
        }
        Ok(expr)
    }

    /// After `offset`: a literal, a call or a parenthesis, with a sign; operators need parentheses.
    pub(super) fn offset_duration(&mut self) -> Parsed<DurationValue> {
        let context = ("offset", "number, duration, step(), or range()");
        let start = self.peek().start;
        let first = sign(&self.peek().kind);
        if first.is_some() && self.peek_second().is_some_and(|second| sign(second).is_some()) {
            // As in Prometheus, a second sign makes it a whole expression.
            let expr = self.duration_expression(0, context)?;
            return self.duration_value(expr);
        }
        if first.is_some() {
            self.take();
        }
        let operand = self.duration_primary(context)?;
        let expr = match first {
            Some(sign) => self.signed_duration(sign, operand, start)?,
            None => operand,
        };
        self.duration_value(expr)
    }

    pub(super) fn duration_value(&self, expr: DurationExpr) -> Parsed<DurationValue> {
        if let DurationOp::Number { value: NumberValue(seconds), .. } = expr.op {
            if seconds.is_nan() {
                // What Go makes of it: the least duration there is.
                return Ok(DurationValue::Millis(i64::MIN / 1_000_000));
            }
            return Ok(DurationValue::Millis(((seconds * 1e9).round() / 1e6) as i64));
        }
        Ok(DurationValue::Expr(Box::new(expr)))
    }

    pub(super) fn duration_expression(&mut self, minimum: u8, context: (&str, &str)) -> Parsed<DurationExpr> {
        let depth = self.depth;
        self.descend()?;
        let start = self.peek().start;
        let mut left = match sign(&self.peek().kind) {
            Some(sign) => {
                self.take();
                let operand = self.duration_expression(PRECEDENCE_POW, context)?;
                self.signed_duration(sign, operand, start)?
            }
            None => self.duration_primary(context)?,
        };
        while let Some((op, precedence)) = binary_operator(&self.peek().kind) {
            if precedence < minimum {
                break;
            }
            self.descend()?;
            let token = self.take();
            let right_minimum = if op == BinaryOp::Pow { precedence } else { precedence + 1 };
            let right = self.duration_expression(right_minimum, context)?;
            let zero = matches!(right.op, DurationOp::Number { value, .. } if value.0 == 0.0);
            if zero && op == BinaryOp::Div {
                return Err(self.error(self.span_of(&token), "division by zero"));
            }
            if zero && op == BinaryOp::Mod {
                return Err(self.error(self.span_of(&token), "modulo by zero"));
            }
            let span = left.span.to(right.span);
            left = DurationExpr { op: DurationOp::Binary(op, Box::new(left), Box::new(right)), span };
        }
        self.depth = depth;
        Ok(left)
    }

    pub(super) fn signed_duration(
        &self,
        sign: Sign,
        operand: DurationExpr,
        start: usize,
    ) -> Parsed<DurationExpr> {
        let span = self.span(start, operand.span.end);
        let op = match (sign, operand.op) {
            (Sign::Minus, DurationOp::Number { value, duration }) => {
                DurationOp::Number { value: NumberValue(-value.0), duration }
            }
            (Sign::Plus, op) => op,
            (Sign::Minus, op) => DurationOp::Unary(sign, Box::new(DurationExpr { op, span: operand.span })),
        };
        Ok(DurationExpr { op, span })
    }

    pub(super) fn duration_primary(&mut self, context: (&str, &str)) -> Parsed<DurationExpr> {
        let start = self.peek().start;
        let op = match self.peek().kind {
            TokenKind::Number | TokenKind::Duration => {
                let (seconds, duration) = self.number()?;
                // More nanoseconds than Go's durations hold.
                if seconds.abs() > i64::MAX as f64 / 1e9 {
                    return Err(self.error(self.span_from(start), "duration out of range"));
                }
                DurationOp::Number { value: NumberValue(seconds), duration }
            }
            TokenKind::Keyword(keyword @ (Keyword::Step | Keyword::Range)) => {
                self.take();
                if !self.take_if(&TokenKind::LeftParen) || !self.take_if(&TokenKind::RightParen) {
                    return Err(self.unexpected(context.0, context.1));
                }
                if keyword == Keyword::Step { DurationOp::Step } else { DurationOp::Range }
            }
            TokenKind::Keyword(keyword @ (Keyword::MinOf | Keyword::MaxOf)) => {
                self.take();
                let (left, right) = self.duration_pair(context)?;
                if keyword == Keyword::MinOf {
                    DurationOp::MinOf(left, right)
                } else {
                    DurationOp::MaxOf(left, right)
                }
            }
            TokenKind::LeftParen => {
                self.take();
                let inner = self.duration_expression(0, context)?;
                if !self.take_if(&TokenKind::RightParen) {
                    return Err(self.unexpected(context.0, context.1));
                }
                match inner.op {
                    // A second pair of parentheses is not kept.
                    op @ DurationOp::Paren(_) => op,
                    _ => DurationOp::Paren(Box::new(inner)),
                }
            }
            _ => return Err(self.unexpected(context.0, context.1)),
        };
        Ok(DurationExpr { op, span: self.span_from(start) })
    }

    pub(super) fn duration_pair(
        &mut self,
        context: (&str, &str),
    ) -> Parsed<(Box<DurationExpr>, Box<DurationExpr>)> {
        if !self.take_if(&TokenKind::LeftParen) {
            return Err(self.unexpected(context.0, context.1));
        }
        let left = self.duration_expression(0, context)?;
        if !self.take_if(&TokenKind::Comma) {
            return Err(self.unexpected(context.0, context.1));
        }
        let right = self.duration_expression(0, context)?;
        if !self.take_if(&TokenKind::RightParen) {
            return Err(self.unexpected(context.0, context.1));
        }
        Ok((Box::new(left), Box::new(right)))
    }
}
