use super::{Parsed, Parser, sign};
use crate::ast::{Cardinality, NumberValue, Sign, VectorMatching};
use crate::syntax::token::{Keyword, TokenKind};

/// What stands between an operator and its right side.
impl Parser<'_> {
    pub(super) fn binary_modifiers(&mut self) -> Parsed<(bool, VectorMatching)> {
        let mut matching = VectorMatching::default();
        let returns_bool = self.take_keyword(Keyword::Bool);
        matching.on = self.peek().kind == TokenKind::Keyword(Keyword::On);
        if matching.on || self.peek().kind == TokenKind::Keyword(Keyword::Ignoring) {
            self.take();
            matching.labels = self.grouping_labels()?;
            let side = match self.peek().kind {
                TokenKind::Keyword(Keyword::GroupLeft) => Some(Cardinality::ManyToOne),
                TokenKind::Keyword(Keyword::GroupRight) => Some(Cardinality::OneToMany),
                _ => None,
            };
            if let Some(cardinality) = side {
                self.take();
                matching.cardinality = cardinality;
                if self.peek().kind == TokenKind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok((returns_bool, matching))
    }

    pub(super) fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.take_keyword(Keyword::Fill) {
            let value = self.fill_value()?;
            (matching.fill.left, matching.fill.right) = (Some(value), Some(value));
            return Ok(());
        }
        loop {
            if matching.fill.left.is_none() && self.take_keyword(Keyword::FillLeft) {
                matching.fill.left = Some(self.fill_value()?);
            } else if matching.fill.right.is_none() && self.take_keyword(Keyword::FillRight) {
                matching.fill.right = Some(self.fill_value()?);
            } else {
                return Ok(());
            }
        }
    }

    pub(super) fn fill_value(&mut self) -> Parsed<NumberValue> {
        if !self.take_if(&TokenKind::LeftParen) {
            return Err(self.unexpected("", ""));
        }
        let sign = sign(&self.peek().kind);
        if sign.is_some() {
            self.take();
        }
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("", ""));
        }
        let (value, _) = self.number()?;
        if !self.take_if(&TokenKind::RightParen) {
            return Err(self.unexpected("", ""));
        }
        Ok(NumberValue(if sign == Some(Sign::Minus) { -value } else { value }))
    }
}
