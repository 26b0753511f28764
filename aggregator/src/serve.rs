//! `serve`: puts the parts together, says `ready`, and takes them apart again when told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use vedette_api::{Admin, ApiState, BuildInfo, Lifecycle, PushAnswer, PushReceiver, ServerFacts};
use vedette_daemon::logging::LogLevel;
use vedette_daemon::{build, clock, data_format, notify};
use vedette_ingest::{Ingest, RemoteWrite};
use vedette_promql::Engine;
use vedette_storage::Storage;
use vedette_transport::{Group, create_folder, replace_identity, server_endpoint};
use vedette_wire::session::CloseCode;

use crate::DATA_FORMAT;
use crate::admin::StorageAdmin;
use crate::backup::Snapshots;
use crate::cli::Flags;
use crate::config::Config;
use crate::control::Control;
use crate::facts::Reloads;
use crate::http::HttpServer;
use crate::lifecycle::{Request, Requests};
use crate::report::first_steps;
use crate::status::{Place, Status};
use crate::{advertise, control, facts, metrics};

/// Time between two looks at what storage has to do in the background.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at the age of the own certificate.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(3600);
/// How long sessions and requests may take to end.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

pub(crate) fn run(flags: &Flags, config: Config, log_level: &LogLevel) -> Result<()> {
    config.idle_features.say();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(serve(flags, config, log_level));
    // Queries on blocking threads were told to stop; one that does not listen ends with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(flags: &Flags, config: Config, log_level: &LogLevel) -> Result<()> {
    let mut signals = Signals::new()?;
    // Only who runs the aggregator may look at its keys and data.
    create_folder(&config.path)?;
    data_format::check(&config.path, DATA_FORMAT)?;
    if let Err(error) = data_format::note(&config.path, DATA_FORMAT) {
        tracing::warn!(%error, "the format of the data can not be noted: a package of an older release will not know of it");
    }
    let opening = tokio::task::spawn_blocking({
        let storage = config.storage.clone();
        move || Storage::open(storage, clock::now())
    });
    let storage = tokio::select! {
        opened = opening => opened??,
        // There is nothing yet that a reload could change.
        Told::End = signals.next() => return Ok(()),
    };
    let (requests, mut requested) = Requests::new();
    let running = Running::start(flags, &config, storage, requests).await?;
    let served = running.until_told(flags, config, log_level, (&mut signals, &mut requested)).await;
    running.end().await;
    served
}

struct Running {
    storage: Storage,
    group: Arc<Group>,
    endpoint: quinn::Endpoint,
    maintenance: Maintenance,
    ready: Arc<AtomicBool>,
    reloads: Arc<Reloads>,
    stop: CancellationToken,
    tasks: tokio::sync::Mutex<JoinSet<&'static str>>,
}

impl Running {
    async fn start(flags: &Flags, config: &Config, storage: Storage, requests: Requests) -> Result<Self> {
        let configured = advertise::addresses(config, config.quic_listen);
        let founding = !Group::exists(&config.path)?;
        let group = Arc::new(Group::open(&config.path, &configured, clock::now())?);
        if founding {
            group.members().set_lease(config.lease)?;
        }
        // Its text says all: the chain would say it twice.
        let endpoint = server_endpoint(config.quic_listen, &group.identity())
            .map_err(|error| anyhow!(error.to_string()))?;
        // Another than configured where the system chose the port.
        let advertised = advertise::addresses(config, endpoint.local_addr()?);
        group.announce(&advertised)?;
        let registry = prometheus::Registry::new();
        let ingest = Ingest::new(
            storage.clone(),
            Arc::clone(&group),
            endpoint.clone(),
            config.ingest.clone(),
            format!("vedette-aggregator {}", build::VERSION),
            &registry,
        )?;
        let http =
            TcpListener::bind(config.web_listen).await.with_context(|| config.web_listen.to_string())?;
        let http_address = http.local_addr()?;
        let place = Place {
            path: config.path.clone(),
            url: advertise::url(http_address, &advertised),
            advertised: advertised.clone(),
            retention_ms: config.storage.retention_ms,
        };
        let status = Arc::new(Status {
            storage: storage.clone(),
            ingest: ingest.clone(),
            group: Arc::clone(&group),
            external_labels: config.external_labels.clone(),
            place,
        });
        metrics::register(&registry, Arc::clone(&status))?;
        let ready = Arc::new(AtomicBool::new(false));
        let server = HttpServer::new(config.http.clone(), &registry)?;
        let reloads = Arc::new(Reloads::new(clock::now(), config));
        let facts = facts::server(flags, config);
        let parts = ApiParts {
            config,
            storage: &storage,
            ingest: &ingest,
            status: &status,
            ready: &ready,
            reloads: &reloads,
        };
        let router = vedette_api::router(parts.state(facts, registry, requests))?;
        let socket = control::listen(&config.path)?;
        let control = Arc::new(Control {
            group: Arc::clone(&group),
            status: Arc::clone(&status),
            snapshots: Snapshots::new(storage.clone(), &config.path),
        });

        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let told = stop.clone();
        tasks.spawn(async move {
            server.serve(http, router, told).await;
            "http"
        });
        let told = stop.clone();
        tasks.spawn(async move {
            ingest.serve(told).await;
            "quic"
        });
        let told = stop.clone();
        tasks.spawn(async move {
            control::serve(socket, control, told).await;
            "control"
        });
        let maintenance = Maintenance::start(storage.clone())?;
        ready.store(true, Ordering::Release);
        say_ready(config, http_address, endpoint.local_addr()?, &advertised, &group);
        say_first_steps(&status);
        Ok(Self { storage, group, endpoint, maintenance, ready, reloads, stop, tasks: tasks.into() })
    }

