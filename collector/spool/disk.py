"""What the spool asks of the file system: one owner, a reserve for bad days, and names that survive a power cut."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from collector.errors import SpoolLocked

#: Less free space than this is a full disk: a commit needs a few pages even when the file need not grow.
FULL_BELOW_BYTES = 1 << 20


def beside(path: Path, suffix: str) -> Path:
    """`path` with `suffix` added to its whole name."""
    return path.with_name(path.name + suffix)


def fsync_directory(path: Path) -> None:
    """Make the names in the directory of `path` durable."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_full(path: Path) -> bool:
    """Whether the file system under `path` has no room to speak of."""
    return _free_bytes(path) < FULL_BELOW_BYTES


def _free_bytes(path: Path) -> int:
    found = os.statvfs(path.parent)
    return found.f_bavail * found.f_frsize


class OwnerLock:
    """The lock file beside the spool. It is never deleted; its text is the id of the spool last opened here.

    Raises SpoolLocked when another process holds it.
    """

    def __init__(self, path: Path) -> None:
        name = beside(path, ".lock")
        self._fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise SpoolLocked(
                f"spool {path}: another process owns it ({name} is locked); is a second collector running?"
            ) from None

    def mark(self) -> str:
        """The id of the spool that was opened here before, or nothing."""
        return os.pread(self._fd, 64, 0).decode("ascii", "replace").strip()

    def set_mark(self, spool_id: str) -> None:
        if self.mark() != spool_id:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, spool_id.encode("ascii") + b"\n", 0)

    def release(self) -> None:
        os.close(self._fd)


class Reserve:
    """Space held back so that a full disk cannot stop acknowledgements.

    Even a DELETE needs room in the write-ahead log: without a reserve a full disk is a deadlock (reliability S3).
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = beside(path, ".reserve")
        self._size = size

    @property
    def held(self) -> bool:
        """Whether all of it is: a file of another size is that of other settings."""
        return self._held_bytes() == self._size

    def make(self) -> bool:
        """Take the space if there is twice what is missing, so that making it is not what fills the disk.

        A smaller reserve of other settings is kept until then.
        """
        if self.held:
            return True
        try:
            if _free_bytes(self._path) < 2 * (self._size - max(self._held_bytes(), 0)) + FULL_BELOW_BYTES:
                return False
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._size:
                    os.posix_fallocate(fd, 0, self._size)
                os.ftruncate(fd, self._size)
            finally:
                os.close(fd)
        except OSError:  # read-only, quota, gone: there is none, whatever the reason
            self.release()
            return False
        return True

    def _held_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return -1

    def release(self) -> None:
        """Give the space back to the file system."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
