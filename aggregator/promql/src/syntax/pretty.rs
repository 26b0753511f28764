//! The form for people: what is longer than a line is broken and indented by depth, as Prometheus' `format_query`.

use crate::ast::{Expr, ExprKind};
use crate::syntax::printer::{AggregateHead, MatchingText, SubqueryTail, sign_text};

/// Longer expressions are broken.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

impl Expr {
    /// The expression over as many lines as it takes to keep them short.
    pub fn pretty(&self) -> String {
        pretty(self, 0)
    }
}

fn pretty(expr: &Expr, level: usize) -> String {
    let indent = INDENT.repeat(level);
    let whole = expr.to_string();
    // Prometheus does not indent these two itself.
    match &expr.kind {
        ExprKind::Unary { op, operand } => {
            return format!("{indent}{}{}", sign_text(*op), pretty(operand, level).trim());
        }
        ExprKind::Subquery(subquery) => {
            return match whole.len() > LINE_BYTES_MAX {
                true => format!("{}{}", pretty(&subquery.inner, level), SubqueryTail(subquery)),
                false => whole,
            };
        }
        _ => {}
    }
    if whole.len() <= LINE_BYTES_MAX {
        return format!("{indent}{whole}");
    }
    match &expr.kind {
        ExprKind::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.iter().map(|parameter| pretty(parameter, level + 1) + ",\n");
            let parameter: String = parameter.collect();
            let operand = pretty(&aggregate.operand, level + 1);
            format!("{indent}{}(\n{parameter}{operand}\n{indent})", AggregateHead(aggregate))
        }
        ExprKind::Binary(binary) => {
            let left = pretty(&binary.left, level + 1);
            let right = pretty(&binary.right, level + 1);
            let op = binary.op.as_str();
            let returns_bool = if binary.returns_bool { " bool" } else { "" };
            let matching = binary.matching.as_ref().map(|matching| MatchingText(matching).to_string());
            let matching = matching.unwrap_or_default();
            format!("{left}\n{indent}{op}{returns_bool}{matching}\n{right}")
        }
        ExprKind::Call(call) => {
            let arguments: Vec<_> =
                call.arguments.iter().map(|argument| pretty(argument, level + 1)).collect();
            format!("{indent}{}(\n{}\n{indent})", call.function.name, arguments.join(",\n"))
        }
        ExprKind::Paren(inner) => format!("{indent}(\n{}\n{indent})", pretty(inner, level + 1)),
        _ => format!("{indent}{whole}"),
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    // Each expectation was taken from the answers of Prometheus 3.5.3.
    #[test]
    fn long_expressions_are_broken_as_prometheus_breaks_them() {
        let name = "a".repeat(100);
        for (text, expected) in [
            ("sum(up)by(job)".to_owned(), "sum by (job) (up)".to_owned()),
            (format!("-{name}"), format!("-{name}")),
            (
                format!("sum(rate({name}[5m])) by (x) / on(x) group_left(y) -(b+c)"),
                format!(
                    "  sum by (x) (\n    rate(\n      {name}[5m]\n    )\n  )\n/ on (x) group_left (y)\n  -(b + c)"
                ),
            ),
            (
                format!("topk(5, ({name} > bool 1))"),
                format!("topk(\n  5,\n  (\n      {name}\n    > bool\n      1\n  )\n)"),
            ),
            (
                format!("max_over_time(({name} + 1)[5m:1m] offset 1m)"),
                format!("max_over_time(\n  (\n      {name}\n    +\n      1\n  )[5m:1m] offset 1m\n)"),
            ),
        ] {
            assert_eq!(parse(&text).expect("valid").pretty(), expected, "{text}");
        }
    }
}
