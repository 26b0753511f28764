use crate::Labels;

/// One observation that a series stands for, with labels of its own (a trace's id, as a rule).
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Not the series' labels: its own.
    pub labels: Labels,
    /// What was observed.
    pub value: f64,
    /// When, in milliseconds since the epoch. Of one that came without a time: when its series was read.
    pub at_ms: i64,
}
