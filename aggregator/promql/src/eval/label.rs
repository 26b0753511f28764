//! Functions that change labels: `label_replace`, `label_join`.

use std::sync::Arc;

use regex::Regex;
use vedette_model::{Labels, METRIC_NAME, group_name};

use crate::error::QueryError;
use crate::eval::column::{Column, SeriesHead};
use crate::eval::operator::Operator;

/// How labels are changed.
pub(crate) enum Relabel {
    Replace { destination: String, replacement: Vec<Piece>, source: String, pattern: Arc<Regex> },
    Join { destination: String, separator: String, sources: Vec<String> },
}

/// A part of a replacement.
pub(crate) enum Piece {
    Text(String),
    /// `$1`, `${1}`
    Number(usize),
    /// `$name`, `${name}`
    Name(String),
}

impl Relabel {
    /// The new labels, if they change at all, and the destination.
    fn apply(&self, labels: &Labels) -> Option<Labels> {
        let (destination, value) = match self {
            Self::Replace { destination, replacement, source, pattern } => {
                let captures = pattern.captures(labels.get(source).unwrap_or(""))?;
                let mut value = String::new();
                for piece in replacement {
                    value.push_str(match piece {
                        Piece::Text(text) => text,
                        Piece::Number(number) => captures.get(*number).map_or("", |group| group.as_str()),
                        Piece::Name(name) => captures.name(name).map_or("", |group| group.as_str()),
                    });
                }
                (destination, value)
            }
            Self::Join { destination, separator, sources } => {
                let values: Vec<_> = sources.iter().map(|source| labels.get(source).unwrap_or("")).collect();
                (destination, values.join(separator))
            }
        };
        let mut builder = labels.to_builder();
        builder.set(destination, &value);
        Some(builder.finish())
    }

    fn destination(&self) -> &str {
        match self {
            Self::Replace { destination, .. } | Self::Join { destination, .. } => destination,
        }
    }
}

/// Splits a replacement as Go's `Regexp.Expand` does: the longest possible name follows `$`.
pub(crate) fn split_replacement(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        pieces.push(Piece::Text(rest[..at].to_owned()));
        let after = &rest[at + 1..];
        if let Some(after) = after.strip_prefix('$') {
            pieces.push(Piece::Text("$".to_owned()));
            rest = after;
            continue;
        }
        let is_word = |character: char| character == '_' || character.is_alphanumeric();
        let (name, after_name) = match after.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some((name, after)) if !name.is_empty() && name.chars().all(is_word) => (name, after),
                _ => ("", after),
            },
            None => after.split_at(after.find(|character| !is_word(character)).unwrap_or(after.len())),
        };
        if name.is_empty() {
            // Not a reference: Go leaves the dollar sign as it is.
            pieces.push(Piece::Text("$".to_owned()));
            rest = after;
            continue;
        }
        // With a zero before it, a number is the name of a group to Go, and no group has such a name.
        let is_number =
            name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        pieces.push(match name.parse() {
            Ok(number) if is_number => Piece::Number(number),
            _ => Piece::Name(group_name(name).into_owned()),
        });
        rest = after_name;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}

/// Series with changed labels.
pub(crate) struct Relabelled<'a> {
    pub(crate) inner: Box<dyn Operator + 'a>,
    pub(crate) relabel: Relabel,
}

impl Operator for Relabelled<'_> {
    fn next_into(&mut self, column: &mut Column) -> Result<Option<SeriesHead>, QueryError> {
        let Some(mut head) = self.inner.next_into(column)? else { return Ok(None) };
        if let Some(labels) = self.relabel.apply(&head.labels) {
            head.labels = labels;
            // A name that was just set is meant to stay.
            head.drop_name &= self.relabel.destination() != METRIC_NAME;
        }
        Ok(Some(head))
    }
}
