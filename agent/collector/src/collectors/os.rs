//! Which operating system this is, from os-release.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use vedette_model::MetricKind::Gauge;

use crate::config::{ConfigError, Parameters};
use crate::error::{CollectError, Fault};
use crate::gathered::Gathered;
use crate::parse;
use crate::paths::Paths;
use crate::registry::Collector;
use crate::sources::Sources;

/// Where the host may have the file; the first that is there counts.
const LOCATIONS: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Labels of `node_os_info` and the variables that they show. Sorted.
const LABELS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];
const ID: usize = 1;
const ID_LIKE: usize = 2;
const NAME: usize = 5;
const VERSION_ID: usize = 11;

struct Os {
    paths: [PathBuf; LOCATIONS.len()],
    /// What was last read, and of which file.
    known: Option<(Version, Release)>,
}

/// Another file, or another content, has another one.
#[derive(PartialEq, Eq)]
struct Version {
    location: usize,
    modified: (i64, i64),
    inode: u64,
}

#[derive(Debug, Default, PartialEq)]
struct Release {
    /// In the order of [`LABELS`]; empty where not said.
    values: [String; LABELS.len()],
    /// Major and minor as a number; 0 where there is none.
    version: f64,
    support_end_seconds: Option<i64>,
}

pub(crate) fn build(_: &mut Parameters, paths: &Paths) -> Result<Box<dyn Collector>, ConfigError> {
    let paths = LOCATIONS.map(|location| paths.host(Path::new(location)));
    Ok(Box::new(Os { paths, known: None }))
}

impl Collector for Os {
    fn name(&self) -> &'static str {
        "os"
    }

    fn collect(&mut self, _: &mut Sources, out: &mut Gathered) -> Result<(), CollectError> {
        let release = self.release()?;
        let mut labels = [("", ""); LABELS.len()];
        for ((label, (name, _)), value) in labels.iter_mut().zip(LABELS).zip(&release.values) {
            *label = (name, value);
        }
        out.family(
            "node_os_info",
            Gauge,
            "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, \
             pretty_name, variant, variant_id, version, version_codename, version_id.",
        )
        .sample(&labels, 1.0);
        if release.version > 0.0 {
            out.family("node_os_version", Gauge, "Metric containing the major.minor part of the OS version.")
                .sample(&[labels[ID], labels[ID_LIKE], labels[NAME]], release.version);
        }
        if let Some(seconds) = release.support_end_seconds {
            out.family(
                "node_os_support_end_timestamp_seconds",
                Gauge,
                "Metric containing the end-of-life date timestamp of the OS.",
            )
            .value(seconds as f64);
        }
        Ok(())
    }
}

impl Os {
    fn release(&mut self) -> Result<&Release, CollectError> {
        let (location, metadata) = self.locate()?;
        let version =
            Version { location, modified: (metadata.mtime(), metadata.mtime_nsec()), inode: metadata.ino() };
        let release = match self.known.take() {
            Some((known, release)) if known == version => release,
            _ => read(&self.paths[location])?,
        };
        Ok(&self.known.insert((version, release)).1)
    }

    fn locate(&self) -> Result<(usize, Metadata), CollectError> {
        for (location, path) in self.paths.iter().enumerate() {
            match std::fs::metadata(path) {
                Ok(metadata) => return Ok((location, metadata)),
                Err(source) if source.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(CollectError::Read { path: path.clone(), source }),
            }
        }
        Err(CollectError::NoData { what: "os-release" })
    }
}

fn read(path: &Path) -> Result<Release, CollectError> {
    let content =
        std::fs::read(path).map_err(|source| CollectError::Read { path: path.to_owned(), source })?;
    parse(&content).map_err(|(line, fault)| fault.at(path, line))
}

fn parse(content: &[u8]) -> Result<Release, (usize, Fault)> {
    let mut release = Release::default();
    for (number, line) in parse::lines(content) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or((number, Fault::NoSeparator))?;
        let key = key.strip_prefix("export ").unwrap_or(key).trim();
        let value = unquote(value.trim()).ok_or((number, Fault::Syntax))?;
        if key == "SUPPORT_END" && !value.is_empty() {
            release.support_end_seconds = Some(midnight(&value).ok_or((number, Fault::Syntax))?);
        } else if let Some(at) = LABELS.iter().position(|(_, variable)| *variable == key) {
            release.values[at] = value;
        }
    }
    release.version = leading_number(&release.values[VERSION_ID]);
    Ok(release)
}

/// A value as a shell reads it, without expansion. None if a quote is not closed.
fn unquote(text: &str) -> Option<String> {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    let mut quote = None;
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\'' | '"', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            ('\\', None | Some('"')) => value.push(characters.next()?),
            // What follows is a comment.
            ('#', None) if value.ends_with(char::is_whitespace) => {
                value.truncate(value.trim_end().len());
                break;
            }
            _ => value.push(character),
        }
    }
    quote.is_none().then_some(value)
}

fn midnight(date: &str) -> Option<i64> {
    let date: Date = date.parse().ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// Digits, a dot, digits, at the beginning.
fn leading_number(version: &str) -> f64 {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(version);
    let fraction = version[whole..].strip_prefix('.').map_or(0, |rest| 1 + digits(rest));
    if whole == 0 { 0.0 } else { version[..whole + fraction].parse().unwrap_or(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_shell_syntax() {
        let release = parse(
            b"# comment\n\nNAME=\"A \\\"B\\\" \\$C\"\nID='d e'\nVERSION_ID=12.04.5 # old\nSUPPORT_END=2027-05-17\n\
              export ID_LIKE=x\nHOME_URL=https://a#b\n",
        )
        .unwrap();
        assert_eq!(release.values[NAME], "A \"B\" $C");
        assert_eq!(release.values[ID], "d e");
        assert_eq!(release.values[ID_LIKE], "x");
        assert_eq!(release.values[VERSION_ID], "12.04.5");
        assert_eq!(release.version, 12.04);
        assert_eq!(release.support_end_seconds, Some(1_810_512_000));
    }

    #[test]
    fn refuses_what_a_shell_would() {
        assert_eq!(parse(b"ID=a\nnonsense\n"), Err((2, Fault::NoSeparator)));
        assert_eq!(parse(b"ID=\"a\n"), Err((1, Fault::Syntax)));
        assert_eq!(parse(b"SUPPORT_END=soon\n"), Err((1, Fault::Syntax)));
    }

    #[test]
    fn versions_are_numbers_where_they_begin_so() {
        for (text, number) in
            [("20.04", 20.04), ("12", 12.0), ("7.", 7.0), ("v1", 0.0), ("", 0.0), ("3.1a", 3.1)]
        {
            assert_eq!(leading_number(text), number, "{text}");
        }
    }
}
