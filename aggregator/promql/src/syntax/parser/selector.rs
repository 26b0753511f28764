use vedette_model::{METRIC_NAME, MatchOp, Matcher};

use super::{Parsed, Parser};
use crate::ast::{Expr, ExprKind, Matchers, Modifiers, VectorSelector};
use crate::syntax::token::TokenKind;
use crate::syntax::unquote::unquote;

/// Instant vector selectors.
impl Parser<'_> {
    pub(super) fn at_metric_name(&self) -> bool {
        match self.peek().kind {
            TokenKind::Identifier | TokenKind::MetricIdentifier => true,
            TokenKind::Keyword(keyword) => keyword.may_name_metric(),
            _ => false,
        }
    }

    pub(super) fn vector_selector(&mut self) -> Parsed<Expr> {
        let start = self.peek().start;
        let name = self.at_metric_name().then(|| self.take().text.to_owned());
        let mut matchers = Vec::new();
        if self.peek().kind == TokenKind::LeftBrace {
            self.matchers(&mut matchers)?;
        } else if name.is_none() {
            return Err(self.unexpected("", ""));
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        let selector = VectorSelector { name, matchers: Matchers(matchers), modifiers: Modifiers::default() };
        Ok(Expr { kind: ExprKind::Vector(selector), span: self.span_from(start) })
    }

    pub(super) fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<()> {
        self.take();
        while !self.take_if(&TokenKind::RightBrace) {
            matchers.push(self.matcher()?);
            if !self.take_if(&TokenKind::Comma) && self.peek().kind != TokenKind::RightBrace {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
        Ok(())
    }

    pub(super) fn matcher(&mut self) -> Parsed<Matcher> {
        let start = self.peek().start;
        let (name, quoted) = match self.peek().kind {
            TokenKind::Identifier => (self.take().text.to_owned(), false),
            TokenKind::String => (unquote(self.take().text), true),
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        let op = match self.peek().kind {
            TokenKind::Equal => MatchOp::Equal,
            TokenKind::NotEqual => MatchOp::NotEqual,
            TokenKind::EqualRegex => MatchOp::Regex,
            TokenKind::NotRegex => MatchOp::NotRegex,
            // A quoted string alone is the metric's name.
            _ if quoted => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.take();
        if self.peek().kind != TokenKind::String {
            return Err(self.unexpected("label matching", "string"));
        }
        let value = unquote(self.take().text);
        Matcher::new(op, name, value).map_err(|error| {
            let source =
                std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            self.error(self.span_from(start), source)
        })
    }
}
