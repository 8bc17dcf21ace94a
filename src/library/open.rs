//! An open video, and what all answers with it share: the fields that describe it are written once, when it is opened.

use std::hash::Hasher;
use std::sync::Arc;

use fnv::FnvHasher;
use uuid::Uuid;

use crate::http::conditional::{ETag, Validators};
use crate::http::response::FieldLines;
use crate::http::{date, media_type};
use crate::library;
use crate::sys::file::{MediaFile, Root};

/// A video that is open, and where it came from: the disks of different roots wait for one another as little as they can.
#[derive(Debug)]
pub struct OpenVideo {
    /// Which video it is.
    pub id: Uuid,
    /// The file.
    pub file: Arc<MediaFile>,
    /// The folder of its root, where that is known. Its place in a library would be another's after a reload.
    pub root: Option<Arc<Root>>,
    /// The name of its root.
    pub root_name: Box<str>,
    /// Its media type.
    pub media_type: &'static str,
    /// From the descriptor that will be sent, so that they can never describe another file.
    pub validators: Validators,
    /// Where it is below its root.
    pub path: Box<str>,
    private: Arc<FieldLines>,
}

/// Who may keep an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// The client that asked.
    Private,
    /// Any cache on the way, for so many seconds.
    Shared {
        /// Until the link ends.
        seconds: i64,
    },
}

impl OpenVideo {
    /// The file at `path` below the root of this name.
    pub fn new(
        root: Option<Arc<Root>>,
        root_name: &str,
        path: &str,
        media_type: &'static str,
        file: Arc<MediaFile>,
    ) -> OpenVideo {
        let (size, modified_ns) = (file.size(), file.modified_ns());
        let modified = i64::try_from(modified_ns.div_euclid(1_000_000_000)).unwrap_or(0);
        let validators = Validators { etag: ETag::new(size, modified_ns, path_hash(path)), modified };
        let mut video = OpenVideo {
            id: library::video_id(root_name, path.as_bytes()),
            file,
            root,
            root_name: root_name.into(),
            media_type,
            validators,
            path: path.into(),
            private: Arc::default(),
        };
        video.private = Arc::new(video.written(Caching::Private, modified));
        video
    }

    /// The fields of a 200 or of a 206 with one part.
    pub fn lines(&self, caching: Caching, now_seconds: i64) -> Arc<FieldLines> {
        // The answer with a file from the future has another date each second (RFC 9110 §8.8.2.1).
        if caching == Caching::Private && self.validators.modified <= now_seconds {
            return Arc::clone(&self.private);
        }
        Arc::new(self.written(caching, now_seconds))
    }

    fn written(&self, caching: Caching, now_seconds: i64) -> FieldLines {
        let lines = FieldLines::default().field("X-Content-Type-Options", "nosniff");
        self.named(lines.field("Content-Type", self.media_type), caching, now_seconds)
    }

    /// Adds the fields that 200 and every 206 share.
    pub fn named(&self, lines: FieldLines, caching: Caching, now_seconds: i64) -> FieldLines {
        let filename = self.path.rsplit('/').next().unwrap_or(&self.path);
        let lines = lines.field("Content-Disposition", media_type::content_disposition(filename));
        let lines = match caching {
            Caching::Private => lines.field("X-Accel-Buffering", "no"),
            Caching::Shared { .. } => lines,
        };
        self.described(lines, caching, now_seconds)
    }

    /// Adds the fields that 200, 206 and 304 share (RFC 9110 §15.4.5).
    pub fn described(&self, lines: FieldLines, caching: Caching, now_seconds: i64) -> FieldLines {
        let lines = lines
            .field("Accept-Ranges", "bytes")
            .field("ETag", self.validators.etag)
            .field("Last-Modified", date::format(self.validators.last_modified(now_seconds)));
        match caching {
            Caching::Private => lines.field("Cache-Control", "private, max-age=0, must-revalidate"),
            Caching::Shared { seconds } => {
                lines.field("Cache-Control", format_args!("public, s-maxage={seconds}, max-age=0, must-revalidate"))
            }
        }
    }
}

/// FNV-1a of the path below its root: the same after a restart, a remount, and on another machine.
fn path_hash(path: &str) -> u64 {
    let mut hasher = FnvHasher::default();
    hasher.write(path.as_bytes());
    hasher.finish()
}