    /// Returns when a signal says so, or when a part has ended that should not have.
    async fn until_told(
        &self,
        flags: &Flags,
        mut config: Config,
        log_level: &LogLevel,
        (signals, requested): (&mut Signals, &mut mpsc::Receiver<Request>),
    ) -> Result<()> {
        let mut renewal = tokio::time::interval(RENEWAL_INTERVAL);
        let mut watchdog = notify::watchdog_interval().map(tokio::time::interval);
        let mut tasks = self.tasks.lock().await;
        loop {
            tokio::select! {
                told = signals.next() => match told {
                    Told::End => return Ok(()),
                    Told::Reload => {
                        // What went wrong was logged.
                        self.reload(flags, &mut config, log_level).ok();
                    }
                },
                Some(request) = requested.recv() => match request {
                    Request::Quit => return Ok(()),
                    Request::Reload(answer) => {
                        // Who has gone does not need to know.
                        answer.send(self.reload(flags, &mut config, log_level)).ok();
                    }
                },
                _ = renewal.tick() => self.renew(),
                () = tick(watchdog.as_mut()) => notify::watchdog(),
                Some(ended) = tasks.join_next() => match ended {
                    Ok(name) => bail!("{name} ended by itself"),
                    Err(error) => bail!("a task failed: {error}"),
                },
            }
        }
    }

    fn reload(&self, flags: &Flags, config: &mut Config, log_level: &LogLevel) -> Result<(), String> {
        notify::reloading();
        let reloaded = reload(flags, config, log_level, &self.reloads);
        notify::ready();
        reloaded
    }

    fn renew(&self) {
        let renewed = match self.group.renew(clock::now()) {
            Ok(Some(identity)) => {
                replace_identity(&self.endpoint, &identity).map_err(|error| error.to_string())
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = renewed {
            tracing::error!(error, "the own certificate could not be renewed");
        }
    }

    async fn end(self) {
        tracing::info!("stopping");
        self.ready.store(false, Ordering::Release);
        notify::stopping();
        self.stop.cancel();
        let mut tasks = self.tasks.into_inner();
        let ending = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL_MAX, ending).await.is_err() {
            tracing::info!("requests or sessions still ran and were cut off");
        }
        self.endpoint
            .close(quinn::VarInt::from_u32(CloseCode::ShuttingDown.code()), b"the replica is going away");
        tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await.ok();
        let (storage, maintenance) = (self.storage, self.maintenance);
        let closed = tokio::task::spawn_blocking(move || {
            storage.flush_and_close();
            maintenance.end();
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "storage did not close");
        }
        tracing::info!("stopped");
    }
}

/// What the API serves from.
struct ApiParts<'a> {
    config: &'a Config,
    storage: &'a Storage,
    ingest: &'a Ingest,
    status: &'a Arc<Status>,
    ready: &'a Arc<AtomicBool>,
    reloads: &'a Arc<Reloads>,
}

