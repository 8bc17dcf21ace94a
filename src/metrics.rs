//! Counters a shard owns, summed when somebody asks; OpenMetrics text for `GET /metrics`.
//!
//! The one idea: counting costs one uncontended addition. Each shard has its own [`ShardCounters`], so two shards never
//! write the same line of memory, and the sums are made at scrape time. The only door to prometheus-client.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What one shard has counted since it started. Counters only rise; `open_*` rise and fall.
#[derive(Debug, Default)]
#[repr(align(128))] // Two shards' counters share no cache line, nor the pair that is fetched together.
pub struct ShardCounters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections taken over from the process before.
    pub resumed: AtomicU64,
    /// Connections open now.
    pub open_connections: AtomicUsize,
    /// Requests whose head was read whole.
    pub requests: AtomicU64,
    /// Requests answered with a "no" (4xx, or a 5xx of ours).
    pub rejects: AtomicU64,
    /// Faults: kernel, disk or database failed us.
    pub faults: AtomicU64,
    /// Body bytes of films handed to sockets.
    pub sent_bytes: AtomicU64,
    /// Windows found in the page cache.
    pub hot_windows: AtomicU64,
    /// Windows that the engine had to fetch from a disk.
    pub cold_windows: AtomicU64,
    /// Transfers under way now.
    pub open_transfers: AtomicUsize,
    /// Transfers ended because the file became shorter than it was.
    pub truncated: AtomicU64,
    /// Connections ended because the peer acknowledged nothing for too long, or paused for too long.
    pub stalled: AtomicU64,
    /// Paused connections ended to make room for another, because there were as many as there may be.
    pub gave_way: AtomicU64,
    /// Films cut because their stream was stopped, or the session behind it was ended.
    pub stopped: AtomicU64,
    /// Connections ended because a newer one of the same player had taken their place.
    pub superseded: AtomicU64,
    /// Tasks that ended in a panic. Anything but zero is a bug of ours.
    pub panics: AtomicU64,
}

