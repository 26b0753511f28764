//! The HTTP side: requests, redirects, decompression. A driver; what a body means is not its business.

mod body;
mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue,
    LOCATION, USER_AGENT,
};
use hyper::{HeaderMap, Request, Response, StatusCode, Uri, body::Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use vedette_model::number;

use crate::config::{Authentication, ScrapeConfig, ScrapeProtocol, SecretSource};
use crate::target::Target;

pub use tls::ClientError;

/// Redirects that are followed in one scrape.
const REDIRECTS_MAX: usize = 10;
/// As long as no sane scrape interval, so that connections are kept between scrapes.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// What a target answered, decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its `Content-Type`, or empty.
    pub content_type: String,
    /// The exposition.
    pub bytes: Vec<u8>,
}

/// Why nothing could be fetched. The texts are those of Prometheus where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// `scrape_timeout` passed.
    #[error("Get {url:?}: context deadline exceeded")]
    Timeout {
        /// What was asked for.
        url: String,
    },
    /// The server did not answer 200.
    #[error("server returned HTTP status {status}")]
    Status {
        /// Code and reason.
        status: String,
    },
    /// More than `body_size_limit`, after decompression.
    #[error("body size limit exceeded")]
    BodySizeLimit,
    /// Connection, TLS or protocol.
    #[error("Get {url:?}: {reason}")]
    Http {
        /// What was asked for.
        url: String,
        /// What went wrong, causes included.
        reason: String,
    },
    /// The body says gzip and is not.
    #[error("gzip: {reason}")]
    Gzip {
        /// What is wrong.
        reason: String,
    },
    /// A file named in the configuration cannot be read.
    #[error("unable to read file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The target is over its job's `target_limit`.
    #[error("{reason}")]
    Refused {
        /// Limit and number.
        reason: String,
    },
}

/// Fetches the targets of one scrape configuration over connections that are kept.
#[derive(Clone, Debug)]
pub struct ScrapeClient {
    http: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    user_agent: HeaderValue,
    accept: HeaderValue,
}

impl ScrapeClient {
    /// `version` goes into the User-Agent. Reads the files of `tls_config`.
    pub fn new(config: &ScrapeConfig, version: &str) -> Result<Self, ClientError> {
        let connector = tls::connector(config)?;
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(1)
            .build(connector);
        let user_agent = HeaderValue::from_str(&format!("Vedette/{version}"))
            .unwrap_or_else(|_| HeaderValue::from_static("Vedette"));
        let accept =
            HeaderValue::from_str(&accept_header(config)).unwrap_or_else(|_| HeaderValue::from_static("*/*"));
        Ok(Self { http, user_agent, accept })
    }

    /// One GET, within the target's timeout.
    pub async fn fetch(&self, target: &Target) -> Result<Body, FetchError> {
        if let Some(reason) = &target.refused {
            return Err(FetchError::Refused { reason: reason.to_string() });
        }
        match tokio::time::timeout(target.timeout, self.get(target)).await {
            Ok(fetched) => fetched,
            Err(_elapsed) => Err(FetchError::Timeout { url: target.url.clone() }),
        }
    }

    async fn get(&self, target: &Target) -> Result<Body, FetchError> {
        let secret = secret_headers(&target.config).await?;
        let mut url = target.url.clone();
        let first_host = host_of(&url);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.send(target, &url, (host_of(&url) == first_host).then_some(&secret)).await?;
            let status = response.status();
            if target.config.http.follow_redirects
                && let Some(next) = redirect(&response, &url)
            {
                url = next;
                continue;
            }
            if status != StatusCode::OK {
                let status = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or(""));
                return Err(FetchError::Status { status: status.trim_end().to_owned() });
            }
            return read(response, &url, target.config.limits.body_size).await;
        }
        Err(FetchError::Http { url, reason: format!("stopped after {REDIRECTS_MAX} redirects") })
    }

    async fn send(
        &self,
        target: &Target,
        url: &str,
        secret: Option<&HeaderMap>,
    ) -> Result<Response<Incoming>, FetchError> {
        let failed = |reason: String| FetchError::Http { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|problem| failed(format!("{problem}")))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, self.accept.clone());
        let encoding = if target.config.enable_compression { "gzip" } else { "identity" };
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Ok(seconds) = HeaderValue::from_str(&number::format_plain(target.timeout.as_secs_f64())) {
            headers.insert("x-prometheus-scrape-timeout-seconds", seconds);
        }
        for (name, value) in secret.into_iter().flatten() {
            headers.append(name.clone(), value.clone());
        }
        self.http.request(request).await.map_err(|error| failed(causes(&error)))
    }
}

