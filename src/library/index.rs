//! The index: all videos of one scan, in the order of their titles, found by id. Immutable.

use std::collections::HashMap;

use uuid::Uuid;

use crate::store::Timestamp;

/// One playable file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// Made from root and path; see [`crate::library::video_id`].
    pub id: Uuid,
    /// Which root, 0-based.
    pub root: usize,
    /// The path below its root.
    pub path: String,
    /// What people call it: the file's name without its extension, dots and underscores read as spaces.
    pub title: String,
    /// Bytes.
    pub size: u64,
    /// When the file was last changed.
    pub modified: Timestamp,
    /// When it was first seen.
    pub added_at: Timestamp,
}

impl Video {
    /// The last segment of the path.
    pub fn filename(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// How a list is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// By title, as people read it: letters before their case.
    #[default]
    Title,
    /// By the time they were first seen.
    AddedAt,
}

/// All videos, in the order of their titles.
#[derive(Debug, Default)]
pub struct Index {
    videos: Vec<Video>,
    by_id: HashMap<Uuid, usize>,
}

impl Index {
    /// An index of `videos`, in any order.
    pub fn new(mut videos: Vec<Video>) -> Index {
        videos.sort_by_cached_key(|video| (video.title.to_lowercase(), video.path.clone(), video.root));
        let by_id = videos.iter().enumerate().map(|(position, video)| (video.id, position)).collect();
        Index { videos, by_id }
    }

    /// How many videos there are.
    pub fn len(&self) -> usize {
        self.videos.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.videos.is_empty()
    }

    /// The video of this id.
    pub fn by_id(&self, id: Uuid) -> Option<&Video> {
        self.by_id.get(&id).and_then(|position| self.videos.get(*position))
    }

    /// The videos whose title or path contains `query`, in any case, in the order asked for.
    pub fn search(&self, query: &str, sort: Sort, is_descending: bool) -> Vec<&Video> {
        let wanted = query.to_lowercase();
        let matches = |video: &&Video| {
            wanted.is_empty()
                || video.title.to_lowercase().contains(&wanted)
                || video.path.to_lowercase().contains(&wanted)
        };
        let mut found: Vec<&Video> = self.videos.iter().filter(matches).collect();
        if sort == Sort::AddedAt {
            found.sort_by_key(|video| video.added_at);
        }
        if is_descending {
            found.reverse();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let video = |id: u128, title: &str, path: &str, added_at: i64| Video {
            id: Uuid::from_u128(id),
            root: 0,
            path: path.into(),
            title: title.into(),
            size: 1,
            modified: Timestamp::from_microseconds(0),
            added_at: Timestamp::from_microseconds(added_at),
        };
        Index::new(vec![
            video(1, "beta", "Series/beta.mp4", 3),
            video(2, "Alpha", "alpha.mp4", 2),
            video(3, "Élan", "Films/elan.mkv", 1),
        ])
    }

    fn titles(found: &[&Video]) -> Vec<String> {
        found.iter().map(|video| video.title.clone()).collect()
    }

    #[test]
    fn a_list_is_in_the_order_asked_for() {
        let index = index();
        assert_eq!(titles(&index.search("", Sort::Title, false)), ["Alpha", "beta", "Élan"]);
        assert_eq!(titles(&index.search("", Sort::Title, true)), ["Élan", "beta", "Alpha"]);
        assert_eq!(titles(&index.search("", Sort::AddedAt, false)), ["Élan", "Alpha", "beta"]);
    }

    #[test]
    fn a_query_finds_titles_files_and_folders_in_any_case() {
        let index = index();
        assert_eq!(titles(&index.search("ÉLAN", Sort::Title, false)), ["Élan"]);
        assert_eq!(titles(&index.search("series", Sort::Title, false)), ["beta"]);
        assert_eq!(titles(&index.search(".mp4", Sort::Title, false)), ["Alpha", "beta"]);
        assert!(index.search("nothing", Sort::Title, false).is_empty());
    }

    #[test]
    fn a_video_is_found_by_its_id() {
        let index = index();
        assert_eq!(index.by_id(Uuid::from_u128(3)).unwrap().filename(), "elan.mkv");
        assert!(index.by_id(Uuid::from_u128(4)).is_none());
    }
}
