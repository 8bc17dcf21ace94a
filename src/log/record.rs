//! An event that outlives the call that made it: what a thread may hand to another.
//!
//! The one idea: an event is its metadata, which is static, and its values, kept as text. That is enough to say it again
//! later, to another subscriber, under other names.

use std::fmt::{self, Write};

use tracing::field::{Field, FieldSet, Value, Visit};
use tracing::{Event, Metadata};

use crate::limits;

/// One event.
#[derive(Debug)]
pub(super) struct Record {
    /// What it is, and where in the code.
    pub metadata: &'static Metadata<'static>,
    /// The fields that it has a value of: their place among those of the metadata, and the value.
    pub values: Vec<(usize, String)>,
}

impl Record {
    pub(super) fn of(event: &Event<'_>) -> Record {
        let mut values = Values(Vec::with_capacity(event.metadata().fields().len()));
        event.record(&mut values);
        Record { metadata: event.metadata(), values: values.0 }
    }

    /// The message, and behind it the fields that say something to a person: an id does not.
    pub(super) fn line(&self) -> String {
        let names = self.metadata.fields();
        let name = |index: usize| names.iter().nth(index).map_or("", |field| field.name());
        let mut line = String::with_capacity(128);
        for (_, message) in self.values.iter().filter(|(index, _)| name(*index) == "message") {
            line.push_str(message);
        }
        for (name, value) in self.values.iter().map(|(index, value)| (name(*index), value)) {
            if name != "message" && !name.ends_with("_id") {
                let is_plain =
                    !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
                let _ = if is_plain { write!(line, " {name}={value}") } else { write!(line, " {name}={value:?}") };
            }
        }
        line
    }
}

/// Calls `say` with an event of this metadata and these values, in the order of its fields.
pub(super) fn say(metadata: &'static Metadata<'static>, values: &[Option<&dyn Value>], say: impl FnOnce(&Event<'_>)) {
    let fields: Vec<Field> = metadata.fields().iter().collect();
    let Some(first) = fields.first() else { return };
    let pairs: [(&Field, Option<&dyn Value>); limits::EVENT_FIELDS_MAX] = std::array::from_fn(|index| {
        fields.get(index).map_or((first, None), |field| (field, values.get(index).copied().flatten()))
    });
    say(&Event::new(metadata, &metadata.fields().value_set(&pairs)));
}

/// The same event with other names for its fields. It is never given back: there is one for each place of the code that logs.
pub(super) fn renamed(
    metadata: &'static Metadata<'static>,
    names: impl IntoIterator<Item = &'static str>,
) -> &'static Metadata<'static> {
    let names: &'static [&'static str] = Vec::leak(names.into_iter().take(limits::EVENT_FIELDS_MAX).collect());
    Box::leak(Box::new(Metadata::new(
        metadata.name(),
        metadata.target(),
        *metadata.level(),
        metadata.file(),
        metadata.line(),
        metadata.module_path(),
        FieldSet::new(names, metadata.callsite()),
        tracing::metadata::Kind::EVENT,
    )))
}

struct Values(Vec<(usize, String)>);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded(String::new());
        // It is cut where there is no room, and then that is an error.
        let _ = write!(text, "{value:?}");
        self.0.push((field.index(), text.0));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded(String::new());
        let _ = text.write_str(value);
        self.0.push((field.index(), text.0));
    }
}

/// Text that does not grow beyond [`limits::EVENT_VALUE_BYTES_MAX`].
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let room = limits::EVENT_VALUE_BYTES_MAX.saturating_sub(self.0.len());
        let fitting = &piece[..piece.floor_char_boundary(room)];
        self.0.push_str(fitting);
        if fitting.len() == piece.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::{Context, SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<Record>>>);

    impl<S: tracing::Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().expect("no panic").push(Record::of(event));
        }
    }

    /// The one event that `log` makes.
    fn record(log: impl FnOnce()) -> Record {
        let kept = Kept::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept.clone()), log);
        kept.0.lock().expect("no panic").pop().expect("an event")
    }

    #[test]
    fn the_line_of_a_record_has_what_a_person_reads() {
        let nobody: Option<&str> = None;
        let record = record(|| {
            tracing::info!(user_id = "0b1e", path = "/a b.mkv", count = 3, nobody, is_new = true, error = %"no \"x\"", "it was");
        });
        assert_eq!(record.line(), r#"it was path="/a b.mkv" count=3 is_new=true error="no \"x\"""#);
    }

    #[test]
    fn a_record_is_said_again_under_other_names() {
        let told = record(|| tracing::warn!(user_id = "0b1e", count = 3, "it was"));
        let other = renamed(told.metadata, ["message", "user", "how_many"]);
        let mut again = None;
        let values: Vec<_> = told.values.iter().map(|(_, value)| Some(value as &dyn Value)).collect();
        say(other, &values, |event| again = Some(Record::of(event)));
        let again = again.expect("it was said");
        assert_eq!(again.line(), "it was user=0b1e how_many=3");
        assert_eq!((again.metadata.level(), again.metadata.line()), (told.metadata.level(), told.metadata.line()));
    }

    #[test]
    fn a_value_is_cut_between_two_characters_where_there_is_no_room() {
        let long = "ä".repeat(limits::EVENT_VALUE_BYTES_MAX);
        let record = record(|| tracing::info!(long, shown = %long, "x{long}"));
        let lengths: Vec<_> = record.values.iter().map(|(_, value)| value.len()).collect();
        let most = limits::EVENT_VALUE_BYTES_MAX;
        assert_eq!(lengths, [most - 1, most, most]);
    }
}
