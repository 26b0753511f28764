//! Something to scrape in the container: every answer has the next number, and is noted, so that it is known from
//! outside which samples there must be.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use vedette_tests::{GENEROUS, eventually};

use crate::container::Container;

/// Of Debian's essential packages, perl is the one that serves HTTP.
const SERVER: &str = r##"
use strict; use warnings; use IO::Socket::INET; use IO::Handle;
open(my $log, '>>', '/root/served') or die $!;
$log->autoflush(1);
my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 8080, Listen => 16, ReuseAddr => 1) or die $!;
my $number = 0;
$SIG{PIPE} = 'IGNORE';
while (my $client = $server->accept) {
    while (my $line = <$client>) { last if $line =~ /^\r?\n$/ }
    $number++;
    my $body = "# TYPE vedette_test_served gauge\nvedette_test_served $number\n";
    my $length = length $body;
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: $length\r\nConnection: close\r\n\r\n$body";
    close $client;
    print $log "$number\n";
}
"##;

/// Starts it.
pub(crate) fn start(container: &Container) -> Result<()> {
    std::fs::write(container.root().join("root/target.pl"), SERVER)?;
    container.run(&["systemd-run", "--quiet", "--unit=vedette-test-target", "perl", "/root/target.pl"])?;
    Ok(())
}

/// The numbers that were given out.
pub(crate) fn served(container: &Container) -> Result<BTreeSet<u64>> {
    let text = std::fs::read_to_string(container.root().join("root/served")).unwrap_or_default();
    text.lines().map(|line| line.parse().with_context(|| line.to_owned())).collect()
}

/// The numbers that are stored, and when each was scraped, in milliseconds; in the order of time.
pub(crate) fn stored(container: &Container) -> Result<Vec<(i64, u64)>> {
    let result = container.query("vedette_test_served[1h]")?;
    let Some(series) = result.first() else { return Ok(Vec::new()) };
    let values = series["values"].as_array().context("a matrix")?;
    let number = |value: &serde_json::Value| value.as_str().and_then(|text| text.parse().ok());
    let seconds = |value: &serde_json::Value| value.as_f64().map(|seconds| (seconds * 1000.0) as i64);
    let pairs = values.iter().map(|pair| Some((seconds(&pair[0])?, number(&pair[1])?)));
    pairs.collect::<Option<_>>().context("numbers")
}

/// Waits until so many more have been given out.
pub(crate) fn await_served(container: &Container, more: usize) -> Result<u64> {
    let already = served(container)?.len();
    eventually("the target is scraped", GENEROUS, || {
        let served = served(container)?;
        Ok(served.last().copied().filter(|_| served.len() >= already + more))
    })
}

/// Waits until so many more have been given out, and the last of these is stored.
pub(crate) fn await_stored(container: &Container, more: usize) -> Result<()> {
    let wanted = await_served(container, more)?;
    eventually("what was scraped is stored", GENEROUS, || {
        Ok(stored(container)?.iter().any(|(_, number)| *number >= wanted).then_some(()))
    })
}
