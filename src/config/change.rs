//! What of a configuration that is read again can take effect, and what needs a restart.

use super::Config;

/// The keys of what is set up once. A key that ends in a dot stands for its section.
const FIXED: &[&str] = &["server.", "directories.", "sessions.capacity", "log.format"];
/// Of these, what is asked for only when the daemon ends.
const NOT_FIXED: &[&str] = &["server.drain_timeout"];

impl Config {
    /// The keys whose values are others than `before`.
    pub fn changed_since(&self, before: &Config) -> Vec<String> {
        let (now, then) = (self.shown.members(), before.shown.members());
        let is_other =
            |key: &&String| now.get(*key).map(|row| &row["value"]) != then.get(*key).map(|row| &row["value"]);
        now.keys().filter(is_other).cloned().collect()
    }

    /// These values, but what only a restart changes as it was `before`, and no more playbacks than there were `slots` made for.
    #[must_use]
    pub fn beside(mut self, before: &Config, slots: usize) -> Config {
        self.server = super::Server { drain_timeout: self.server.drain_timeout, ..before.server.clone() };
        self.directories = before.directories.clone();
        self.sessions.capacity = before.sessions.capacity;
        self.log.format = before.log.format;
        self.shown.keep(&before.shown, is_fixed);
        if self.video.max_concurrent_streams > slots {
            self.video.max_concurrent_streams = slots;
            self.shown.put_off("video.max_concurrent_streams", slots);
        }
        self
    }
}

/// Whether a change of this key takes effect after a restart only.
pub fn is_fixed(key: &str) -> bool {
    let names = |named: &&str| if named.ends_with('.') { key.starts_with(*named) } else { key == *named };
    FIXED.iter().any(names) && !NOT_FIXED.contains(&key)
}
