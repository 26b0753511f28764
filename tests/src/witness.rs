//! The writer of `src/bin/witness.rs`, seen from a test.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::process::Program;
use crate::programs::binary;
use crate::{Agent, Aggregator, Api, GENEROUS, eventually};

/// Between two batches.
const STEP_MS: i64 = 20;

/// The writer of `src/bin/witness.rs`, with its book of acknowledgements.
pub struct Witness {
    book: PathBuf,
    program: Program,
}

impl Witness {
    /// Enrols one at `aggregator` and lets it write for `seconds`.
    pub fn enrolled(dir: &Path, aggregator: &Aggregator, seconds: u32) -> Result<Self> {
        let identity_of = Agent::prepare(&dir.join("witness"), &[])?;
        identity_of.enroll(&aggregator.token("agent")?)?;
        let book = dir.join("book");
        let mut command = Command::new(binary("vedette-witness")?);
        command
            .arg(identity_of.spool().join("identity"))
            .arg(aggregator.quic_address())
            .arg(&book)
            .arg(seconds.to_string());
        let program = Program::start(&mut command, &dir.join("witness.log"))?;
        eventually("the witness has opened its book", GENEROUS, || {
            Ok(std::fs::read_to_string(&book).is_ok_and(|text| text.contains('\n')).then_some(()))
        })?;
        Ok(Self { book, program })
    }

    /// Its exit status once it has ended.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.program.exit_status()
    }

    /// The time that batch 0 would have.
    pub fn start_ms(&self) -> Result<i64> {
        let text = std::fs::read_to_string(&self.book)?;
        Ok(text.lines().next().context("an empty book")?.parse()?)
    }

    /// The newest batch that was acknowledged, as far as the book says; 0 for none.
    pub fn acknowledged(&self) -> Result<u64> {
        let text = std::fs::read_to_string(&self.book)?;
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().skip(1).last().map_or(Ok(0), str::parse)?)
    }

    /// Each sample of each batch up to `promised` is there, once, at its time and with its value.
    pub fn check_whole(&self, api: &Api, promised: u64) -> Result<()> {
        if promised == 0 {
            return Ok(());
        }
        let start = self.start_ms()?;
        let end = start + promised as i64 * STEP_MS;
        let range = format!("witness_value[{}ms]", end - start + 1);
        let answers = api.query(&range, Some(end))?;
        ensure!(
            answers.len() == 10,
            "{} of 10 series are there, {promised} batches were promised",
            answers.len()
        );
        for answer in answers {
            let series: u64 = answer.labels["series"].parse()?;
            let expected =
                (1..=promised).map(|seq| (start + seq as i64 * STEP_MS, (seq * 10 + series).to_string()));
            ensure!(
                answer.samples.iter().cloned().eq(expected),
                "series {series}: {} samples, {promised} promised",
                answer.samples.len()
            );
        }
        Ok(())
    }
}
