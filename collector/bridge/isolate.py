"""From a body the database will not take whole to its good lines stored and its bad lines known. Pure: no I/O.

Writing a line twice changes nothing (its series and timestamp are the same), so pieces are simply sent again until
every rejected line stands alone.
"""

from dataclasses import dataclass

from collector.bridge.check import BadLine, Reason
from collector.errors import LinesRejected, StoreRefused, StoreTooLarge

#: Once the good lines are stored, requests only find out which were bad: this many per batch, enough for two lines
#: among 20,000; what is then still undecided goes to the dead letters together.
MAX_SEARCH = 64
#: A server that takes less is misconfigured: nothing is given up for being large below this.
MIN_BODY_BYTES = 65_536


@dataclass(slots=True)
class _Piece:
    body: bytes
    guilty: bool = False  #: known to hold a bad line, so not sent again as it is
    bad_before: int | None = None  #: of a second half: bad lines known at the cut; none since, then it is guilty


class Job:
    """The lines of one batch on their way. Ask `body`, send it, report what came of it; until `done`.

    While the database is busy nothing is reported and `body` stays the same.
    """

    def __init__(self, bodies: list[bytes], max_bytes: int) -> None:
        self.bad: list[BadLine] = []  #: for the dead letters: never stored, or (MAX_SEARCH) perhaps not
        self.max_bytes = max_bytes  #: of one body; shrinks when the database says so
        self.written = 0  #: lines stored
        self.dropped = 0  #: lines never stored
        self.requests = 0
        self._searches = 0
        self._todo = [_Piece(body) for body in _pack(bodies, max_bytes)]

    @property
    def done(self) -> bool:
        return not self._todo

    @property
    def body(self) -> bytes:
        """What to send next."""
        return self._todo[-1].body

    def stored(self) -> None:
        """The database took `body`."""
        self.requests += 1
        self.written += self._todo.pop().body.count(b"\n")
        self._cut()

    def too_large(self, error: StoreTooLarge) -> None:
        """The database takes no body of this size: halves from now on. Raises StoreRefused below MIN_BODY_BYTES."""
        self.requests += 1
        body = self.body
        if len(body) <= MIN_BODY_BYTES:
            raise StoreRefused(f"{error}; and that to {len(body)} bytes: raise its limit")
        if body.count(b"\n") == 1:
            self._todo.pop()
            self._give_up(body, str(error))
        else:
            self.max_bytes = min(self.max_bytes, max(len(body) // 2, MIN_BODY_BYTES))
        self._cut()

    def rejected(self, error: LinesRejected) -> None:
        """Some lines of `body` can never be stored."""
        self.requests += 1
        body, detail = self.body, str(error)
        lines = body.count(b"\n")
        named = _present(error.lines, body)
        if lines == 1 or (error.dropped is not None and error.dropped >= lines):
            self._todo.pop()
            self._give_up(body, detail)
        elif named:
            self._todo.pop()
            rest = b"".join(line for line in body.splitlines(keepends=True) if line[:-1] not in named)
            self._give_up(b"".join(line + b"\n" for line in body.splitlines() if line in named), detail)
            if error.others_written:
                self.written += rest.count(b"\n")
            elif rest:
                self._todo.append(_Piece(rest))
        elif error.others_written and self._searches >= MAX_SEARCH:
            self._todo.pop()
            self._doubt(body, error)
        else:
            self._searches += error.others_written
            self._todo[-1].guilty = True
        self._cut()

    def _cut(self) -> None:
        """Make what comes next small enough, and do not send again what is known to hold a bad line."""
        while self._todo:
            piece = self._todo[-1]
            if piece.body.count(b"\n") == 1:
                return
            if piece.guilty or piece.bad_before == len(self.bad):
                cut = piece.body.rfind(b"\n", 0, len(piece.body) // 2) + 1 or piece.body.find(b"\n") + 1
                self._todo[-1:] = [_Piece(piece.body[cut:], bad_before=len(self.bad)), _Piece(piece.body[:cut])]
            elif len(piece.body) > self.max_bytes:
                self._todo[-1:] = [_Piece(body) for body in reversed(_pieces(piece.body, self.max_bytes))]
            else:
                return

    def _give_up(self, body: bytes, detail: str) -> None:
        self.bad += [BadLine(Reason.STORE, line, detail) for line in body.splitlines()]
        self.dropped += body.count(b"\n")

    def _doubt(self, body: bytes, error: LinesRejected) -> None:
        """Enough searched: keep all lines for somebody to look at, count as many as the database says."""
        self._give_up(body, f"one or more of these lines: {error}")
        if error.dropped is not None:
            stored = body.count(b"\n") - error.dropped
            self.dropped -= stored
            self.written += stored


def _present(named: tuple[bytes, ...], body: bytes) -> frozenset[bytes]:
    """Those of the named lines that really are lines of `body`: a server may cut or unescape what it quotes."""
    return frozenset(named) & frozenset(body.splitlines()) if named else frozenset()


def _pack(bodies: list[bytes], max_bytes: int) -> list[bytes]:
    """Join bodies up to `max_bytes`, last first. One above it is cut between lines."""
    packs: list[list[bytes]] = [[]]
    size = 0
    for body in bodies:
        for piece in _pieces(body, max_bytes):
            if size and size + len(piece) > max_bytes:
                packs.append([])
                size = 0
            packs[-1].append(piece)
            size += len(piece)
    return [b"".join(pack) for pack in reversed(packs) if pack]


def _pieces(body: bytes, max_bytes: int) -> list[bytes]:
    pieces = []
    while len(body) > max_bytes:
        cut = body.rfind(b"\n", 0, max_bytes) + 1 or body.find(b"\n") + 1
        pieces.append(body[:cut])
        body = body[cut:]
    return [*pieces, body] if body else pieces
