"""Which merged reads their devices refused, remembered over a restart.

Without it each start would ask once more for what is not there. Nothing hangs on it: a file that is lost or damaged
costs one exception per merged read, and an entry is forgotten after a month, because firmware gets updated.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from collector.clock import Clock

#: A device with new firmware may answer what it once refused: then it is asked for the whole block again.
FORGET_S = 30 * 86400.0
#: A thousand devices of ten refused reads each; the oldest go first.
MAX_READS = 10_000
#: That many have a quarter of this.
MAX_BYTES = 4 << 20

#: device, function, wire address, registers or bits
Read = tuple[str, int, int, int]


class Splits:
    """The refused reads in `path`, each with the time (UTC, s) when it was refused."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._since = dict(_read(path, clock.now_ns() / 1e9))
        self._saved = dict(self._since)

    def __contains__(self, read: Read) -> bool:
        return read in self._since

    def add(self, read: Read) -> None:
        """`read` was refused just now."""
        self._since[read] = self._clock.now_ns() / 1e9
        while len(self._since) > MAX_READS:
            del self._since[next(iter(self._since))]

    @property
    def changed(self) -> bool:
        """Whether there is something to save."""
        return self._since != self._saved

    def save(self) -> None:
        """Replace the file in one step. Raises OSError."""
        since = dict(self._since)
        temporary = self._path.with_name(self._path.name + ".new")
        temporary.write_text(json.dumps({"version": 1, "refused": [[*read, s] for read, s in since.items()]}))
        temporary.replace(self._path)
        self._saved = since


def _read(path: Path, now_s: float) -> Iterator[tuple[Read, float]]:
    """What the file holds and is not too old; nothing when it cannot be understood."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = data["refused"] if data["version"] == 1 else []
        for device, function, address, count, since_s in rows[-MAX_READS:]:
            if now_s - float(since_s) < FORGET_S:
                yield (str(device), int(function), int(address), int(count)), float(since_s)
    except (OSError, ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return
