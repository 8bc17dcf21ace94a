"""The files that are asked for, in memory or not."""

import os
import shutil
import sys

MIB = 1 << 20
COLD = 8


class Films:
    """One film that is hot, and eight that are cold."""

    def __init__(self, folder, hot_bytes, cold_bytes):
        self.folder, self.hot_bytes, self.cold_bytes = folder, hot_bytes, cold_bytes

    @property
    def bytes(self):
        return self.hot_bytes + COLD * self.cold_bytes

    def make(self):
        self.folder.mkdir(parents=True)
        piece = os.urandom(4 * MIB)
        sizes = {"hot.mp4": self.hot_bytes, **{name: self.cold_bytes for name in self.cold_names()}}
        for name, size in sizes.items():
            with open(self.folder / name, "wb") as film:
                for _ in range(size // len(piece)):
                    film.write(piece)
                # A page that is not on the disk yet cannot be dropped.
                film.flush()
                os.fsync(film.fileno())
        self.make_cold()
        if not self.is_cold():
            sys.exit(f"files stay in memory in {self.folder}: set CARGO_TARGET_DIR to a folder on a disk")

    def cold_names(self):
        return [f"cold-{number}.mp4" for number in range(COLD)]

    def make_hot(self):
        """Reads it once more: the kernel may have dropped some of it meanwhile."""
        with open(self.folder / "hot.mp4", "rb", buffering=0) as film:
            while film.read(8 * MIB):
                pass

    def make_cold(self):
        for name in self.cold_names():
            with open(self.folder / name, "rb") as film:
                os.posix_fadvise(film.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def is_cold(self):
        """Asks for one byte without waiting for the disk (preadv2(2), RWF_NOWAIT)."""
        with open(self.folder / "cold-0.mp4", "rb") as film:
            os.posix_fadvise(film.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            try:
                return os.preadv(film.fileno(), [bytearray(1)], self.cold_bytes // 2, os.RWF_NOWAIT) == 0
            except BlockingIOError:
                return True


def need_disk(folder, needed):
    """Says how much is needed, and ends where there is less."""
    free = shutil.disk_usage(folder).free
    print(f"disk: {needed / (1 << 30):.1f} GiB needed in {folder}, {free / (1 << 30):.1f} GiB free", file=sys.stderr)
    # Somebody else writes to this disk as well.
    if free < needed + 512 * MIB:
        sys.exit("that is too little")
