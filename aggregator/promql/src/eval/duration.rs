//! Durations that are only known once the query's times are.

use crate::ast::{AtModifier, BinaryOp, DurationExpr, DurationOp, DurationValue, Modifiers, Sign};
use crate::error::QueryError;
use crate::eval::context::Context;
use crate::eval::extrapolation::seconds;
use crate::eval::function::{go_max, go_min};

/// Seconds beyond which Go's durations overflow.
const SECONDS_MAX: f64 = i64::MAX as f64 / 1e9;

/// A range or a step, in milliseconds.
pub(crate) fn positive(context: &Context<'_>, value: &DurationValue) -> Result<i64, QueryError> {
    resolve(context, value, false)
}

/// An offset, in milliseconds; without one, 0.
pub(crate) fn offset(context: &Context<'_>, modifiers: &Modifiers) -> Result<i64, QueryError> {
    modifiers.offset.as_ref().map_or(Ok(0), |offset| resolve(context, offset, true))
}

/// The time that `@` fixes, if any.
pub(crate) fn at(context: &Context<'_>, modifiers: &Modifiers) -> Option<i64> {
    modifiers.at.map(|at| match at {
        AtModifier::Time(at) => at.as_millis(),
        AtModifier::Start => context.start_ms,
        AtModifier::End => context.end_ms,
    })
}

fn resolve(context: &Context<'_>, value: &DurationValue, may_be_negative: bool) -> Result<i64, QueryError> {
    let expr = match value {
        DurationValue::Millis(millis) => return Ok(*millis),
        DurationValue::Expr(expr) => expr,
    };
    let wrong = |what: &str| {
        let span = expr.span;
        QueryError::Invalid(format!("{}:{}: {what}", span.start, span.end))
    };
    let seconds = evaluate(context, expr)?;
    if !seconds.is_finite() {
        return Err(wrong("duration is NaN or infinite"));
    }
    if seconds <= 0.0 && !may_be_negative {
        return Err(wrong("duration must be greater than 0"));
    }
    if seconds.abs() > SECONDS_MAX {
        return Err(wrong("duration is out of range"));
    }
    Ok((seconds * 1000.0) as i64)
}

fn evaluate(context: &Context<'_>, expr: &DurationExpr) -> Result<f64, QueryError> {
    Ok(match &expr.op {
        DurationOp::Number { value, .. } => value.0,
        DurationOp::Step => seconds(context.step_ms),
        DurationOp::Range => seconds(context.end_ms.saturating_sub(context.start_ms)),
        DurationOp::Unary(Sign::Minus, operand) => -evaluate(context, operand)?,
        DurationOp::Unary(Sign::Plus, operand) | DurationOp::Paren(operand) => evaluate(context, operand)?,
        DurationOp::MinOf(left, right) => go_min(evaluate(context, left)?, evaluate(context, right)?),
        DurationOp::MaxOf(left, right) => go_max(evaluate(context, left)?, evaluate(context, right)?),
        DurationOp::Binary(op, left, right) => {
            let (left, right) = (evaluate(context, left)?, evaluate(context, right)?);
            let by_zero = |what: &str| {
                let span = expr.span;
                Err(QueryError::Invalid(format!("{}:{}: {what} by zero", span.start, span.end)))
            };
            match op {
                BinaryOp::Div if right == 0.0 => return by_zero("division"),
                BinaryOp::Mod if right == 0.0 => return by_zero("modulo"),
                _ => crate::eval::arithmetic::apply(*op, left, right).0,
            }
        }
    })
}
