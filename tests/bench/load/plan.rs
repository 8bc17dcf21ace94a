//! What to do, and what was seen.

use serde::{Deserialize, Serialize};

/// One window of measurement.
#[derive(Debug, Deserialize)]
pub struct Plan {
    pub port: u16,
    /// Seconds that are measured, after `warm` seconds that are not.
    pub seconds: f64,
    pub warm: f64,
    /// Whether this process never sleeps, having a processor of its own: to wake it would cost the server what no network does.
    pub spins: bool,
    /// The processes of the server, all of their threads included.
    pub processes: Vec<i32>,
    pub groups: Vec<Group>,
}

/// Connections that do the same.
#[derive(Debug, Deserialize)]
pub struct Group {
    /// Connection number n asks for path number n, and so on around.
    pub paths: Vec<String>,
    /// Lines of the head, each with its end.
    #[serde(default)]
    pub fields: String,
    pub connections: usize,
    /// Bytes of each range.
    pub range: u64,
    /// Bytes of each file.
    pub file: u64,
    /// One range after the other, instead of anywhere.
    #[serde(default)]
    pub sequential: bool,
    /// A new connection for each range.
    #[serde(default)]
    pub anew: bool,
    /// Microseconds between an answer and the next request.
    #[serde(default)]
    pub pause_us: u64,
    /// Bytes a second that are read of each connection; 0 is as fast as they come.
    #[serde(default)]
    pub rate: u64,
}

/// What was seen in the measured window.
#[derive(Debug, Serialize)]
pub struct Seen {
    pub seconds: f64,
    /// CPU seconds of the server's processes.
    pub cpu: f64,
    pub groups: Vec<SeenOfGroup>,
}

#[derive(Debug, Default, Serialize)]
pub struct SeenOfGroup {
    /// Answers that came whole.
    pub requests: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// Connections that broke, and answers that were not 206, since the first request.
    pub errors: u64,
    /// Connections with a rate that got less than half of it.
    pub starved: u64,
    /// From the request to the end of its answer, and to its first byte.
    pub latency_us: Quantiles,
    pub first_byte_us: Quantiles,
}

#[derive(Debug, Default, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Quantiles {
    pub fn of(mut values: Vec<f64>) -> Quantiles {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let last = values.len().checked_sub(1)?;
            values.get(((last as f64) * share).round() as usize).copied()
        };
        let quantile = |share| at(share).unwrap_or(0.0);
        Quantiles { p50: quantile(0.5), p99: quantile(0.99), p999: quantile(0.999), max: quantile(1.0) }
    }
}
