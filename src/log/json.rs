//! Events as JSON, one object a line, with the names of spec/SEED.md 126: timestamp, level, service, user_id, container_id,
//! request_id, message, metadata{…}. The message id is in the metadata.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::messages;

/// The JSON form of an event.
pub(super) struct Json {
    /// systemd's name for this run of the unit, which is what the document calls the container.
    container_id: Value,
}

impl Json {
    pub(super) fn new() -> Json {
        Json { container_id: std::env::var("INVOCATION_ID").map_or(Value::Null, Value::String) }
    }

    fn object(&self, level: &str, timestamp: &str, mut fields: Fields) -> Value {
        json!({
            "timestamp": timestamp,
            "level": level,
            "service": "reelway",
            "user_id": fields.take("user_id"),
            "container_id": self.container_id,
            "request_id": fields.take("request_id"),
            "message": fields.take("message"),
            "metadata": fields.0,
        })
    }
}

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        if let Some(id) = messages::id(event.metadata()) {
            fields.0.insert("message_id".to_owned(), Value::from(id));
        }
        let now =
            time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        writeln!(writer, "{}", self.object(&level, &now, fields))
    }
}

/// The fields of one event, as JSON values.
struct Fields(Map<String, Value>);

impl Fields {
    fn take(&mut self, name: &str) -> Value {
        self.0.remove(name).unwrap_or(Value::Null)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_names_of_the_document_and_the_rest_under_metadata() {
        let mut fields = Fields(Map::new());
        for (name, value) in [("user_id", "ann"), ("message", "stream ended"), ("client_ip", "::1"), ("video_id", "v")]
        {
            fields.0.insert(name.to_owned(), json!(value));
        }
        let object = Json { container_id: Value::Null }.object("info", "2026-01-01T00:00:00Z", fields);
        assert_eq!(
            object,
            json!({
                "timestamp": "2026-01-01T00:00:00Z", "level": "info", "service": "reelway", "user_id": "ann",
                "container_id": null, "request_id": null, "message": "stream ended",
                "metadata": {"client_ip": "::1", "video_id": "v"},
            })
        );
    }
}
