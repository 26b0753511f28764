//! Prometheus' script language for tests of PromQL: `load`, `clear`, `eval` with its expectations.
//!
//! Every instant query is run as Prometheus' own runner does: at its time, then with `@` fixed on all selectors
//! at other times, each also as the middle step of a range query.

mod compare;
mod histogram;
mod load;
mod run;
mod script;
mod series;
mod starts;

pub use run::{Outcome, Verdict};
pub use script::{Script, ScriptError};
pub use series::{SequenceValue, parse_series};
