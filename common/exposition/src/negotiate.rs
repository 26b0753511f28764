//! Which format: of a scraped body by its `Content-Type`, of an answer by the `Accept` of the request.

/// An exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format, `text/plain`.
    Text,
    /// OpenMetrics' text format, `application/openmetrics-text`.
    OpenMetrics,
}

/// How a scraped body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BodyFormat {
    /// As text.
    Text(Format),
    /// As the protobuf format, `application/vnd.google.protobuf`.
    Delimited,
}

/// The `Content-Type` names no format that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownContentType {
    /// There is none.
    #[error("target sends no Content-Type and fallback_scrape_protocol is not set")]
    Blank,
    /// It cannot be read.
    #[error("cannot parse Content-Type {content_type:?} and fallback_scrape_protocol is not set")]
    Malformed {
        /// As it was sent.
        content_type: String,
    },
    /// It names something else.
    #[error("unsupported Content-Type {content_type:?} and fallback_scrape_protocol is not set")]
    Unsupported {
        /// As it was sent.
        content_type: String,
    },
}

/// What to answer to an `Accept` header. Both are the same bytes where names are of the classic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextVersion {
    /// 0.0.4.
    V004,
    /// 1.0.0 with UTF-8 names, for those who ask for `escaping=allow-utf-8`.
    V100,
}

impl TextVersion {
    /// The `Content-Type` to answer with.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::V100 => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        }
    }
}

/// The format of a scraped body by its `Content-Type`; `fallback` is what the configuration says for targets
/// that name none.
pub fn format_of_content_type(
    content_type: &str,
    fallback: Option<BodyFormat>,
) -> Result<BodyFormat, UnknownContentType> {
    let named = if content_type.is_empty() {
        Err(UnknownContentType::Blank)
    } else {
        match MediaType::parse(content_type) {
            None => Err(UnknownContentType::Malformed { content_type: content_type.to_owned() }),
            Some(media) => match media.name.to_ascii_lowercase().as_str() {
                "text/plain" => Ok(BodyFormat::Text(Format::Text)),
                "application/openmetrics-text" => Ok(BodyFormat::Text(Format::OpenMetrics)),
                // Prometheus looks no closer, and neither do targets always say it all.
                "application/vnd.google.protobuf" => Ok(BodyFormat::Delimited),
                _ => Err(UnknownContentType::Unsupported { content_type: content_type.to_owned() }),
            },
        }
    };
    named.or_else(|unknown| fallback.ok_or(unknown))
}

/// The flavour of the text format to answer with. 0.0.4 is what everything reads, so it is also the answer to an
/// `Accept` that names only other formats.
pub fn choose_for_accept(accept: Option<&str>) -> TextVersion {
    let mut best = (0.0, TextVersion::V004);
    for entry in accept.unwrap_or_default().split(',') {
        let Some(media) = MediaType::parse(entry) else { continue };
        let version = match (media.name, media.parameter("version")) {
            ("text/plain", Some("1.0.0")) if media.parameter("escaping") == Some("allow-utf-8") => {
                TextVersion::V100
            }
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => TextVersion::V004,
            _ => continue,
        };
        let weight = media.weight();
        if weight > best.0 {
            best = (weight, version);
        }
    }
    best.1
}

/// The `Content-Type` of the protobuf format, families with their lengths in front.
pub const DELIMITED_CONTENT_TYPE: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// What is answered to an `Accept`, and how names are to be escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated<'a> {
    /// Whether in the protobuf format; else as text.
    pub is_delimited: bool,
    /// The word of the last `escaping` up to the entry that was chosen.
    pub escaping: Option<&'a str>,
}

/// Chooses between protobuf and text, as Prometheus does: the entry of the greatest weight, of equals the first.
pub fn negotiate(accept: &str) -> Negotiated<'_> {
    let mut entries: Vec<_> = accept.split(',').filter_map(MediaType::parse).collect();
    entries.sort_by(|left, right| right.weight().total_cmp(&left.weight()));
    let mut escaping = None;
    for media in entries {
        escaping = media.parameter("escaping").or(escaping);
        let is_delimited = media.is_delimited();
        let is_text = media.name == "text/plain"
            && matches!(media.parameter("version"), None | Some("0.0.4" | "1.0.0"));
        if is_delimited || is_text {
            return Negotiated { is_delimited, escaping };
        }
    }
    Negotiated { is_delimited: false, escaping }
}

