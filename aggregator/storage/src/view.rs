//! One consistent view over parts and heads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use roaring::RoaringBitmap;
use vedette_model::{
    Exemplar, Labels, METRIC_NAME, Matcher, MetadataEntry, SelectError, SelectGuard, SelectRequest,
    SeriesSource, SeriesStream, Timestamp,
};

use crate::absence::Absences;
use crate::ahead::Ahead;
use crate::cache::{OpenedCache, matchers_key};
use crate::catalogue::WritersTimes;
use crate::db::Db;
use crate::gathered::Gathered;
use crate::head::{EXEMPLAR_DISTANCE_MAX_MS, Head, labels_of};
use crate::histograms::newest_exemplars;
use crate::part::{Part, PartReader, ReadError};
use crate::statistics::Counters;
use crate::stream::{HeadSeries, MergedStream, Source, UP, Wanted};
use crate::tombstone::{self, Tombstone};

/// What the storage held at one moment. Implements [`SeriesSource`].
///
/// Series whose writer is gone read as absent: stale, and `up` as 0 (module `absence` says exactly how).
pub struct View {
    pub(crate) parts: Arc<Vec<Arc<Part>>>,
    /// The frozen head, if there is one, and the one that grows.
    pub(crate) heads: Vec<Arc<Head>>,
    pub(crate) tombstones: Arc<Vec<Tombstone>>,
    /// Batches after this one are not seen.
    pub(crate) version: u64,
    /// Samples before this are past retention.
    pub(crate) oldest: i64,
    pub(crate) now: Timestamp,
    /// Exemplars answered of one series and day.
    pub(crate) exemplars_max: usize,
    pub(crate) writers: Arc<WritersTimes>,
    /// Made of the two above when first needed: not under the storage's lock.
    pub(crate) absences: OnceLock<Arc<Absences>>,
    /// `None` while the storage reopens itself. Kept so that it is not closed under the view.
    pub(crate) db: Option<Arc<Db>>,
    pub(crate) opened: Arc<OpenedCache>,
    pub(crate) on_error: OnError,
    /// Asked by listings.
    pub(crate) guard: Option<Arc<dyn SelectGuard>>,
}

/// How read errors are counted and told.
pub(crate) type OnError = Arc<dyn Fn(ReadError) -> SelectError + Send + Sync>;

pub(crate) fn on_error(counters: Arc<Counters>) -> OnError {
    Arc::new(move |error| match error {
        ReadError::Stopped(error) => error,
        ReadError::Bytes { .. } => {
            counters.corrupt.fetch_add(1, Ordering::Relaxed);
            SelectError::Storage(error.to_string())
        }
        ReadError::Disk(_) => SelectError::Storage(error.to_string()),
    })
}

impl SeriesSource for View {
    fn set_guard(&mut self, guard: Arc<dyn SelectGuard>) {
        self.guard = Some(guard);
    }

    fn select<'a>(&'a self, request: &SelectRequest<'a>) -> Result<Box<dyn SeriesStream + 'a>, SelectError> {
        Ok(Box::new(Ahead::new(self.merged(request, false)?)))
    }

