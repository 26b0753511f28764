use vedette_model::METRIC_NAME;

use crate::ast::{Aggregation, Binary, Call, Cardinality, Expr, ExprKind, Span, ValueType, VectorSelector};
use crate::error::ParseError;
use crate::syntax::function::Arity;
use crate::syntax::printer::quote;

type Checked = Result<ValueType, ParseError>;

/// Gives the operator that stands between two positions.
pub(crate) type Locate<'a> = &'a dyn Fn(usize, usize) -> Span;

/// Checks that types fit, inside out, and gives the expression's type.
///
/// Drops the matching of operators that have a scalar operand, and makes that of set operators many-to-many.
pub(crate) fn check(expr: &mut Expr, locate: Locate<'_>) -> Checked {
    check_in(expr, false, locate)
}

fn error(span: Span, message: String) -> ParseError {
    ParseError { span, message }
}

fn check_in(expr: &mut Expr, may_be_empty: bool, locate: Locate<'_>) -> Checked {
    let span = expr.span;
    match &mut expr.kind {
        ExprKind::Number { .. } => Ok(ValueType::Scalar),
        ExprKind::String(_) => Ok(ValueType::String),
        ExprKind::Vector(selector) => check_selector(selector, span, may_be_empty),
        ExprKind::Matrix(matrix) => {
            check_selector(&matrix.selector, matrix.selector_span, false)?;
            Ok(ValueType::Matrix)
        }
        ExprKind::Subquery(subquery) => match check(&mut subquery.inner, locate)? {
            ValueType::Vector => Ok(ValueType::Matrix),
            other => {
                Err(error(span, format!("subquery is only allowed on instant vector, got {other} instead")))
            }
        },
        ExprKind::Unary { operand, .. } => match check(operand, locate)? {
            found @ (ValueType::Scalar | ValueType::Vector) => Ok(found),
            other => Err(error(
                span,
                format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                    quote(other.documented())
                ),
            )),
        },
        ExprKind::Paren(inner) => check(inner, locate),
        ExprKind::Aggregate(aggregate) => {
            expect(&mut aggregate.operand, ValueType::Vector, "aggregation expression", locate)?;
            if let (Some(parameter), Some(wanted)) =
                (&mut aggregate.parameter, Aggregation::parameter(aggregate.op))
            {
                expect(parameter, wanted, "aggregation parameter", locate)?;
            }
            Ok(ValueType::Vector)
        }
        ExprKind::Binary(binary) => check_binary(binary, span, locate),
        ExprKind::Call(call) => check_call(call, span, locate),
    }
}

fn expect(expr: &mut Expr, wanted: ValueType, context: &str, locate: Locate<'_>) -> Result<(), ParseError> {
    let found = check(expr, locate)?;
    if found == wanted {
        return Ok(());
    }
    let (wanted, found) = (wanted.documented(), found.documented());
    Err(error(expr.span, format!("expected type {wanted} in {context}, got {found}")))
}

fn check_selector(selector: &VectorSelector, span: Span, may_be_empty: bool) -> Checked {
    let matchers = &selector.matchers.0;
    if let Some(name) = &selector.name {
        let others = &matchers[..matchers.len().saturating_sub(1)];
        if let Some(twice) = others.iter().find(|matcher| matcher.name() == METRIC_NAME) {
            let (first, second) = (quote(name), quote(twice.value()));
            return Err(error(span, format!("metric name must not be set twice: {first} or {second}")));
        }
    } else if !may_be_empty && matchers.iter().all(vedette_model::Matcher::matches_absent) {
        let message = "vector selector must contain at least one non-empty matcher".to_owned();
        return Err(error(span, message));
    }
    Ok(ValueType::Vector)
}

fn check_binary(binary: &mut Binary, span: Span, locate: Locate<'_>) -> Checked {
    let left = check(&mut binary.left, locate)?;
    let right = check(&mut binary.right, locate)?;
    let op = binary.op;
    let operator = locate(binary.left.span.end, binary.right.span.start);
    let scalars = left == ValueType::Scalar && right == ValueType::Scalar;
    if binary.returns_bool && !op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators".to_owned();
        return Err(error(operator, message));
    }
    if op.is_comparison() && !binary.returns_bool && scalars {
        return Err(error(operator, "comparisons between scalars must use BOOL modifier".to_owned()));
    }
    let Some(matching) = &mut binary.matching else { return Ok(ValueType::Vector) };
    if op.is_set() && matching.cardinality == Cardinality::OneToOne {
        matching.cardinality = Cardinality::ManyToMany;
    }
    if matching.on
        && let Some(both) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        let message = format!("label {} must not occur in ON and GROUP clause at once", quote(both));
        return Err(error(operator, message));
    }
    for (found, side) in [(left, &binary.left), (right, &binary.right)] {
        if !matches!(found, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types".to_owned();
            return Err(error(side.span, message));
        }
    }
    let filled = matching.fill.left.is_some() || matching.fill.right.is_some();
    if left == ValueType::Scalar || right == ValueType::Scalar {
        if !matching.labels.is_empty() {
            let message = "vector matching only allowed between instant vectors".to_owned();
            return Err(error(span, message));
        }
        if filled {
            let message = "filling in missing series only allowed between instant vectors".to_owned();
            return Err(error(span, message));
        }
        if op.is_set() {
            let message =
                format!("set operator {} not allowed in binary scalar expression", quote(op.as_str()));
            return Err(error(span, message));
        }
        binary.matching = None;
        return Ok(if scalars { ValueType::Scalar } else { ValueType::Vector });
    }
    if op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return Err(error(span, format!("no grouping allowed for {} operation", quote(op.as_str()))));
        }
        if filled {
            let message = "filling in missing series not allowed for set operators".to_owned();
            return Err(error(span, message));
        }
    }
    Ok(ValueType::Vector)
}

fn check_call(call: &mut Call, span: Span, locate: Locate<'_>) -> Checked {
    let function = call.function;
    let name = quote(function.name);
    let (listed, given) = (function.arguments.len(), call.arguments.len());
    let (least, most) = match function.arity {
        Arity::Exact => (listed, listed),
        Arity::UpTo(times) => (listed - 1, listed - 1 + times),
        Arity::Any => (listed - 1, usize::MAX),
    };
    if given < least || given > most {
        let wanted = match function.arity {
            Arity::Exact => format!("expected {listed}"),
            _ if given < least => format!("expected at least {least}"),
            _ => format!("expected at most {most}"),
        };
        return Err(error(span, format!("{wanted} argument(s) in call to {name}, got {given}")));
    }
    for (index, argument) in call.arguments.iter_mut().enumerate() {
        let wanted = function.arguments[index.min(listed - 1)];
        let is_info = function.name == "info" && index == 1;
        let found = check_in(argument, is_info, locate)?;
        if found != wanted {
            let (wanted, found) = (wanted.documented(), found.documented());
            let message = format!("expected type {wanted} in call to function {name}, got {found}");
            return Err(error(argument.span, message));
        }
        if is_info {
            match &argument.kind {
                ExprKind::Vector(selector) if selector.name.is_none() => {}
                ExprKind::Vector(_) => {
                    let message = "expected label selectors only, got vector selector instead".to_owned();
                    return Err(error(argument.span, message));
                }
                _ => return Err(error(argument.span, "expected label selectors only".to_owned())),
            }
        }
    }
    Ok(function.returns)
}
