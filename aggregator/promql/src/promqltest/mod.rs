//! Prometheus' script language for tests of PromQL: `load`, `clear`, `eval` with its expectations.
//!
//! Every instant query is run as Prometheus' own runner does: at its time, then with `@` fixed on all selectors
//! at other times, each also as the middle step of a range query.
//!
//! Native histograms and start timestamps can be read here but not yet stored: an evaluation that fails and
//! touches such data is told apart ([`Verdict::NeedsMore`]), never left out.

mod compare;
mod run;
mod script;
mod series;

pub use run::{Outcome, Verdict};
pub use script::{Script, ScriptError};
pub use series::{SequenceValue, parse_series};
