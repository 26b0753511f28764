use std::time::Duration;

use vedette_collector::{CollectorHealth, Gathered, Registry};
use vedette_exposition::{SeriesError, parse_series};
use vedette_model::{INSTANCE_LABEL, JOB_LABEL, Labels, METRIC_NAME};
use vedette_wire::{SeriesDescription, SetOutcome, TargetTable};

use crate::report::CollectorReport;

/// The job of the host's own series.
const JOB: &str = "node";

/// The host itself as a target, as Prometheus would have it after a scrape of node_exporter.
pub(crate) struct Node {
    registry: Registry,
    gathered: Gathered,
    table: TargetTable,
    order: Order,
    /// `job`, `instance` and the external labels.
    labels: Labels,
}

/// Which series of the table the gathered samples are, one after the other.
#[derive(Default)]
struct Order {
    series: Vec<u32>,
    /// Of which keys, and of which indices: versions of [`Gathered`] and [`TargetTable`].
    of: Option<(u64, u64)>,
}

/// What one collection came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeRow {
    /// Values in the row, stale markers not counted.
    pub(crate) samples: u64,
    /// Series for which there was no room.
    pub(crate) refused: u64,
}

impl Node {
    pub(crate) fn new(registry: Registry, name: &str, external_labels: &Labels) -> Self {
        let mut labels = external_labels.to_builder();
        labels.set(JOB_LABEL, JOB).set(INSTANCE_LABEL, name);
        let (gathered, table) = (Gathered::new(), TargetTable::new());
        Self { registry, gathered, table, order: Order::default(), labels: labels.finish() }
    }

    /// Other collectors from now on; series that they do not have any more end.
    pub(crate) fn set_registry(&mut self, registry: Registry) {
        self.registry = registry;
    }

    /// How the collectors are.
    pub(crate) fn collectors(&self) -> Vec<CollectorReport> {
        let of = |(name, health): (&str, &CollectorHealth)| {
            let (state, reason) = match health {
                CollectorHealth::Unknown => ("unknown", None),
                CollectorHealth::Fine => ("ok", None),
                CollectorHealth::NoData(reason) => ("no_data", Some(reason.clone())),
                CollectorHealth::Failing(reason) => ("failed", Some(reason.clone())),
            };
            CollectorReport { name: name.to_owned(), state: state.to_owned(), reason }
        };
        self.registry.health().map(of).collect()
    }

    /// The labels of its series.
    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Runs the collectors.
    pub(crate) fn gather(&mut self) {
        self.gathered.clear();
        self.registry.gather(&mut self.gathered);
    }

    /// For what others know of this host.
    pub(crate) fn gathered_mut(&mut self) -> &mut Gathered {
        &mut self.gathered
    }

    /// Takes what was gathered into the table: its row is ready afterwards.
    pub(crate) fn fill_row(&mut self, duration: Duration) -> NodeRow {
        let mut row = NodeRow::default();
        self.table.begin_row();
        let of = Some((self.gathered.keys_version(), self.table.generation()));
        let added = if self.order.of == of {
            self.set_again();
            0
        } else {
            self.order.of = None;
            let added = self.set_all(&mut row);
            if row.refused == 0 {
                self.order.of = of;
            }
            added
        };
        let Self { gathered, table, labels, .. } = self;
        let samples = gathered.samples_len() as f64;
        let synthetic = [
            ("up", 1.0),
            ("scrape_duration_seconds", duration.as_secs_f64()),
            ("scrape_samples_scraped", samples),
            ("scrape_samples_post_metric_relabeling", samples),
            ("scrape_series_added", added as f64),
        ];
        for (name, value) in synthetic {
            let described = table.set(name.as_bytes(), value, || describe(name.as_bytes(), name, labels));
            row.refused += u64::from(!matches!(described, Ok(SetOutcome::Known | SetOutcome::New)));
        }
        row.samples = table.finish_row().samples as u64;
        row
    }

