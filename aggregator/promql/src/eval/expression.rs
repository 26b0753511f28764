//! What is known of an expression before it is evaluated.

use vedette_model::{METRIC_NAME, MatchOp, Matcher};

use crate::ast::{Expr, ExprKind, StringValue, ValueType};
use crate::error::QueryError;

/// An expression without the parentheses around it.
pub(crate) fn unwrap(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// The type of an expression that has been checked.
pub(crate) fn value_type(expr: &Expr) -> ValueType {
    match &expr.kind {
        ExprKind::Number { .. } => ValueType::Scalar,
        ExprKind::String(_) => ValueType::String,
        ExprKind::Vector(_) | ExprKind::Aggregate(_) => ValueType::Vector,
        ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => value_type(inner),
        ExprKind::Binary(binary) => {
            let scalar = |side: &Expr| value_type(side) == ValueType::Scalar;
            if scalar(&binary.left) && scalar(&binary.right) { ValueType::Scalar } else { ValueType::Vector }
        }
        ExprKind::Call(call) => call.function.returns,
    }
}

/// An expression that the parser's type check does not let through.
pub(crate) fn wrong_type(expr: &Expr) -> QueryError {
    QueryError::Invalid(format!("unexpected type {} of expression {expr}", value_type(expr)))
}

pub(crate) fn string(expr: &Expr) -> Result<&StringValue, QueryError> {
    match &unwrap(expr).kind {
        ExprKind::String(value) => Ok(value),
        _ => Err(wrong_type(expr)),
    }
}

pub(crate) fn has_one_name(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| {
        matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && !matcher.value().is_empty()
    })
}

/// Whether an expression has the same value at every step.
pub(crate) fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => true,
        ExprKind::Vector(selector) => selector.modifiers.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.modifiers.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.modifiers.at.is_some(),
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => is_step_invariant(inner),
        ExprKind::Binary(binary) => is_step_invariant(&binary.left) && is_step_invariant(&binary.right),
        // As in Prometheus a parameter is taken at the first step if the operand is invariant.
        ExprKind::Aggregate(aggregate) => {
            is_step_invariant(&aggregate.operand)
                && aggregate.parameter.as_ref().is_none_or(is_step_invariant)
        }
        ExprKind::Call(call) => {
            let of_selector = |argument: &Expr| matches!(unwrap(argument).kind, ExprKind::Vector(_));
            match call.function.name {
                "timestamp" => {
                    call.arguments.iter().all(|argument| of_selector(argument) && is_step_invariant(argument))
                }
                "days_in_month" | "day_of_month" | "day_of_week" | "day_of_year" | "hour" | "minute"
                | "month" | "year" | "predict_linear" | "time" | "start" | "end" | "range" | "step" => false,
                _ => call.arguments.iter().all(is_step_invariant),
            }
        }
    }
}
