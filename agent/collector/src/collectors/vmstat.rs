//! Chosen lines of `/proc/vmstat`.

use vedette_model::MetricKind::Unknown;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::field_cache::FieldCache;
use crate::file::HotFile;
use crate::filter::Pattern;
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

const FIELDS: &str = "^(oom_kill|pgpg|pswp|pg.*fault).*";

struct VmStat {
    file: HotFile,
    wanted: Option<Pattern>,
    fields: FieldCache<Option<Family>>,
}

struct Family {
    name: String,
    help: String,
}

pub(crate) fn build(parameters: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let wanted = Pattern::take(parameters, "fields", FIELDS)?;
    Ok(Box::new(VmStat { file: HotFile::new(paths.proc("vmstat")), wanted, fields: FieldCache::new() }))
}

impl Collector for VmStat {
    fn name(&self) -> &'static str {
        "vmstat"
    }

    fn collect(&mut self, sources: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let content = self.file.read(&mut sources.scratch)?;
        self.fields.begin();
        for (number, line) in parse::lines(content) {
            let mut parts = parse::fields(line);
            let (Some(field), Some(value)) = (parts.next(), parts.next()) else {
                return Err(self.file.malformed(number, Fault::TooFewFields));
            };
            let value = parse::number(value).ok_or_else(|| self.file.malformed(number, Fault::NotANumber))?;
            let known = self.fields.entry_once(field, || describe(field, self.wanted.as_ref()));
            if let Some(Some(family)) = known {
                out.family(&family.name, Unknown, &family.help).value(value);
            }
        }
        Ok(())
    }
}

/// None for a field that is not wanted. An empty pattern matches all, as in Go.
fn describe(field: &[u8], wanted: Option<&Pattern>) -> Option<Family> {
    let field = parse::name_part(field)?;
    wanted.is_none_or(|pattern| pattern.is_match(field)).then(|| Family {
        name: format!("node_vmstat_{field}"),
        help: format!("/proc/vmstat information field {field}."),
    })
}