/// A gauge that is up for as long as this value lives: a task that is dropped at any point counts down again.
#[derive(Debug)]
pub struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    /// Counts one up in `gauge`.
    pub fn new(gauge: &'a AtomicUsize) -> Open<'a> {
        gauge.store(gauge.load(Ordering::Relaxed) + 1, Ordering::Relaxed); // As `add`.
        Open(gauge)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.store(self.0.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}

/// Adds `count` to a counter of this shard. Nobody else writes it, so it need not be added to in one step.
pub fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

/// The counters of the whole process.
#[derive(Debug)]
pub struct Metrics {
    shards: Vec<Arc<ShardCounters>>,
    engine: &'static str,
    /// Pipes of the cold path open now, those at rest in a pool included.
    pub pipes: Arc<AtomicUsize>,
    /// Log lines dropped because nobody read them.
    pub log_lines_dropped: fn() -> u64,
}

/// What other rooms count, at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// Playbacks that hold a slot.
    pub streams: usize,
    /// Those of which a connection sends.
    pub streams_open: usize,
    /// Sessions in use.
    pub sessions: usize,
    /// What the store has done.
    pub store: StoreCounts,
}

/// What the store has done, as it counts it itself.
#[derive(Clone, Copy, Debug)]
pub struct StoreCounts {
    /// Reads answered.
    pub reads: u64,
    /// Writes made durable, or refused.
    pub writes: u64,
    /// Transactions committed; fewer than writes when they were grouped.
    pub commits: u64,
}

impl Metrics {
    /// Counters for `shards` shards that run on the engine of this name.
    pub fn new(shards: usize, engine: &'static str) -> Metrics {
        Metrics {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            engine,
            pipes: Arc::default(),
            log_lines_dropped: || 0,
        }
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The counters of shard `index`.
    ///
    /// # Panics
    /// When there is no such shard: shards are numbered by whoever made this value.
    pub fn shard(&self, index: usize) -> Arc<ShardCounters> {
        Arc::clone(&self.shards[index])
    }

    /// The sum over all shards of one counter.
    pub fn sum(&self, counter: impl Fn(&ShardCounters) -> &AtomicU64) -> u64 {
        self.shards.iter().map(|shard| counter(shard).load(Ordering::Relaxed)).sum()
    }

    /// The sum over all shards of one gauge.
    pub fn sum_open(&self, gauge: impl Fn(&ShardCounters) -> &AtomicUsize) -> usize {
        self.shards.iter().map(|shard| gauge(shard).load(Ordering::Relaxed)).sum()
    }

    /// All counters as OpenMetrics 1.0 text.
    ///
    /// # Errors
    /// Never in practice: formatting into a string.
    pub fn openmetrics(self: &Arc<Self>, now: Levels, uptime_seconds: f64) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("reelway");
        registry.register_collector(Box::new(Snapshot { metrics: Arc::clone(self), levels: now, uptime_seconds }));
        let mut text = String::with_capacity(4096);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[derive(Debug)]
struct Snapshot {
    metrics: Arc<Metrics>,
    levels: Levels,
    uptime_seconds: f64,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        type Count = fn(&ShardCounters) -> &AtomicU64;
        let counters: [(&str, &str, Count); 12] = [
            ("connections_accepted", "Connections accepted", |shard| &shard.connections),
            ("connections_resumed", "Connections taken over from the process before", |shard| &shard.resumed),
            ("requests", "Requests whose head was read whole", |shard| &shard.requests),
            ("rejects", "Requests refused", |shard| &shard.rejects),
            ("faults", "Failures of kernel, disk or database", |shard| &shard.faults),
            ("sent_bytes", "Body bytes of films handed to sockets", |shard| &shard.sent_bytes),
            ("hot_windows", "Windows of at most 1 MiB sent from the page cache", |shard| &shard.hot_windows),
            ("truncated", "Transfers ended because the file became shorter", |shard| &shard.truncated),
            ("stalled", "Connections ended for want of progress", |shard| &shard.stalled),
            ("gave_way", "Paused connections ended to make room for others", |shard| &shard.gave_way),
            ("stopped", "Films cut because their stream was stopped", |shard| &shard.stopped),
            ("superseded", "Connections that a newer one of the same player replaced", |shard| &shard.superseded),
        ];
        for (name, help, counter) in counters {
            encode(&mut encoder, name, help, &ConstCounter::new(metrics.sum(counter)))?;
        }
        encode(
            &mut encoder,
            "panics",
            "Tasks ended by a panic: a bug of ours",
            &ConstCounter::new(metrics.sum(|shard| &shard.panics)),
        )?;
        self.encode_cold_windows(&mut encoder)?;

        let gauges = [
            ("connections", "Connections open now", metrics.sum_open(|shard| &shard.open_connections)),
            ("transfers", "Transfers under way now", metrics.sum_open(|shard| &shard.open_transfers)),
            ("streams", "Playbacks that hold a slot, those that linger included", self.levels.streams),
            ("streams_open", "Playbacks of which a connection sends", self.levels.streams_open),
            ("sessions", "Sessions in use", self.levels.sessions),
            ("pipes", "Pipes of the cold path open now", metrics.pipes.load(Ordering::Relaxed)),
            ("ring", "1 when io_uring waits for the disk, 0 when threads do", usize::from(metrics.engine == "ring")),
        ];
        for (name, help, value) in gauges {
            encode(&mut encoder, name, help, &ConstGauge::new(value as i64))?;
        }
        let store = [
            ("store_reads", "Reads answered by the store", self.levels.store.reads),
            ("store_writes", "Writes answered by the store", self.levels.store.writes),
            ("store_commits", "Transactions committed by the store", self.levels.store.commits),
            ("log_lines_dropped", "Log lines dropped because nobody read them", (metrics.log_lines_dropped)()),
        ];
        for (name, help, value) in store {
            encode(&mut encoder, name, help, &ConstCounter::new(value))?;
        }
        encode(&mut encoder, "uptime_seconds", "Seconds since the start", &ConstGauge::new(self.uptime_seconds))
    }
}

impl Snapshot {
    fn encode_cold_windows(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let count = ConstCounter::new(self.metrics.sum(|shard| &shard.cold_windows));
        let help = "Windows of at most 1 MiB that were fetched from a disk";
        let mut family =
            encoder.encode_descriptor("cold_windows", help, None, prometheus_client::metrics::MetricType::Counter)?;
        let labels = [("engine", self.metrics.engine)];
        count.encode(family.encode_family(&labels)?)
    }
}

fn encode(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_sums_all_shards_and_ends_as_openmetrics_asks() {
        let metrics = Arc::new(Metrics::new(2, "ring"));
        add(&metrics.shard(0).sent_bytes, 40);
        add(&metrics.shard(1).sent_bytes, 2);
        add(&metrics.shard(1).cold_windows, 7);
        let shard = metrics.shard(0);
        let open = Open::new(&shard.open_transfers);
        let store = StoreCounts { reads: 1, writes: 2, commits: 3 };
        let levels = Levels { streams: 3, streams_open: 2, sessions: 4, store };
        let text = metrics.openmetrics(levels, 1.5).unwrap();
        for line in [
            "reelway_sent_bytes_total 42",
            "reelway_cold_windows_total{engine=\"ring\"} 7",
            "reelway_transfers 1",
            "reelway_streams 3",
            "reelway_ring 1",
            "reelway_store_commits_total 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        drop(open);
        assert_eq!(metrics.sum_open(|shard| &shard.open_transfers), 0);
    }
}
