//! Which blocks of films were in the page cache a moment ago: to ask costs three system calls, and players ask for the same
//! blocks again and again.
//!
//! The one idea: a whole block is asked about at a time, and the answer is believed for [`limits::HOT_BELIEVED_FOR`]. In that
//! time the kernel may evict a page under us, as it may between any question and what follows from it; a shard then waits for
//! the disk once. Of a block that is not whole in memory only this is remembered: whoever sends a part of it asks about this
//! part.
//!
//! The memory has a fixed size; a block takes its place from whichever had it before.

use std::cell::RefCell;
use std::time::Instant;

use crate::limits;
use crate::sys::file::{MediaFile, Residency};

/// The memory of one shard.
#[derive(Debug, Default)]
pub(super) struct Hot(RefCell<Vec<Option<Block>>>);

#[derive(Clone, Copy, Debug)]
struct Block {
    file: u64,
    number: u64,
    residency: Residency,
    looked: Instant,
}

impl Hot {
    /// How many of the `length` bytes at `offset` can be sent without waiting for a disk: all that are known to be in memory,
    /// as far as whole blocks, or the first window, are. None when that is cold.
    pub fn length_from(&self, file: &MediaFile, offset: u64, length: u64, now: Instant) -> u64 {
        let end = offset.saturating_add(length).min(file.size());
        let mut until = offset;
        while until < end && self.is_hot(file, until / limits::WINDOW_BYTES, now) {
            until = (until / limits::WINDOW_BYTES + 1).saturating_mul(limits::WINDOW_BYTES).min(end);
        }
        if until > offset {
            return until - offset;
        }
        let window = length.min(limits::WINDOW_BYTES);
        match file.residency(offset, window) {
            Residency::Hot => window,
            Residency::Cold => 0,
        }
    }

    fn is_hot(&self, file: &MediaFile, number: u64, now: Instant) -> bool {
        let place = (file.number().wrapping_mul(61).wrapping_add(number) % limits::HOT_BLOCKS_MAX as u64) as usize;
        let mut blocks = self.0.borrow_mut();
        blocks.resize(limits::HOT_BLOCKS_MAX, None); // At the first film; then it has this length.
        let known = blocks[place].filter(|block| (block.file, block.number) == (file.number(), number));
        if let Some(block) = known
            && now.saturating_duration_since(block.looked) < limits::HOT_BELIEVED_FOR
        {
            return block.residency == Residency::Hot;
        }
        let offset = number.saturating_mul(limits::WINDOW_BYTES);
        let length = limits::WINDOW_BYTES.min(file.size().saturating_sub(offset));
        let residency = if length > 0 { file.residency(offset, length) } else { Residency::Cold };
        blocks[place] = Some(Block { file: file.number(), number, residency, looked: now });
        residency == Residency::Hot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::Root;
    use std::time::Duration;

    const MIB: u64 = limits::WINDOW_BYTES;

    fn film(bytes: u64) -> (tempfile::TempDir, MediaFile) {
        // On a disk: the temporary folder may be in memory, where nothing is ever evicted.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("film.mp4");
        std::fs::write(&path, vec![1_u8; usize::try_from(bytes).unwrap()]).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        let opened = Root::open(folder.path()).unwrap().open_waiting(c"film.mp4").unwrap();
        (folder, MediaFile::admit(opened).unwrap().unwrap())
    }

    #[test]
    fn what_is_in_memory_is_hot_as_far_as_it_goes() {
        let (_folder, file) = film(3 * MIB + 5);
        let (hot, now) = (Hot::default(), Instant::now());
        assert_eq!(hot.length_from(&file, 0, file.size(), now), file.size());
        assert_eq!(hot.length_from(&file, 100, 10, now), 10);
        assert_eq!(hot.length_from(&file, MIB - 1, 2, now), 2);
        assert_eq!(hot.length_from(&file, 3 * MIB, 5, now), 5);
        assert_eq!(hot.length_from(&file, file.size(), 1, now), 0, "there is nothing past the end");
    }

    #[test]
    fn an_answer_is_believed_for_a_moment_and_a_part_of_a_block_is_asked_for_by_itself() {
        let (_folder, file) = film(2 * MIB);
        let (hot, now) = (Hot::default(), Instant::now());
        assert_eq!(hot.length_from(&file, 0, 2 * MIB, now), 2 * MIB);
        file.evict();
        assert_eq!(hot.length_from(&file, 0, 4096, now), 4096, "it is believed");
        let later = now + limits::HOT_BELIEVED_FOR + Duration::from_millis(1);
        assert_eq!(hot.length_from(&file, 0, 4096, later), 0, "and asked again");
        file.fetch(8192, 4096);
        assert_eq!(hot.length_from(&file, 8192, 4096, later), 4096, "the block is cold, and this part is not");
        assert_eq!(hot.length_from(&file, 8192, 8192, later), 0);
    }
}
