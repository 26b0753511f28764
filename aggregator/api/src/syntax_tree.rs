//! `/api/v1/format_query` and `/api/v1/parse_query`: an expression as text and as a tree, without evaluating it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use vedette_model::{Matcher, number};
use vedette_promql::{
    Arity, AtModifier, DurationValue, Expr, ExprKind, Grouping, Modifiers, NumberValue, Sign, VectorMatching,
};

use crate::Server;
use crate::json::JsonWriter;
use crate::params::Params;
use crate::query;
use crate::reply::success;

pub(crate) async fn format_query(State(server): State<Arc<Server>>, params: Params) -> Response {
    match query::parse(&server, params.text("query")) {
        Ok(expr) => success(|json| json.escaped_string(&expr.pretty())),
        Err(error) => error.into_response(),
    }
}

pub(crate) async fn parse_query(State(server): State<Arc<Server>>, params: Params) -> Response {
    match query::parse(&server, params.text("query")) {
        Ok(expr) => success(|json| write_expr(json, &expr)),
        Err(error) => error.into_response(),
    }
}

/// Keys are in alphabetical order, as Go prints maps.
fn write_expr(json: &mut JsonWriter, expr: &Expr) {
    match &expr.kind {
        ExprKind::Number { value: NumberValue(value), .. } => {
            json.raw(r#"{"type":"numberLiteral","val":""#);
            json.raw(&number::format_plain(*value));
            json.raw("\"}");
        }
        ExprKind::String(text) => {
            json.raw(r#"{"type":"stringLiteral","val":"#);
            json.escaped_string(text.as_str());
            json.raw("}");
        }
        ExprKind::Vector(selector) => {
            write_matchers(json, &selector.matchers.0);
            write_name(json, selector.name.as_deref());
            write_offset(json, &selector.modifiers);
            write_at(json, &selector.modifiers);
            json.raw(r#","type":"vectorSelector"}"#);
        }
        ExprKind::Matrix(matrix) => {
            let selector = &matrix.selector;
            write_matchers(json, &selector.matchers.0);
            write_name(json, selector.name.as_deref());
            write_offset(json, &selector.modifiers);
            json.raw(r#","range":"#);
            write_duration(json, Some(&matrix.range));
            write_at(json, &selector.modifiers);
            json.raw(r#","type":"matrixSelector"}"#);
        }
        ExprKind::Subquery(subquery) => {
            json.raw(r#"{"expr":"#);
            write_expr(json, &subquery.inner);
            write_offset(json, &subquery.modifiers);
            json.raw(r#","range":"#);
            write_duration(json, Some(&subquery.range));
            write_start_or_end(json, &subquery.modifiers);
            json.raw(r#","step":"#);
            write_duration(json, subquery.step.as_ref());
            write_timestamp(json, &subquery.modifiers);
            json.raw(r#","type":"subquery"}"#);
        }
        ExprKind::Unary { op, operand } => {
            json.raw(r#"{"expr":"#);
            write_expr(json, operand);
            json.raw(match op {
                Sign::Plus => r#","op":"+","type":"unaryExpr"}"#,
                Sign::Minus => r#","op":"-","type":"unaryExpr"}"#,
            });
        }
        ExprKind::Paren(inner) => {
            json.raw(r#"{"expr":"#);
            write_expr(json, inner);
            json.raw(r#","type":"parenExpr"}"#);
        }
        _ => write_operation(json, expr),
    }
}

fn write_operation(json: &mut JsonWriter, expr: &Expr) {
    match &expr.kind {
        ExprKind::Binary(binary) => {
            json.raw(r#"{"bool":"#);
            json.boolean(binary.returns_bool);
            json.raw(r#","lhs":"#);
            write_expr(json, &binary.left);
            json.raw(r#","matching":"#);
            write_matching(json, binary.matching.as_ref());
            json.raw(r#","op":"#);
            json.escaped_string(binary.op.as_str());
            json.raw(r#","rhs":"#);
            write_expr(json, &binary.right);
            json.raw(r#","type":"binaryExpr"}"#);
        }
        ExprKind::Aggregate(aggregate) => {
            json.raw(r#"{"expr":"#);
            write_expr(json, &aggregate.operand);
            let (labels, without) = match &aggregate.grouping {
                Grouping::By(labels) => (labels, false),
                Grouping::Without(labels) => (labels, true),
            };
            json.raw(r#","grouping":"#);
            json.strings(labels.iter().map(String::as_str));
            json.raw(r#","op":"#);
            json.escaped_string(aggregate.op.as_str());
            json.raw(r#","param":"#);
            match &aggregate.parameter {
                Some(parameter) => write_expr(json, parameter),
                None => json.raw("null"),
            }
            json.raw(r#","type":"aggregation","without":"#);
            json.boolean(without);
            json.raw("}");
        }
        ExprKind::Call(call) => {
            json.raw(r#"{"args":"#);
            write_list(json, call.arguments.iter(), write_expr);
            let function = call.function;
            json.raw(r#","func":{"argTypes":"#);
            json.strings(function.arguments.iter().map(|argument| argument.as_str()));
            json.raw(r#","name":"#);
            json.escaped_string(function.name);
            json.raw(r#","returnType":"#);
            json.escaped_string(function.returns.as_str());
            json.raw(r#","variadic":"#);
            match function.arity {
                Arity::Exact => json.raw("0"),
                Arity::UpTo(count) => json.integer(count as u64),
                Arity::Any => json.raw("-1"),
            }
            json.raw(r#"},"type":"call"}"#);
        }
        _ => json.raw("null"),
    }
}

fn write_list<T>(json: &mut JsonWriter, items: impl Iterator<Item = T>, write: impl Fn(&mut JsonWriter, T)) {
    json.raw("[");
    for (index, item) in items.enumerate() {
        if index > 0 {
            json.raw(",");
        }
        write(json, item);
    }
    json.raw("]");
}

fn write_matchers(json: &mut JsonWriter, matchers: &[Matcher]) {
    json.raw(r#"{"matchers":"#);
    write_list(json, matchers.iter(), |json, matcher| {
        json.raw(r#"{"name":"#);
        json.escaped_string(matcher.name());
        json.raw(r#","type":"#);
        json.escaped_string(&matcher.op().to_string());
        json.raw(r#","value":"#);
        json.escaped_string(matcher.value());
        json.raw("}");
    });
}

fn write_name(json: &mut JsonWriter, name: Option<&str>) {
    json.raw(r#","name":"#);
    json.escaped_string(name.unwrap_or_default());
}

fn write_offset(json: &mut JsonWriter, modifiers: &Modifiers) {
    json.raw(r#","offset":"#);
    write_duration(json, modifiers.offset.as_ref());
}

fn write_at(json: &mut JsonWriter, modifiers: &Modifiers) {
    write_start_or_end(json, modifiers);
    write_timestamp(json, modifiers);
}

fn write_start_or_end(json: &mut JsonWriter, modifiers: &Modifiers) {
    json.raw(match modifiers.at {
        Some(AtModifier::Start) => r#","startOrEnd":"start""#,
        Some(AtModifier::End) => r#","startOrEnd":"end""#,
        Some(AtModifier::Time(_)) | None => r#","startOrEnd":null"#,
    });
}

fn write_timestamp(json: &mut JsonWriter, modifiers: &Modifiers) {
    json.raw(r#","timestamp":"#);
    match modifiers.at {
        Some(AtModifier::Time(at)) => json.signed(at.as_millis()),
        _ => json.raw("null"),
    }
}

/// Milliseconds. What is only known when the expression is evaluated is 0 to Prometheus.
fn write_duration(json: &mut JsonWriter, duration: Option<&DurationValue>) {
    match duration {
        Some(DurationValue::Millis(millis)) => json.signed(*millis),
        Some(DurationValue::Expr(_)) | None => json.raw("0"),
    }
}

fn write_matching(json: &mut JsonWriter, matching: Option<&VectorMatching>) {
    let Some(matching) = matching else { return json.raw("null") };
    json.raw(r#"{"card":"#);
    json.escaped_string(matching.cardinality.as_str());
    json.raw(r#","include":"#);
    json.strings(matching.include.iter().map(String::as_str));
    json.raw(r#","labels":"#);
    json.strings(matching.labels.iter().map(String::as_str));
    json.raw(r#","on":"#);
    json.boolean(matching.on);
    json.raw("}");
}