impl ApiParts<'_> {
    fn state(&self, facts: ServerFacts, registry: prometheus::Registry, requests: Requests) -> ApiState {
        let config = self.config;
        let (storage, status) = (self.storage.clone(), Arc::clone(self.status));
        let admin = StorageAdmin::new(storage.clone(), status.ingest.clone(), &config.path);
        ApiState {
            engine: Engine::new(config.engine.clone()),
            parse_options: config.parse,
            source: Arc::new({
                let storage = storage.clone();
                move |now| Box::new(storage.view(now))
            }),
            agents: Arc::new(move |_| status.agents()),
            push: push_receiver(self.ingest.remote_write()),
            targets: Arc::new({
                let status = Arc::clone(self.status);
                move || status.targets()
            }),
            runtime: facts::runtime(storage, config.query.memory_bytes_max, Arc::clone(self.reloads)),
            admin: config.admin_api.then(|| Arc::new(admin) as Arc<dyn Admin>),
            lifecycle: config.lifecycle.then(|| Arc::new(requests) as Arc<dyn Lifecycle>),
            clock: Arc::new(clock::now),
            limits: config.query.clone(),
            read: config.read.clone(),
            ready: Arc::clone(self.ready),
            build: BuildInfo { version: build::VERSION.to_owned(), revision: build::REVISION.to_owned() },
            facts,
            external_labels: config.external_labels.clone(),
            origins: config.origins.clone(),
            registry,
        }
    }
}

/// Between the HTTP side, which knows no ingest, and ingest, which knows no HTTP.
fn push_receiver(remote_write: RemoteWrite) -> PushReceiver {
    PushReceiver {
        body_bytes_max: remote_write.request_bytes_max(),
        write: Arc::new(move |body| {
            let remote_write = remote_write.clone();
            Box::pin(async move {
                match remote_write.write(body).await {
                    vedette_ingest::PushAnswer::Written => PushAnswer::Written,
                    vedette_ingest::PushAnswer::Rejected(message) => PushAnswer::Rejected(message),
                    vedette_ingest::PushAnswer::TooLong(message) => PushAnswer::TooLong(message),
                    vedette_ingest::PushAnswer::Overloaded { message, retry_after } => {
                        PushAnswer::Overloaded { message, retry_after }
                    }
                }
            })
        }),
    }
}

fn say_ready(config: &Config, http: SocketAddr, quic: SocketAddr, advertised: &[String], group: &Group) {
    tracing::info!(
        http = %format_args!("http://{http}"),
        %quic,
        advertised = advertised.join(","),
        replica = %group.replica(),
        path = %config.path.display(),
        version = build::VERSION,
        "ready"
    );
    notify::ready();
}

/// Whoever has just installed it looks here.
fn say_first_steps(status: &Status) {
    if status.agent_names().is_empty() {
        for step in first_steps(&status.place.url) {
            tracing::info!(step, "no agent is enrolled yet; next");
        }
    }
}

/// Takes up the new configuration; the old one stays when the new one is wrong.
fn reload(flags: &Flags, config: &mut Config, log_level: &LogLevel, reloads: &Reloads) -> Result<(), String> {
    let new = match Config::load(flags) {
        Ok(new) => new,
        Err(error) => {
            reloads.failed();
            tracing::error!(%error, "configuration not reloaded, the old one stays");
            return Err(error.to_string());
        }
    };
    reloads.succeeded(clock::now(), &new);
    // What is said of it is for the more talkative of the two levels.
    log_level.set(new.log_level.max(config.log_level));
    // Everything else is built into what runs.
    let (log_level_before, text) = (config.log_level, config.text.clone());
    let otherwise_new = Config { log_level: log_level_before, text, ..new.clone() };
    let needs_restart = format!("{otherwise_new:?}") != format!("{config:?}");
    if needs_restart {
        tracing::warn!(
            "configuration reloaded: the log's level is in force, the other changes need a restart"
        );
    } else {
        tracing::info!("configuration reloaded");
    }
    log_level.set(new.log_level);
    config.log_level = new.log_level;
    Ok(())
}

/// The next tick; never where there is none.
async fn tick(interval: Option<&mut tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}

/// What a signal asks for.
enum Told {
    End,
    Reload,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.reload.recv() => Told::Reload,
        }
    }
}

/// The thread that lets storage freeze, merge and drop what is due.
struct Maintenance {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Maintenance {
    fn start(storage: Storage) -> Result<Self> {
        let (stop, stopped) = sync_channel(1);
        let thread = std::thread::Builder::new().name("maintenance".to_owned()).spawn(move || {
            while stopped.recv_timeout(MAINTENANCE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                storage.maintain(clock::now());
            }
        })?;
        Ok(Self { stop, thread })
    }

    fn end(self) {
        // Full only when it was told already, disconnected only when the thread has ended.
        self.stop.try_send(()).ok();
        if self.thread.join().is_err() {
            tracing::error!("the maintenance thread failed");
        }
    }
}
