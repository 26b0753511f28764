use crate::ast::{Expr, ExprKind, VectorSelector};

impl Expr {
    /// The selectors in it, from left to right.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut found = Vec::new();
        collect(self, &mut found);
        found
    }
}

fn collect<'a>(expr: &'a Expr, found: &mut Vec<&'a VectorSelector>) {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => {}
        ExprKind::Vector(selector) => found.push(selector),
        ExprKind::Matrix(matrix) => found.push(&matrix.selector),
        ExprKind::Subquery(subquery) => collect(&subquery.inner, found),
        ExprKind::Unary { operand, .. } => collect(operand, found),
        ExprKind::Paren(inner) => collect(inner, found),
        ExprKind::Binary(binary) => {
            [&binary.left, &binary.right].iter().for_each(|side| collect(side, found))
        }
        ExprKind::Aggregate(aggregate) => {
            aggregate.parameter.iter().for_each(|parameter| collect(parameter, found));
            collect(&aggregate.operand, found);
        }
        ExprKind::Call(call) => call.arguments.iter().for_each(|argument| collect(argument, found)),
    }
}

#[cfg(test)]
mod tests {
    use crate::parse;

    #[test]
    fn finds_every_selector() {
        let expr = parse("topk(scalar(a), -sum(rate(b[1m])) + (c) / max_over_time(d[5m:1m]) * 2)").unwrap();
        let names: Vec<_> = expr.selectors().iter().filter_map(|selector| selector.name.as_deref()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
    }
}