    /// The same series as in the row before: their keys need not be looked at.
    fn set_again(&mut self) {
        for (series, value) in self.order.series.iter().zip(self.gathered.values()) {
            self.table.set_at(*series, value);
        }
    }

    /// Looks each series up by its key, and notes which ones they are; gives how many are new.
    fn set_all(&mut self, row: &mut NodeRow) -> u64 {
        let Self { gathered, table, labels, order, .. } = self;
        let mut added = 0;
        order.series.clear();
        for family in gathered.families() {
            table.note_family(family.name, family.kind, "", family.help);
            for (key, value) in family.samples() {
                match table.set(key, value, || describe(key, family.name, labels)) {
                    Ok(SetOutcome::Known) => {}
                    Ok(SetOutcome::New) => added += 1,
                    Ok(SetOutcome::Duplicate | SetOutcome::SeriesLimit) | Err(_) => {
                        row.refused += 1;
                        continue;
                    }
                }
                order.series.extend(table.last_set());
            }
        }
        added
    }

    pub(crate) fn table(&self) -> &TargetTable {
        &self.table
    }

    pub(crate) fn table_mut(&mut self) -> &mut TargetTable {
        &mut self.table
    }

    /// What was gathered last, in the text format.
    pub(crate) fn write_text(&self, out: &mut Vec<u8>) {
        self.gathered.write_text(out);
    }
}

/// The labels of a series, as a scrape would give them.
fn describe(key: &[u8], family: &str, target: &Labels) -> Result<SeriesDescription, SeriesError> {
    let mut labels = parse_series(key)?.to_builder();
    for (name, value) in target {
        // None of the collectors has a label of these names; were there one, the host's word counts.
        if name != METRIC_NAME && labels.get(name).is_none() {
            labels.set(name, value);
        }
    }
    Ok(SeriesDescription { labels: labels.finish(), family: family.to_owned() })
}

#[cfg(test)]
mod tests {
    use vedette_collector::{CollectorsConfig, Paths};
    use vedette_model::is_stale;

    use super::*;

    fn value(node: &Node, labels: &Labels) -> Option<f64> {
        let table = node.table();
        (0..table.series_len()).find(|i| table.labels(*i) == Some(labels)).and_then(|i| table.row().get(i))
    }

    #[test]
    fn the_host_is_a_target_like_others() {
        let registry = Registry::new(&CollectorsConfig::default(), Paths::default()).expect("defaults");
        let external = Labels::from_pairs([("site", "lab"), ("job", "ignored")]);
        let mut node = Node::new(registry, "host-1", &external);
        node.gather();
        let row = node.fill_row(Duration::from_millis(3));
        assert_eq!(row.refused, 0);
        let labels = |name| {
            Labels::from_pairs([("__name__", name), ("job", "node"), ("instance", "host-1"), ("site", "lab")])
        };
        assert_eq!(value(&node, &labels("up")), Some(1.0));
        assert!(value(&node, &labels("node_load1")).is_some());
        assert_eq!(
            value(&node, &labels("scrape_series_added")),
            value(&node, &labels("scrape_samples_scraped"))
        );

        // Again and again: by index once nothing is new.
        let mut before = value(&node, &labels("node_time_seconds"));
        for _ in 0..4 {
            node.gather();
            let again = node.fill_row(Duration::from_millis(3));
            assert_eq!(again.samples as usize, node.gathered.samples_len() + 5);
            let now = value(&node, &labels("node_time_seconds"));
            assert!(now > before, "{now:?} after {before:?}");
            before = now;
        }
        assert_eq!(value(&node, &labels("up")), Some(1.0));
        assert_eq!(value(&node, &labels("scrape_series_added")), Some(0.0));

        let registry = Registry::new(
            &CollectorsConfig::default(),
            Paths { procfs: "/nowhere".into(), ..Paths::default() },
        );
        node.set_registry(registry.expect("defaults"));
        node.gather();
        node.fill_row(Duration::from_millis(3));
        assert!(value(&node, &labels("node_load1")).is_some_and(is_stale));
        assert_eq!(value(&node, &labels("up")), Some(1.0));
    }
}
