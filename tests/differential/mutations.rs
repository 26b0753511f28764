//! Answers changed a little, which whoever compares has to see.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vedette_tests::compare::{Question, Reply};

/// Changes that were not seen, and how many were tried.
#[derive(Default)]
pub(crate) struct Missed {
    tried: usize,
    missed: Vec<String>,
}

impl Missed {
    pub(crate) fn look_for(&mut self, question: &Question, reply: &Reply, mutations: Vec<Reply>) {
        for mutated in mutations {
            self.tried += 1;
            if question.difference(reply, &mutated).is_none() {
                self.missed.push(format!("{question:?}: {:.300}", mutated.body.to_string()));
            }
        }
    }

    /// That none was, of at least so many.
    pub(crate) fn none(self, tried_min: usize) -> Result<()> {
        let Self { tried, missed } = self;
        ensure!(
            missed.is_empty(),
            "{} of {tried} changes were not seen:\n{}",
            missed.len(),
            missed.join("\n")
        );
        ensure!(tried >= tried_min, "only {tried} changes");
        Ok(())
    }
}

/// Another status, a warning and an info more or less, and what [`of_result`] changes; of an error its type.
pub(crate) fn mutations(reply: &Reply) -> Vec<Reply> {
    let change = |change: &dyn Fn(&mut Reply)| {
        let mut changed = reply.clone();
        change(&mut changed);
        changed
    };
    if reply.is_error() {
        return vec![
            change(&|reply| reply.status += 1),
            change(&|reply| reply.body["errorType"] = "other".into()),
            change(&|reply| *reply = Reply { status: 200, body: json!({"status": "success"}) }),
        ];
    }
    let mut all = vec![change(&|reply| (reply.status, reply.body["status"]) = (422, "error".into()))];
    for annotations in ["warnings", "infos"] {
        all.push(change(&|reply| {
            let none = !reply.body[annotations].is_array();
            reply.body[annotations] = if none { json!(["w"]) } else { Value::Null };
        }));
    }
    all.extend(
        of_result(&reply.body["data"]["result"])
            .into_iter()
            .map(|result| change(&|reply| reply.body["data"]["result"] = result.clone())),
    );
    all
}

/// A value a millionth larger, the same value printed in another way, a time a millisecond later, a bucket less, a label
/// more, a series less, two series in each other's place.
fn of_result(result: &Value) -> Vec<Value> {
    let change = |place: &str, change: &dyn Fn(&mut Value)| {
        let mut changed = result.clone();
        changed.pointer_mut(place).map(change).map(|()| changed)
    };
    let places = ["/0/value", "/0/values/0", "/0/histogram", "/0/histograms/0"];
    let found = places.into_iter().find(|place| result.pointer(place).is_some());
    let place = if result[0].is_number() { "" } else { found.unwrap_or("/0/nothing") };
    let mut all = vec![
        change(place, &|sample| sample[0] = (sample[0].as_f64().unwrap_or_default() + 0.001).into()),
        change(&format!("{place}/1"), &larger),
        change(&format!("{place}/1/count"), &larger),
        change(&format!("{place}/1/sum"), &larger),
        change(&format!("{place}/1/buckets"), &|buckets| drop(buckets.as_array_mut().and_then(Vec::pop))),
        change("/0/metric", &|metric| metric["more"] = "1".into()),
        change("", &|result| {
            let list = result.as_array_mut().filter(|list| list.first().is_some_and(Value::is_object));
            drop(list.and_then(Vec::pop));
        }),
    ];
    if found == Some("/0/values/0") && result[1].is_object() {
        all.push(change("", &|result| result.as_array_mut().map_or((), |list| list.swap(0, 1))));
    }
    all.push(change(&format!("{place}/1"), &|text| {
        let number = text.as_str().filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
        *text = number.map_or("other".into(), |text| format!("+{text}").into());
    }));
    all.into_iter().flatten().filter(|changed| changed != result).collect()
}

/// A number printed as text; what is none becomes one.
fn larger(text: &mut Value) {
    let Some(value) = text.as_str().map(|text| text.parse().unwrap_or_default()) else { return };
    let other = if f64::is_finite(value) { value * (1.0 + 1e-6) + 1e-300 } else { 1.0 };
    *text = other.to_string().into();
}
