use crate::error::{CollectError, Fault};
use crate::file::HotFile;
use crate::parse;
use crate::paths::Paths;

/// Modes of a `cpu` line, in its order.
pub(crate) const CPU_MODES: usize = 10;

/// Vectors of the `softirq` line, in its order, behind the total.
pub(crate) const SOFTIRQ_VECTORS: usize = 10;

/// What `/proc/stat` says. A line that is missing reads 0.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ProcStat {
    pub(crate) cpus: Vec<CpuTicks>,
    pub(crate) interrupts: u64,
    pub(crate) context_switches: u64,
    pub(crate) boot_time_seconds: u64,
    pub(crate) forks: u64,
    pub(crate) running: u64,
    pub(crate) blocked: u64,
    pub(crate) softirqs: [u64; SOFTIRQ_VECTORS],
}

/// One `cpuN` line, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CpuTicks {
    pub(crate) cpu: u32,
    pub(crate) ticks: [u64; CPU_MODES],
}

/// The file and what was last read from it.
pub(crate) struct ProcStatFile {
    file: HotFile,
    stat: ProcStat,
    is_current: bool,
}

impl ProcStatFile {
    pub(crate) fn new(paths: &Paths) -> Self {
        Self {
            file: HotFile::of_one_record(paths.proc("stat")),
            stat: ProcStat::default(),
            is_current: false,
        }
    }

    /// The next read goes to the file.
    pub(crate) fn forget(&mut self) {
        self.is_current = false;
    }

    pub(crate) fn read(&mut self, scratch: &mut Vec<u8>) -> Result<&ProcStat, CollectError> {
        if !self.is_current {
            let content = self.file.read(scratch)?;
            self.stat.parse(content).map_err(|(line, fault)| self.file.malformed(line, fault))?;
            self.is_current = true;
        }
        Ok(&self.stat)
    }
}

impl ProcStat {
    fn parse(&mut self, content: &[u8]) -> Result<(), (usize, Fault)> {
        let mut cpus = std::mem::take(&mut self.cpus);
        cpus.clear();
        *self = Self { cpus, ..Self::default() };
        let mut known = 0;
        for (number, line) in parse::lines(content) {
            let mut fields = parse::fields(line);
            let (Some(key), Some(first)) = (fields.next(), fields.next()) else {
                continue;
            };
            let target = match key {
                b"intr" => &mut self.interrupts,
                b"ctxt" => &mut self.context_switches,
                b"btime" => &mut self.boot_time_seconds,
                b"processes" => &mut self.forks,
                b"procs_running" => &mut self.running,
                b"procs_blocked" => &mut self.blocked,
                b"softirq" => {
                    self.softirqs = parse_softirqs(fields).map_err(|fault| (number, fault))?;
                    continue;
                }
                [b'c', b'p', b'u', digits @ ..] if !digits.is_empty() => {
                    let cpu = parse_cpu(digits, line).map_err(|fault| (number, fault))?;
                    if self.cpus.last().is_some_and(|last| last.cpu >= cpu.cpu) {
                        return Err((number, Fault::NotAscending));
                    }
                    self.cpus.push(cpu);
                    known += 1;
                    continue;
                }
                _ => continue,
            };
            *target = parse::unsigned(first).ok_or((number, Fault::NotANumber))?;
            known += 1;
        }
        if known == 0 { Err((0, Fault::FieldMissing)) } else { Ok(()) }
    }
}

/// Older kernels have fewer modes; those missing read 0.
fn parse_cpu(digits: &[u8], line: &[u8]) -> Result<CpuTicks, Fault> {
    let cpu = parse::unsigned(digits).and_then(|cpu| u32::try_from(cpu).ok()).ok_or(Fault::NotANumber)?;
    let mut ticks = [0; CPU_MODES];
    for (target, field) in ticks.iter_mut().zip(parse::fields(line).skip(1)) {
        *target = parse::unsigned(field).ok_or(Fault::NotANumber)?;
    }
    Ok(CpuTicks { cpu, ticks })
}

/// `fields` is behind the total.
fn parse_softirqs(mut fields: parse::Fields<'_>) -> Result<[u64; SOFTIRQ_VECTORS], Fault> {
    let mut vectors = [0; SOFTIRQ_VECTORS];
    for target in &mut vectors {
        let field = fields.next().ok_or(Fault::TooFewFields)?;
        *target = parse::unsigned(field).ok_or(Fault::NotANumber)?;
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str) -> Result<ProcStat, (usize, Fault)> {
        let mut stat = ProcStat { forks: 99, ..ProcStat::default() };
        stat.parse(content.as_bytes()).map(|()| stat)
    }

    #[test]
    fn reads_what_is_there() {
        let stat = check("cpu  5 1\ncpu3 1 2 3 4\nctxt 7\nintr 12 0 0\nnew_line 5\nbtime 9\n").unwrap();
        assert_eq!(stat.cpus, [CpuTicks { cpu: 3, ticks: [1, 2, 3, 4, 0, 0, 0, 0, 0, 0] }]);
        assert_eq!(
            (stat.context_switches, stat.interrupts, stat.boot_time_seconds, stat.forks),
            (7, 12, 9, 0)
        );
    }

    #[test]
    fn refuses_what_is_not() {
        assert_eq!(check("cpu3 1\ncpux 1"), Err((2, Fault::NotANumber)));
        assert_eq!(check("cpu3 1 x"), Err((1, Fault::NotANumber)));
        assert_eq!(check("cpu3 1\ncpu3 1"), Err((2, Fault::NotAscending)));
        assert_eq!(check("softirq 1 2"), Err((1, Fault::TooFewFields)));
        assert_eq!(check("ctxt -1"), Err((1, Fault::NotANumber)));
        assert_eq!(check("garbage here"), Err((0, Fault::FieldMissing)));
        assert_eq!(check(""), Err((0, Fault::FieldMissing)));
    }
}
