//! HTTP connections: so many at once, each with bounds on its time, so that a client that dawdles holds nothing for
//! ever.

mod target;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{IntCounter, IntGauge, Opts, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use target::EscapedTargets;

/// Pause after a connection could not be accepted: there are no descriptors, or no memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The longest head of a request; a query of this length is long even for a program.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// What connections may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpLimits {
    /// Connections at once; further ones are closed at once.
    pub(crate) connections_max: usize,
    /// How long a client may take to ask, the pause between two requests included.
    pub(crate) read_timeout: Duration,
    /// After this a connection ends with the answer that it is at. Whoever reads too slowly for it to end then is
    /// cut off after as long again.
    pub(crate) connection_age_max: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections_max: 512,
            read_timeout: Duration::from_secs(60),
            connection_age_max: Duration::from_secs(600),
        }
    }
}

/// The open connections.
pub(crate) struct HttpServer {
    limits: HttpLimits,
    places: Arc<Semaphore>,
    open: IntGauge,
    refused: IntCounter,
}

impl HttpServer {
    pub(crate) fn new(limits: HttpLimits, registry: &Registry) -> Result<Self, prometheus::Error> {
        let open = IntGauge::with_opts(Opts::new(
            "vedette_aggregator_http_connections",
            "HTTP connections that are open.",
        ))?;
        let refused = IntCounter::with_opts(Opts::new(
            "vedette_aggregator_http_connections_refused_total",
            "HTTP connections closed at once because limits.http_connections_max were open.",
        ))?;
        registry.register(Box::new(open.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        let places = Arc::new(Semaphore::new(limits.connections_max));
        Ok(Self { limits, places, open, refused })
    }

    /// Answers until `stop`, then until the answers under way are out.
    pub(crate) async fn serve(self, listener: TcpListener, router: Router, stop: CancellationToken) {
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "can not accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.refused.inc();
                tracing::debug!(%address, "too many HTTP connections");
                continue;
            };
            let open = Open::new(self.open.clone(), place);
            connections.spawn(converse(stream, router.clone(), self.limits.clone(), stop.clone(), open));
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }
}

/// A connection's place, and its part in the gauge.
struct Open {
    open: IntGauge,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(open: IntGauge, place: OwnedSemaphorePermit) -> Self {
        open.inc();
        Self { open, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.dec();
    }
}

async fn converse(
    stream: TcpStream,
    router: Router,
    limits: HttpLimits,
    stop: CancellationToken,
    open: Open,
) {
    // Answers are written whole, or in chunks worth a packet: waiting for more only delays them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.read_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(EscapedTargets::new(stream)), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = tokio::time::sleep(limits.connection_age_max) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.connection_age_max, connection).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
    drop(open);
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    struct Fixture {
        address: std::net::SocketAddr,
        registry: Registry,
        stop: CancellationToken,
        serving: tokio::task::JoinHandle<()>,
    }

    impl Fixture {
        async fn start(limits: HttpLimits) -> Self {
            let registry = Registry::new();
            let server = HttpServer::new(limits, &registry).expect("fresh registry");
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
            let address = listener.local_addr().expect("bound");
            let stop = CancellationToken::new();
            let router = Router::new()
                .route("/", get(async || "hello"))
                .route("/target", get(async |uri: axum::http::Uri| uri.to_string()));
            let serving = tokio::spawn(server.serve(listener, router, stop.clone()));
            Self { address, registry, stop, serving }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.expect("listens")
        }

        fn refused(&self) -> f64 {
            let families = self.registry.gather();
            let family = families.iter().find(|family| family.name().ends_with("refused_total"));
            family.map_or(f64::NAN, |family| family.get_metric()[0].get_counter().get_value())
        }
    }

    async fn read_all(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        // A reset is an end as well.
        stream.read_to_end(&mut text).await.unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn who_does_not_finish_asking_is_cut_off() {
        let limits = HttpLimits { read_timeout: Duration::from_millis(100), ..HttpLimits::default() };
        let server = Fixture::start(limits).await;
        let mut slow = server.connect().await;
        slow.write_all(b"GET / HT").await.expect("open");
        let mut idle = server.connect().await;
        idle.write_all(ASK).await.expect("open");
        assert_eq!(read_all(slow).await, "");
        assert!(read_all(idle).await.ends_with("hello"), "an idle connection ends after its answer");
    }

    #[tokio::test]
    async fn targets_need_not_be_escaped() {
        let server = Fixture::start(HttpLimits::default()).await;
        let mut client = server.connect().await;
        let ask = b"GET /target?a{b=\"c\"}>1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(ask).await.expect("open");
        let answer = read_all(client).await;
        assert!(answer.ends_with("/target?a{b=%22c%22}%3E1"), "{answer}");
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let server = Fixture::start(HttpLimits { connections_max: 1, ..HttpLimits::default() }).await;
        let mut first = server.connect().await;
        first.write_all(ASK).await.expect("open");
        let mut byte = [0];
        first.read_exact(&mut byte).await.expect("an answer comes");
        assert_eq!(read_all(server.connect().await).await, "");
        assert!(server.refused() >= 1.0);
        drop(first);
        loop {
            let mut next = server.connect().await;
            if next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.is_ok()
                && read_all(next).await.ends_with("hello")
            {
                return;
            }
        }
    }

    #[tokio::test]
    async fn stopping_closes_what_is_idle() {
        let server = Fixture::start(HttpLimits::default()).await;
        let mut idle = server.connect().await;
        idle.write_all(ASK).await.expect("open");
        let mut byte = [0];
        idle.read_exact(&mut byte).await.expect("an answer comes");
        server.stop.cancel();
        assert!(read_all(idle).await.ends_with("hello"));
        server.serving.await.expect("ends");
    }
}