async fn read(response: Response<Incoming>, url: &str, limit: u64) -> Result<Body, FetchError> {
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let content_type = header(CONTENT_TYPE).unwrap_or_default().to_owned();
    let is_gzip = header(CONTENT_ENCODING) == Some("gzip");
    let bytes = body::read(response.into_body(), url, is_gzip, limit).await?;
    Ok(Body { content_type, bytes })
}

/// As Prometheus asks: what is wanted most has the greatest weight, and anything will do in the end.
fn accept_header(config: &ScrapeConfig) -> String {
    let mut text = String::new();
    let mut weight = 6;
    for protocol in &config.scrape_protocols {
        let (media, may_escape) = match protocol {
            ScrapeProtocol::OpenMetricsText100 => ("application/openmetrics-text;version=1.0.0", true),
            ScrapeProtocol::OpenMetricsText001 => ("application/openmetrics-text;version=0.0.1", false),
            ScrapeProtocol::PrometheusText100 => ("text/plain;version=1.0.0", true),
            ScrapeProtocol::PrometheusText004 => ("text/plain;version=0.0.4", false),
            ScrapeProtocol::PrometheusProto => (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
                false,
            ),
        };
        text.push_str(media);
        if may_escape {
            text.push_str(";escaping=");
            text.push_str(config.escaping.as_str());
        }
        text.push_str(&format!(";q=0.{weight},"));
        weight -= 1;
    }
    text + &format!("*/*;q=0.{weight}")
}

/// The headers that only the target itself may see, not one that it redirects to.
async fn secret_headers(config: &ScrapeConfig) -> Result<HeaderMap, FetchError> {
    let mut headers = HeaderMap::new();
    let authorization = match &config.http.authentication {
        None => None,
        Some(Authentication::Basic { username, password }) => {
            let pair = format!("{}:{}", reveal(username).await?, reveal(password).await?);
            Some(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())))
        }
        Some(Authentication::Header { scheme, credentials }) => {
            Some(format!("{scheme} {}", reveal(credentials).await?))
        }
    };
    if let Some(text) = authorization {
        headers.insert(AUTHORIZATION, header_value("authorization", &text)?);
    }
    for (name, sources) in &config.http.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad_header(name))?;
        for source in sources {
            headers.append(parsed.clone(), header_value(name, &reveal(source).await?)?);
        }
    }
    Ok(headers)
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| bad_header(name))?;
    value.set_sensitive(true);
    Ok(value)
}

fn bad_header(name: &str) -> FetchError {
    FetchError::Http { url: String::new(), reason: format!("header {name:?} cannot be sent") }
}

async fn reveal(source: &SecretSource) -> Result<String, FetchError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.reveal().to_owned()),
        SecretSource::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(error) => {
                Err(FetchError::File { path: path.display().to_string(), reason: error.to_string() })
            }
        },
    }
}

/// Where a redirect points to, made absolute; `None` when it is none.
fn redirect(response: &Response<Incoming>, from: &str) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let from: Uri = from.parse().ok()?;
    let (scheme, host) = (from.scheme_str()?, from.authority()?);
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{host}{location}"));
    }
    let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    Some(format!("{scheme}://{host}{folder}/{location}"))
}

/// Scheme, host and port: what may see the credentials.
fn host_of(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    Some((uri.scheme_str()?.to_owned(), uri.authority()?.to_string()))
}

/// An error with its causes, which say what really happened.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
