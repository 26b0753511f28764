//! What the kernel calls itself and the host.

use std::borrow::Cow;
use std::ffi::CStr;

use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::CollectError;
use crate::gathered::Gathered;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

struct Uname;

pub(crate) fn build(_: &mut Parameters, _: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    Ok(Box::new(Uname))
}

impl Collector for Uname {
    fn name(&self) -> &'static str {
        "uname"
    }

    fn collect(&mut self, _: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let uname = rustix::system::uname();
        out.family(
            "node_uname_info",
            Gauge,
            "Labeled system information as provided by the uname system call.",
        )
        .sample(
            &[
                ("domainname", &text(uname.domainname())),
                ("machine", &text(uname.machine())),
                ("nodename", &text(uname.nodename())),
                ("release", &text(uname.release())),
                ("sysname", &text(uname.sysname())),
                ("version", &text(uname.version())),
            ],
            1.0,
        );
        Ok(())
    }
}

fn text(name: &CStr) -> Cow<'_, str> {
    name.to_string_lossy()
}
