//! What the daemon says it did: GET /metrics, parsed; sums over label sets, and differences between two moments.

use super::client::Answer;

/// All samples of one moment.
#[derive(Debug, Clone)]
pub struct Ledger {
    text: String,
}

impl Ledger {
    /// Reads an answer of /metrics.
    pub fn of(answer: &Answer) -> Ledger {
        assert_eq!(answer.head.status, 200, "{:?}", answer.head);
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert!(text.ends_with("# EOF\n"), "OpenMetrics ends with # EOF:\n{text}");
        Ledger { text }
    }

    /// The sum of a metric over all its label sets.
    pub fn sum(&self, name: &str) -> u64 {
        self.sum_where(name, "")
    }

    /// The sum of a metric over the label sets that contain `label`, for instance `engine="ring"`.
    ///
    /// # Panics
    /// If the daemon does not know the metric at all: a misspelt name must not count as zero.
    pub fn sum_where(&self, name: &str, label: &str) -> u64 {
        let family = name.strip_suffix("_total").unwrap_or(name);
        let declaration = format!("# TYPE {family} ");
        assert!(self.text.contains(&declaration), "no metric {name} in\n{}", self.text);
        let samples = self.text.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label))
            .map(|(_, value)| value.parse::<f64>().unwrap() as u64)
            .sum()
    }

    /// Windows sent from memory.
    pub fn hot_windows(&self) -> u64 {
        self.sum("reelway_hot_windows_total")
    }

    /// Windows filled from the disk, by the ring and by threads.
    pub fn cold_windows(&self) -> (u64, u64) {
        let by = |engine: &str| {
            let label = format!("engine=\"{engine}\"");
            self.sum_where("reelway_cold_windows_total", &label)
        };
        (by("ring"), by("threads"))
    }

    /// Reads and writes of the database.
    pub fn store_calls(&self) -> (u64, u64) {
        (self.sum("reelway_store_reads_total"), self.sum("reelway_store_writes_total"))
    }
}
