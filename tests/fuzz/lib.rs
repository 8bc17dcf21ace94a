//! What the fuzz targets hold the grammar to.
//!
//! The rooms of the daemon that are pure are taken as they are, by path: whatever they import must be in this package too,
//! so a door to the machine in `src/http` would not compile here.

#[allow(missing_docs, dead_code, reason = "the daemon's own build judges these")]
#[path = "../../src/http/mod.rs"]
pub mod http;

#[allow(dead_code, reason = "most limits are of other rooms")]
#[path = "../../src/limits.rs"]
pub mod limits;

#[path = "../support/models.rs"]
pub mod models;

#[path = "../support/multipart.rs"]
pub mod multipart;

#[path = "../vectors/reader.rs"]
pub mod vectors;

pub mod checks;
