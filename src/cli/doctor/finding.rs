//! What a check says: that all is well, something worth knowing, or a problem with what to do about it.

use serde::Serialize;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// Nothing is broken.
    Note,
    /// Something does not work, or will not.
    Problem,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// `area.word`: stays the same from release to release, for programs.
    pub id: &'static str,
    pub level: Level,
    /// A sentence without a full stop.
    pub what: String,
    /// Why it matters, or where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// A command, or words where no command does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All is well.
pub(super) fn well(id: &'static str, what: impl Into<String>) -> Finding {
    Finding { id, level: Level::Ok, what: what.into(), why: None, fix: None }
}

/// Worth knowing.
pub(super) fn note(id: &'static str, what: impl Into<String>) -> Finding {
    Finding { level: Level::Note, ..well(id, what) }
}

/// A problem; each has something to do about it.
pub(super) fn problem(id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { level: Level::Problem, fix: Some(fix.into()), ..well(id, what) }
}

impl Finding {
    pub fn because(self, why: impl Into<String>) -> Finding {
        Finding { why: Some(why.into()), ..self }
    }

    pub fn advise(self, fix: impl Into<String>) -> Finding {
        Finding { fix: Some(fix.into()), ..self }
    }
}

/// What tests ask of findings: the ids of those that are not well, problems first marked with `!`.
#[cfg(test)]
pub(super) fn marked(findings: &[Finding]) -> Vec<String> {
    let marked = |finding: &Finding| match finding.level {
        Level::Ok => None,
        Level::Note => Some(finding.id.to_owned()),
        Level::Problem => Some(format!("!{}", finding.id)),
    };
    findings.iter().filter_map(marked).collect()
}
