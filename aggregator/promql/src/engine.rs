use vedette_model::{SeriesSource, Timestamp};

use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::{Run, run};
use crate::value::QueryResult;

/// Which parts of the language the parser takes: Prometheus' feature flags, all off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParseOptions {
    /// `promql-experimental-functions`: functions and aggregations marked so.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything that the parser knows.
    pub const ALL: Self =
        Self { experimental_functions: true, extended_range_selectors: true, fill_modifiers: true };
}

/// How all queries of an engine are evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// How long a sample counts after its time: `--query.lookback-delta`.
    pub lookback_ms: i64,
    /// The most samples that a query may hold at once: `--query.max-samples`.
    pub samples_max: u64,
    /// The step of a subquery that names none: the global evaluation interval.
    pub subquery_step_ms: i64,
    /// `promql-delayed-name-removal`: metric names are dropped at the end, not by each function.
    pub delayed_name_removal: bool,
    /// `type-and-unit-labels`: whether a metric counts is read from its label `__type__`, not from its name.
    pub type_and_unit_labels: bool,
    /// `use-start-timestamps`: a counter that was started anew was reset, and was zero when it was started.
    pub use_start_timestamps: bool,
    /// `promql-per-step-stats`: queries may ask for the statistics of each step.
    pub per_step_stats: bool,
}

/// Prometheus' defaults.
impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            samples_max: 50_000_000,
            subquery_step_ms: 60 * 1000,
            delayed_name_removal: false,
            type_and_unit_labels: false,
            use_start_timestamps: false,
            per_step_stats: false,
        }
    }
}

/// Why a query must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Its deadline has passed.
    Timeout,
    /// Whoever asked has gone.
    Cancelled,
}

/// What one query may ask for itself.
#[derive(Clone, Copy, Default)]
pub struct QueryOptions<'a> {
    /// Instead of the engine's lookback.
    pub lookback_ms: Option<i64>,
    /// Whether statistics count the samples of each step.
    pub count_per_step: bool,
    /// Asked regularly during evaluation; the driver looks at its clock and its client in it.
    pub interrupt: Option<&'a (dyn Fn() -> Option<Interrupt> + Sync)>,
    /// Told how many samples the query holds whenever it takes more or gives some back, and says whether it may: all
    /// queries together have a budget as well.
    pub budget: Option<&'a (dyn Fn(u64) -> bool + Sync)>,
}

/// Evaluates expressions. Holds options only, so that one serves any number of queries at once.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
}

impl Engine {
    /// An engine.
    pub fn new(options: EngineOptions) -> Self {
        Self { options }
    }

    /// The options.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The value of `expr` at one time.
    pub fn instant(
        &self,
        source: &dyn SeriesSource,
        expr: &Expr,
        at: Timestamp,
        options: &QueryOptions<'_>,
    ) -> Result<QueryResult, QueryError> {
        let at_ms = at.as_millis();
        let (engine, options) = (&self.options, *options);
        run(Run { source, engine, options, start_ms: at_ms, end_ms: at_ms, step_ms: None }, expr)
    }

    /// The values of `expr` at `start`, `start + step`, … up to `end`.
    pub fn range(
        &self,
        source: &dyn SeriesSource,
        expr: &Expr,
        start: Timestamp,
        end: Timestamp,
        step_ms: i64,
        options: &QueryOptions<'_>,
    ) -> Result<QueryResult, QueryError> {
        let (start_ms, end_ms) = (start.as_millis(), end.as_millis());
        let (engine, options) = (&self.options, *options);
        run(Run { source, engine, options, start_ms, end_ms, step_ms: Some(step_ms) }, expr)
    }
}