/// `type/subtype; name=value; …`
struct MediaType<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaType<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (name, mut rest) = text.split_once(';').unwrap_or((text, ""));
        let name = name.trim();
        let (main, sub) = name.split_once('/').unwrap_or((name, "x"));
        if !is_token(main) || !is_token(sub) {
            return None;
        }
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        while !rest.trim().is_empty() {
            let (key, after) = rest.split_once('=')?;
            let (value, after) = parameter_value(after)?;
            let key = key.trim();
            if !is_token(key) || parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(key)) {
                return None;
            }
            parameters.push((key, value));
            rest = after.trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(';')?;
            }
        }
        Some(Self { name, parameters })
    }

    fn weight(&self) -> f64 {
        self.parameter("q").map_or(1.0, |weight| weight.parse::<f64>().unwrap_or(0.0))
    }

    fn is_delimited(&self) -> bool {
        self.name.eq_ignore_ascii_case("application/vnd.google.protobuf")
            && self.parameter("proto") == Some("io.prometheus.client.MetricFamily")
            && self.parameter("encoding") == Some("delimited")
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// A token or a quoted string (its escapes are left as they are), and what follows it.
fn parameter_value(text: &str) -> Option<(&str, &str)> {
    if text.starts_with('"') {
        let end = crate::scan::string_end(text.as_bytes(), 0).ok()?;
        return Some((&text[1..end - 1], &text[end..]));
    }
    let end = text.find(|c: char| !is_token_char(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for (content_type, format) in [
            ("text/plain", BodyFormat::Text(Format::Text)),
            ("text/plain; version=0.0.4; charset=utf-8", BodyFormat::Text(Format::Text)),
            ("TEXT/Plain;charset=\"utf-8\";", BodyFormat::Text(Format::Text)),
            ("application/openmetrics-text; version=1.0.0", BodyFormat::Text(Format::OpenMetrics)),
            (DELIMITED_CONTENT_TYPE, BodyFormat::Delimited),
        ] {
            assert_eq!(format_of_content_type(content_type, None), Ok(format), "{content_type}");
        }
        for content_type in
            ["", "text/html", "text/plain; =", "text/plain; a", "te xt/plain", "text/plain; a=1; a=2"]
        {
            assert!(format_of_content_type(content_type, None).is_err(), "{content_type}");
            let text = BodyFormat::Text(Format::Text);
            assert_eq!(format_of_content_type(content_type, Some(text)), Ok(text));
        }
    }

    /// As Prometheus 3.5.3's `/federate` answers.
    #[test]
    fn the_heaviest_entry_is_chosen() {
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let text = "text/plain;version=1.0.0;escaping=allow-utf-8";
        for (accept, is_delimited, escaping) in [
            (format!("{protobuf};q=0.6,{text};q=0.3,*/*;q=0.1"), true, None),
            (format!("{protobuf};escaping=dots"), true, Some("dots")),
            (
                format!("text/plain;version=0.0.4;q=0.1,{protobuf};escaping=values;q=0.9"),
                true,
                Some("values"),
            ),
            (format!("text/plain,{protobuf}"), false, None),
            (format!("{protobuf},text/plain"), true, None),
            (text.to_owned(), false, Some("allow-utf-8")),
            ("*/*;escaping=dots".to_owned(), false, Some("dots")),
            (
                "text/plain;version=0.0.4;q=0.5,application/json;escaping=dots;q=0.9".to_owned(),
                false,
                Some("dots"),
            ),
            (protobuf.replace("delimited", "other"), false, None),
            (String::new(), false, None),
        ] {
            assert_eq!(negotiate(&accept), Negotiated { is_delimited, escaping }, "{accept}");
        }
    }

    #[test]
    fn accept_headers() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, version) in [
            (None, TextVersion::V004),
            (Some(""), TextVersion::V004),
            (Some(prometheus), TextVersion::V100),
            (Some("text/plain;version=0.0.4"), TextVersion::V004),
            (Some("text/html,*/*;q=0.8"), TextVersion::V004),
            (Some("text/plain;version=1.0.0;escaping=underscores"), TextVersion::V004),
            (Some("application/json"), TextVersion::V004),
        ] {
            assert_eq!(choose_for_accept(accept), version, "{accept:?}");
        }
    }
}