    fn select_newest<'a>(
        &'a self,
        request: &SelectRequest<'a>,
    ) -> Result<Box<dyn SeriesStream + 'a>, SelectError> {
        Ok(Box::new(Ahead::new(self.merged(request, true)?)))
    }

    fn series(&self, request: &SelectRequest<'_>) -> Result<Vec<Labels>, SelectError> {
        let (start, end) = self.range(request)?;
        let (mut all, mut gathered) = (BTreeSet::new(), self.gathered());
        for part in self.parts.iter().filter(|part| part.overlaps(start, end)) {
            let ordinals = self.present(part, request.matchers, (start, end), &mut gathered)?;
            let mut reader = PartReader::new(Arc::clone(part));
            for ordinal in ordinals {
                let labels = reader.labels(ordinal).map_err(self.on_error.as_ref())?;
                gathered.add_labels(&mut all, labels)?;
            }
        }
        for head in &self.heads {
            for labels in self.present_in_head(head, request.matchers, (start, end), &mut gathered)? {
                gathered.add_labels(&mut all, labels)?;
            }
        }
        all.extend(self.derived_up(request.matchers, start, end)?);
        self.drop_deleted(&mut all, request, (start, end), &mut gathered)?;
        gathered.tell(0)?;
        Ok(all.into_iter().collect())
    }

    fn label_names(&self, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        let (start, end) = self.range(request)?;
        let (mut names, mut gathered) = (BTreeSet::new(), self.gathered());
        for part in self.parts.iter().filter(|part| part.overlaps(start, end)) {
            if request.matchers.is_empty() && part.is_within(start, end) {
                part.label_names(None, &mut names).map_err(self.on_error.as_ref())?;
            } else {
                let ordinals = self.present(part, request.matchers, (start, end), &mut gathered)?;
                part.label_names(Some(&ordinals), &mut names).map_err(self.on_error.as_ref())?;
            }
        }
        for head in &self.heads {
            for labels in self.present_in_head(head, request.matchers, (start, end), &mut gathered)? {
                labels.iter().try_for_each(|(name, _)| gathered.add_text(&mut names, name))?;
            }
        }
        for labels in self.derived_up(request.matchers, start, end)? {
            labels.iter().try_for_each(|(name, _)| gathered.add_text(&mut names, name))?;
        }
        gathered.tell(0)?;
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, request: &SelectRequest<'_>) -> Result<Vec<String>, SelectError> {
        let (start, end) = self.range(request)?;
        let (mut values, mut gathered) = (BTreeSet::new(), self.gathered());
        for part in self.parts.iter().filter(|part| part.overlaps(start, end)) {
            let all = request.matchers.is_empty() && part.is_within(start, end);
            let ordinals = match all {
                true => RoaringBitmap::new(),
                false => self.present(part, request.matchers, (start, end), &mut gathered)?,
            };
            part.for_values(name, "", |value, postings| {
                if values.contains(value) || (!all && ordinals.is_disjoint(&postings()?)) {
                    return Ok(gathered.step()?);
                }
                Ok(gathered.add_text(&mut values, value)?)
            })
            .map_err(self.on_error.as_ref())?;
        }
        for head in &self.heads {
            let found = self.present_in_head(head, request.matchers, (start, end), &mut gathered)?;
            found
                .iter()
                .filter_map(|labels| labels.get(name))
                .try_for_each(|value| gathered.add_text(&mut values, value))?;
        }
        for labels in self.derived_up(request.matchers, start, end)? {
            labels.get(name).map_or(Ok(()), |value| gathered.add_text(&mut values, value))?;
        }
        gathered.tell(0)?;
        Ok(values.into_iter().collect())
    }

    fn exemplars(&self, request: &SelectRequest<'_>) -> Result<Vec<(Labels, Vec<Exemplar>)>, SelectError> {
        let (start, end) = self.range(request)?;
        let distance = EXEMPLAR_DISTANCE_MAX_MS as i64;
        let (from, to) = (start.saturating_sub(distance), end.saturating_add(distance));
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        let mut gathered = self.gathered();
        for part in self.parts.iter().filter(|part| part.overlaps(from, to)) {
            let mut reader = PartReader::new(Arc::clone(part));
            for ordinal in part.matching(request.matchers).map_err(self.on_error.as_ref())? {
                let exemplars = reader.exemplars(ordinal).map_err(self.on_error.as_ref())?;
                if exemplars.is_empty() {
                    gathered.step()?;
                } else {
                    let labels = reader.labels(ordinal).map_err(self.on_error.as_ref())?;
                    gathered.add_exemplars(&labels, &exemplars)?;
                    found.entry(labels).or_default().extend(exemplars);
                }
            }
        }
        for head in &self.heads {
            for series in self.head_series(head, request.matchers, from, to) {
                let exemplars: Vec<_> = series.exemplars().map(|(_, exemplar)| exemplar.clone()).collect();
                if exemplars.is_empty() {
                    gathered.step()?;
                } else {
                    gathered.add_exemplars(&series.labels, &exemplars)?;
                    found.entry(series.labels.clone()).or_default().extend(exemplars);
                }
            }
        }
        gathered.tell(0)?;
        let all = found.into_iter().map(|(labels, exemplars)| {
            let mut exemplars = newest_exemplars(exemplars, self.exemplars_max);
            exemplars.retain(|exemplar| (start..=end).contains(&exemplar.at_ms));
            tombstone::mask_exemplars(self.tombstones.iter(), &labels, &mut exemplars);
            (labels, exemplars)
        });
        Ok(all.filter(|(_, exemplars)| !exemplars.is_empty()).collect())
    }

    fn metadata(&self, metric: Option<&str>) -> Result<Vec<MetadataEntry>, SelectError> {
        self.check_open()?;
        let mut known = BTreeMap::new();
        let mut gathered = self.gathered();
        for part in self.parts.iter() {
            part.metadata(metric, |name, metadata| Ok(gathered.add_metadata(&mut known, name, metadata)?))
                .map_err(self.on_error.as_ref())?;
        }
        for head in &self.heads {
            let families = head.families().into_iter();
            families
                .filter(|(name, _)| metric.is_none_or(|metric| metric == name))
                .try_for_each(|(name, metadata)| gathered.add_metadata(&mut known, &name, metadata))?;
        }
        gathered.tell(0)?;
        let entries = known.into_iter().flat_map(|(metric, known)| {
            known.into_iter().map(move |metadata| MetadataEntry { metric: metric.clone(), metadata })
        });
        Ok(entries.collect())
    }
}

