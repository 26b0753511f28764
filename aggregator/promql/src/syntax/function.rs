use crate::ast::ValueType;

/// A function's signature.
#[derive(Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Types of its arguments; further arguments of a variadic function have the last one's.
    pub arguments: &'static [ValueType],
    /// How its number of arguments may vary.
    pub arity: Arity,
    /// The type of its value.
    pub returns: ValueType,
    /// Only with `promql-experimental-functions`.
    pub experimental: bool,
}

/// How many arguments a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// All that are listed.
    Exact,
    /// The last listed argument may be given up to so many times, or not at all.
    UpTo(usize),
    /// The last listed argument may be given any number of times.
    Any,
}

/// There is one table, so the name says all.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// The function of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.binary_search_by(|function| function.name.cmp(name)).ok().map(|index| &FUNCTIONS[index])
}

const S: ValueType = ValueType::Scalar;
const V: ValueType = ValueType::Vector;
const M: ValueType = ValueType::Matrix;
const T: ValueType = ValueType::String;

const fn plain(name: &'static str, arguments: &'static [ValueType], returns: ValueType) -> Function {
    Function { name, arguments, arity: Arity::Exact, returns, experimental: false }
}

const fn varied(
    name: &'static str,
    arguments: &'static [ValueType],
    arity: Arity,
    returns: ValueType,
) -> Function {
    Function { name, arguments, arity, returns, experimental: false }
}

const fn experimental(function: Function) -> Function {
    Function { experimental: true, ..function }
}

/// Sorted by name.
static FUNCTIONS: &[Function] = &[
    plain("abs", &[V], V),
    plain("absent", &[V], V),
    plain("absent_over_time", &[M], V),
    plain("acos", &[V], V),
    plain("acosh", &[V], V),
    plain("asin", &[V], V),
    plain("asinh", &[V], V),
    plain("atan", &[V], V),
    plain("atanh", &[V], V),
    plain("avg_over_time", &[M], V),
    plain("ceil", &[V], V),
    plain("changes", &[M], V),
    plain("clamp", &[V, S, S], V),
    plain("clamp_max", &[V, S], V),
    plain("clamp_min", &[V, S], V),
    plain("cos", &[V], V),
    plain("cosh", &[V], V),
    plain("count_over_time", &[M], V),
    varied("day_of_month", &[V], Arity::UpTo(1), V),
    varied("day_of_week", &[V], Arity::UpTo(1), V),
    varied("day_of_year", &[V], Arity::UpTo(1), V),
    varied("days_in_month", &[V], Arity::UpTo(1), V),
    plain("deg", &[V], V),
    plain("delta", &[M], V),
    plain("deriv", &[M], V),
    experimental(plain("double_exponential_smoothing", &[M, S, S], V)),
    experimental(plain("end", &[], S)),
    plain("exp", &[V], V),
    plain("first_over_time", &[M], V),
    plain("floor", &[V], V),
    plain("histogram_avg", &[V], V),
    plain("histogram_count", &[V], V),
    plain("histogram_fraction", &[S, S, V], V),
    plain("histogram_quantile", &[S, V], V),
    experimental(varied("histogram_quantiles", &[V, T, S, S], Arity::UpTo(9), V)),
    plain("histogram_stddev", &[V], V),
    plain("histogram_stdvar", &[V], V),
    plain("histogram_sum", &[V], V),
    varied("hour", &[V], Arity::UpTo(1), V),
    plain("idelta", &[M], V),
    plain("increase", &[M], V),
    experimental(varied("info", &[V, V], Arity::UpTo(1), V)),
    plain("irate", &[M], V),
    varied("label_join", &[V, T, T, T], Arity::Any, V),
    plain("label_replace", &[V, T, T, T, T], V),
    plain("last_over_time", &[M], V),
    plain("ln", &[V], V),
    plain("log10", &[V], V),
    plain("log2", &[V], V),
    experimental(plain("mad_over_time", &[M], V)),
    experimental(plain("max_of", &[S, S], S)),
    plain("max_over_time", &[M], V),
    experimental(plain("min_of", &[S, S], S)),
    plain("min_over_time", &[M], V),
    varied("minute", &[V], Arity::UpTo(1), V),
    varied("month", &[V], Arity::UpTo(1), V),
    plain("pi", &[], S),
    plain("predict_linear", &[M, S], V),
    plain("present_over_time", &[M], V),
    plain("quantile_over_time", &[S, M], V),
    plain("rad", &[V], V),
    experimental(plain("range", &[], S)),
    plain("rate", &[M], V),
    plain("resets", &[M], V),
    varied("round", &[V, S], Arity::UpTo(1), V),
    plain("scalar", &[V], S),
    plain("sgn", &[V], V),
    plain("sin", &[V], V),
    plain("sinh", &[V], V),
    plain("sort", &[V], V),
    experimental(varied("sort_by_label", &[V, T], Arity::Any, V)),
    experimental(varied("sort_by_label_desc", &[V, T], Arity::Any, V)),
    plain("sort_desc", &[V], V),
    plain("sqrt", &[V], V),
    experimental(plain("start", &[], S)),
    experimental(plain("start_timestamp", &[V], V)),
    plain("stddev_over_time", &[M], V),
    plain("stdvar_over_time", &[M], V),
    experimental(plain("step", &[], S)),
    plain("sum_over_time", &[M], V),
    plain("tan", &[V], V),
    plain("tanh", &[V], V),
    plain("time", &[], S),
    plain("timestamp", &[V], V),
    experimental(plain("ts_of_first_over_time", &[M], V)),
    experimental(plain("ts_of_last_over_time", &[M], V)),
    experimental(plain("ts_of_max_over_time", &[M], V)),
    experimental(plain("ts_of_min_over_time", &[M], V)),
    plain("vector", &[S], V),
    varied("year", &[V], Arity::UpTo(1), V),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_name() {
        assert!(FUNCTIONS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(find("rate").is_some_and(|function| function.returns == ValueType::Vector));
        assert!(find("no_such_function").is_none());
    }
}
