//! What has the same value at every step is computed once.

use crate::ast::{Expr, ExprKind};
use crate::eval::builder::unwrap;

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