impl View {
    fn gathered(&self) -> Gathered<'_> {
        Gathered::new(self.guard.as_deref())
    }

    fn merged(&self, request: &SelectRequest<'_>, newest_only: bool) -> Result<MergedStream, SelectError> {
        let (start, end) = self.range(request)?;
        let (reach, reaching) = self.reaching(request.matchers, start, end)?;
        let key = matchers_key(request.matchers);
        let mut sources = Vec::new();
        for part in self.parts.iter().filter(|part| part.overlaps(start, end)) {
            let ordinals = part.selected(request.matchers, &key).map_err(self.on_error.as_ref())?;
            push_part(&mut sources, part, ordinals);
        }
        for part in self.parts.iter().filter(|part| !part.overlaps(start, end) && part.overlaps(reach, end)) {
            let ordinals = self.ordinals_of(part, &reaching)?;
            push_part(&mut sources, part, ordinals.into_iter().collect());
        }
        for head in self.heads.iter().filter(|head| head.overlaps(reach.min(start), end)) {
            let series = head.selected(request.matchers, &key, &self.opened);
            if !series.is_empty() {
                // Taken after the selection, so that all its blocks are there.
                sources.push(Source::Head { blocks: head.blocks(), series, version: self.version });
            }
        }
        let overlapping = |tombstone: &Tombstone| tombstone.overlaps(reach.min(start), end);
        let places = self.tombstones.iter().enumerate();
        let places = places.filter(|(_, tombstone)| overlapping(tombstone)).map(|(place, _)| place);
        let (tombstones, overlapping) = (Arc::clone(&self.tombstones), places.collect());
        let wanted = Wanted { start, end, newest_only, reaching, reach, tombstones, overlapping };
        MergedStream::new(sources, Arc::clone(self.absences()), wanted, Arc::clone(&self.on_error))
    }

    fn absences(&self) -> &Arc<Absences> {
        self.absences.get_or_init(|| Arc::new(Absences::of(&self.writers, self.now)))
    }

    /// What is asked for, without what is past retention.
    fn range(&self, request: &SelectRequest<'_>) -> Result<(i64, i64), SelectError> {
        self.check_open()?;
        Ok((request.start.as_millis().max(self.oldest), request.end.as_millis()))
    }

    fn tombstones_in(&self, start: i64, end: i64) -> Vec<&Tombstone> {
        self.tombstones.iter().filter(|tombstone| tombstone.overlaps(start, end)).collect()
    }

    /// Takes out series of which deletions have left nothing.
    fn drop_deleted(
        &self,
        all: &mut BTreeSet<Labels>,
        request: &SelectRequest<'_>,
        (start, end): (i64, i64),
        gathered: &mut Gathered<'_>,
    ) -> Result<(), SelectError> {
        let tombstones = self.tombstones_in(start, end);
        let is_concerned = |labels: &Labels| tombstones.iter().any(|tombstone| tombstone.concerns(labels));
        if !all.iter().any(is_concerned) {
            return Ok(());
        }
        let mut left = BTreeSet::new();
        let mut stream = self.select(request)?;
        let mut samples = Default::default();
        while let Some(labels) = stream.next_into(&mut samples)? {
            gathered.add_labels(&mut left, labels)?;
        }
        all.retain(|labels| !is_concerned(labels) || left.contains(labels));
        Ok(())
    }

    fn check_open(&self) -> Result<(), SelectError> {
        match self.db {
            Some(_) => Ok(()),
            None => Err(SelectError::Storage(
                "storage is closed, or reopening after a fault of its disk".to_owned(),
            )),
        }
    }

    /// The series of a part with a sample in the range.
    fn present(
        &self,
        part: &Arc<Part>,
        matchers: &[Matcher],
        (start, end): (i64, i64),
        gathered: &mut Gathered<'_>,
    ) -> Result<RoaringBitmap, SelectError> {
        let ordinals = part.matching(matchers).map_err(self.on_error.as_ref())?;
        if part.is_within(start, end) {
            return Ok(ordinals);
        }
        let mut reader = PartReader::new(Arc::clone(part));
        let mut present = RoaringBitmap::new();
        for ordinal in ordinals {
            if reader.has_sample(ordinal, start, end).map_err(self.on_error.as_ref())? {
                present.insert(ordinal);
            }
            gathered.step()?;
        }
        Ok(present)
    }

    fn present_in_head(
        &self,
        head: &Head,
        matchers: &[Matcher],
        (start, end): (i64, i64),
        gathered: &mut Gathered<'_>,
    ) -> Result<Vec<Labels>, SelectError> {
        let series = self.head_series(head, matchers, start, end);
        gathered.tell_passing(&series)?;
        Ok(series.into_iter().filter(HeadSeries::has_sample).map(|series| series.labels).collect())
    }

    /// Matching series of a head in the order of their labels, with the rows of the range.
    fn head_series(&self, head: &Head, matchers: &[Matcher], start: i64, end: i64) -> Vec<HeadSeries> {
        let mut found = Vec::new();
        let mut indices = Vec::new();
        for block in head.blocks().iter() {
            let series = block.series();
            indices.clear();
            series.iter().for_each(|group| group.select(matchers, &mut indices));
            if indices.is_empty() {
                continue;
            }
            let rows = Arc::new(block.rows(self.version, start, end));
            if rows.is_empty() {
                continue;
            }
            found.extend(indices.iter().filter_map(|&index| {
                let labels = labels_of(&series, index)?.clone();
                Some(HeadSeries { labels, log: block.log, index, rows: Arc::clone(&rows) })
            }));
        }
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        found
    }

    /// `up` series that may read as absent in the range because of what came before it, and from when on they have
    /// to be known.
    fn reaching(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<(i64, BTreeSet<Labels>), SelectError> {
        let none = (start, BTreeSet::new());
        let on_name = |matcher: &&Matcher| matcher.name() == METRIC_NAME;
        if !matchers.iter().filter(on_name).all(|matcher| matcher.matches(UP)) {
            return Ok(none);
        }
        let Some((reach, logs)) = self.absences().reach(start, end) else { return Ok(none) };
        let reach = reach.max(self.oldest);
        let mut up_matchers = vec![Matcher::equal(METRIC_NAME, UP)];
        up_matchers.extend(matchers.iter().filter(|matcher| !on_name(matcher)).cloned());
        let mut found = BTreeSet::new();
        for part in self.parts.iter().filter(|part| part.overlaps(reach, start)) {
            let accepts = |labels: &Labels| {
                up_matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or("")))
            };
            part.up_of(&logs, UP, |labels| {
                if accepts(labels) {
                    found.insert(labels.clone());
                }
            })
            .map_err(self.on_error.as_ref())?;
        }
        for head in &self.heads {
            let series = self.head_series(head, &up_matchers, reach, start).into_iter();
            found.extend(series.filter(|series| logs.contains(&series.log)).map(|series| series.labels));
        }
        Ok((reach, found))
    }

    /// Series that only read as absent in the range.
    fn derived_up(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<BTreeSet<Labels>, SelectError> {
        let (_, reaching) = self.reaching(matchers, start, end)?;
        let mut found = BTreeSet::new();
        if reaching.is_empty() {
            return Ok(found);
        }
        let mut up_matchers = matchers.to_vec();
        up_matchers.push(Matcher::equal(METRIC_NAME, UP));
        let request = SelectRequest {
            matchers: &up_matchers,
            start: Timestamp::from_millis(start),
            end: Timestamp::from_millis(end),
        };
        let mut stream = self.select(&request)?;
        let mut samples = Default::default();
        while let Some(labels) = stream.next_into(&mut samples)? {
            if reaching.contains(&labels) {
                found.insert(labels);
            }
        }
        Ok(found)
    }

    /// The series with exactly these labels.
    fn ordinals_of(&self, part: &Arc<Part>, wanted: &BTreeSet<Labels>) -> Result<RoaringBitmap, SelectError> {
        let mut found = RoaringBitmap::new();
        for labels in wanted {
            found.extend(part.ordinal_of(labels).map_err(self.on_error.as_ref())?);
        }
        Ok(found)
    }
}

fn push_part(sources: &mut Vec<Source>, part: &Arc<Part>, ordinals: Arc<[u32]>) {
    if !ordinals.is_empty() {
        let reader = Box::new(PartReader::new(Arc::clone(part)));
        sources.push(Source::Part { reader, ordinals });
    }
}
