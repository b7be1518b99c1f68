"""What devices say without being asked, found in whatever a line delivers. Pure: every method is told the time.

It hears all that comes, also while a question is in flight; what answers that question is nothing to it, because no
command listened for can read it. After opening, the first thing that comes may be the tail of something: it is not
taken for a frame unless it begins like one.
"""

from collections.abc import Iterable, Iterator, Sequence

from drivers.errors import DeviceError
from drivers.text.command import Command
from drivers.text.framing import Framing

#: A command and the register image of what was heard.
Heard = tuple[Command, bytes]


class Listener:
    """Listens for `commands`, none of which has a question. A frame is of the first one that can read it."""

    def __init__(self, commands: Iterable[Command]) -> None:
        ears: dict[Framing, list[Command]] = {}
        for command in commands:
            ears.setdefault(command.framing, []).append(command)
        self._ears = [_Ear(framing, of) for framing, of in ears.items()]
        self._received_at: float | None = None  # since then the line was silent; None: nothing to conclude from it

    @property
    def unread(self) -> int:
        """Bytes that were thrown away: noise, halves, frames that no command can read."""
        return sum(ear.unread for ear in self._ears)

    def join(self, now: float) -> None:
        """The line was opened: what comes first may be the middle of a frame, unless a silence precedes it."""
        self._received_at = now
        for ear in self._ears:
            ear.join()

    def received(self, data: bytes, now: float) -> list[Heard]:
        """What `data` completes."""
        self._received_at = now
        step = min(ear.framing.longest for ear in self._ears)
        found: list[Heard] = []
        for at in range(0, len(data), step):
            for ear in self._ears:
                ear.buffer += data[at : at + step]
            found += self._search([])
            for ear in self._ears:
                ear.drop(len(ear.buffer) - 2 * ear.framing.longest)
        return found

    def next_at(self) -> float | None:
        """When to call `silence`, if nothing comes until then."""
        waiting = [ear.framing.quiet_s for ear in self._ears if ear.waits]
        return None if self._received_at is None or not waiting else self._received_at + min(waiting)

    def silence(self, now: float) -> list[Heard]:
        """What the silence since the last bytes completes; what it leaves incomplete is thrown away."""
        if self._received_at is None:
            return []
        silent_s = now - self._received_at
        silent = [ear for ear in self._ears if ear.waits and silent_s >= ear.framing.quiet_s]
        found = list(self._search(silent))
        for ear in silent:
            ear.drop(len(ear.buffer))
            ear.midway = False
        return found

    def _search(self, silent: "Sequence[_Ear]") -> Iterator[Heard]:
        """What stands in the bytes that were received, in their order; for the ears in `silent` nothing more comes."""
        while True:
            found = [(ear, place) for ear in self._ears if (place := ear.find(silent=ear in silent)) is not None]
            if not found:
                return
            first, place = min(found, key=lambda each: each[0].base + each[1][1])
            end = first.base + place[1]
            heard = first.take(*place)
            if heard is not None:
                for ear in self._ears:  # what is a frame of one is no part of another's
                    ear.drop(end - ear.base, unread=False)
                yield heard


class _Ear:
    """What is listened for in frames of one framing."""

    def __init__(self, framing: Framing, commands: list[Command]) -> None:
        self.framing = framing
        self.unread = 0
        self.buffer = bytearray()
        self.base = 0  #: bytes received before those in `buffer`
        self.midway = True
        self._commands = commands

    @property
    def waits(self) -> bool:
        """Whether a silence would change anything."""
        return self.midway or bool(self.buffer)

    def join(self) -> None:
        self.drop(len(self.buffer))
        self.midway = True

    def drop(self, size: int, *, unread: bool = True) -> None:
        """Throw away the first `size` bytes; none when it is negative."""
        size = max(0, min(size, len(self.buffer)))
        self.unread += size * unread
        self.base += size
        del self.buffer[:size]

    def find(self, *, silent: bool) -> tuple[int, int] | None:
        return self.framing.find(bytes(self.buffer), silent=silent)

    def take(self, begin: int, end: int) -> Heard | None:
        """Take out the frame that stands there; what it says, if a command can read it."""
        frame = bytes(self.buffer[begin:end])
        midway, self.midway = self.midway and not self._commands[0].marked, False
        heard = None if midway else self._read(frame)
        self.drop(begin)
        self.drop(end - begin, unread=heard is None)
        return heard

    def _read(self, frame: bytes) -> Heard | None:
        for command in self._commands:
            try:
                return command, command.read(frame)
            except DeviceError:
                continue
        return None
