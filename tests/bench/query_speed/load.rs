//! Brings the same data to all servers, and counts what that costs them.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context as _, Result, ensure};
use vedette_tests::push::{PushClient, Pushed, compress, encode};
use vedette_tests::unix_ms;

use crate::data::{Host, STEP_MS};
use crate::servers::Server;

/// Scrapes that one request of the bulk has of each series: five minutes.
const BULK_SCRAPES: usize = 20;
/// Scrapes that come as Prometheus sends them.
const LIVE_SCRAPES: usize = 40;
/// As Prometheus' `max_samples_per_send`.
const LIVE_SAMPLES_MAX: usize = 2000;
/// Requests on their way to a server.
const REQUESTS_MAX: usize = 4;
const FILE: &str = "extent";

/// Which data there is.
pub(crate) struct Extent {
    pub(crate) hosts: usize,
    pub(crate) hours: i64,
    /// The last scrape is before.
    pub(crate) end_ms: i64,
    series: u64,
}

impl Extent {
    /// Prometheus takes only what is recent.
    pub(crate) fn ending_now(hosts: usize, hours: i64) -> Result<Self> {
        let end_ms = unix_ms() / 60_000 * 60_000;
        let series = (0..hosts).map(|number| Host::new(number).len() as u64).sum();
        Ok(Self { hosts, hours, end_ms, series })
    }

    /// What an earlier run has left in a folder.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)?;
        let numbers: Vec<i64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [hosts, hours, end_ms, series] = numbers[..] else {
            anyhow::bail!("{} is no extent", path.display())
        };
        Ok(Some(Self { hosts: usize::try_from(hosts)?, hours, end_ms, series: u64::try_from(series)? }))
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        let Self { hosts, hours, end_ms, series } = self;
        std::fs::write(dir.join(FILE), format!("{hosts} {hours} {end_ms} {series}\n"))?;
        Ok(())
    }

    pub(crate) fn start_ms(&self) -> i64 {
        self.end_ms - self.hours * 3_600_000
    }

    pub(crate) fn scrapes(&self) -> usize {
        (self.hours * 3_600_000 / STEP_MS) as usize
    }

    pub(crate) fn samples(&self) -> u64 {
        self.series * self.scrapes() as u64
    }
}

/// Seconds of processor time for a million samples.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) bulk: f64,
    pub(crate) live: f64,
}

/// Writes everything to all servers; gives what it cost each of them.
pub(crate) fn load(extent: &Extent, servers: &mut [Server]) -> Result<Vec<Cost>> {
    let mut hosts: Vec<Host> = (0..extent.hosts).map(Host::new).collect();
    // Half a step before: the jitter does not take the last one past the end.
    let first_ms = extent.start_ms() + STEP_MS / 2;
    let bulk = extent.scrapes() - LIVE_SCRAPES;
    let mut costs = vec![Cost::default(); servers.len()];
    let millions = |scrapes: usize| extent.samples() as f64 / 1e6 * scrapes as f64 / extent.scrapes() as f64;

    let begin = processor_seconds(servers)?;
    broadcast(servers, |send| {
        for from in (0..bulk).step_by(BULK_SCRAPES) {
            let scrapes = BULK_SCRAPES.min(bulk - from);
            for host in &mut hosts {
                let columns = host.scrape(first_ms + from as i64 * STEP_MS, scrapes);
                let series =
                    columns.into_iter().enumerate().map(|(place, samples)| pushed(host, place, samples));
                send(&series.collect::<Vec<_>>())?;
            }
        }
        Ok(())
    })?;
    // What they still do with it is part of the price.
    for server in servers.iter_mut() {
        server.settle()?;
    }
    let middle = processor_seconds(servers)?;
    broadcast(servers, |send| {
        let mut request = Vec::new();
        for scrape in bulk..extent.scrapes() {
            for host in &mut hosts {
                let columns = host.scrape(first_ms + scrape as i64 * STEP_MS, 1);
                for (place, samples) in columns.into_iter().enumerate() {
                    request.push(pushed(host, place, samples));
                    if request.len() == LIVE_SAMPLES_MAX {
                        send(&request)?;
                        request.clear();
                    }
                }
            }
        }
        if request.is_empty() { Ok(()) } else { send(&request) }
    })?;
    let end = processor_seconds(servers)?;
    for (place, cost) in costs.iter_mut().enumerate() {
        cost.bulk = (middle[place] - begin[place]) / millions(bulk);
        cost.live = (end[place] - middle[place]) / millions(LIVE_SCRAPES);
    }
    Ok(costs)
}

fn pushed(host: &Host, place: usize, samples: Vec<(f64, i64)>) -> Pushed {
    let bytes = |text: &String| text.as_bytes().to_vec();
    let labels = host.labels(place).iter().map(|(name, value)| (bytes(name), bytes(value)));
    Pushed { labels: labels.collect(), samples, histograms: Vec::new() }
}

fn processor_seconds(servers: &mut [Server]) -> Result<Vec<f64>> {
    servers.iter_mut().map(|server| Ok(server.cpu()?.as_secs_f64())).collect()
}

/// Sends each request that `produce` makes to all servers, which take them at their own pace.
fn broadcast(
    servers: &[Server],
    produce: impl FnOnce(&mut dyn FnMut(&[Pushed]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    std::thread::scope(|scope| {
        let (mut queues, mut threads) = (Vec::new(), Vec::new());
        for server in servers {
            let (sender, receiver) = sync_channel::<Arc<Vec<u8>>>(REQUESTS_MAX);
            let client = server.push_client();
            queues.push(sender);
            threads.push(scope.spawn(move || deliver(&client, &receiver)));
        }
        let produced = produce(&mut |request| {
            let body = Arc::new(compress(&encode(request))?);
            for queue in &queues {
                queue.send(Arc::clone(&body)).context("a server takes no more")?;
            }
            Ok(())
        });
        drop(queues);
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a sender has panicked"))??;
        }
        produced
    })
}

fn deliver(client: &PushClient, requests: &Receiver<Arc<Vec<u8>>>) -> Result<()> {
    for body in requests {
        let reply = client.send(&body, &[])?;
        ensure!((200..300).contains(&reply.status), "{reply:?}");
    }
    Ok(())
}
