"""What can go wrong with a unit, switchable while it runs.

A fault is written `kind`, `kind:amount` or either with `*times`: `silent`, `late:0.4`, `exception:6*2`. Without
`*times` it stays until it is replaced or cleared.
"""

import random
import re
from dataclasses import dataclass, replace
from typing import Protocol

#: kind → (default amount, what it does). An amount of None: the kind takes none.
KINDS: dict[str, tuple[float | None, str]] = {
    "silent": (None, "no answer"),
    "slow": (1.0, "answers this many seconds later, unless the line carries something else meanwhile"),
    "late": (1.0, "answers this many seconds later, also in the middle of another request"),
    "exception": (4, "answers with this exception code"),
    "wrong-unit": (None, "answers under the next unit's id"),
    "short": (None, "a well-formed answer with one register too few"),
    "cut": (3, "the answer loses its last bytes, this many of them"),
    "twice": (None, "the answer comes twice, the second one at once"),
    "noise": (1e-3, "each bit of the answer flips with this probability; serial lines only"),
    "garbage": (16, "this many random bytes instead of the answer"),
    "echo": (None, "the request comes back before the answer, as on a two-wire loop; serial lines only"),
    "babble": (None, "random bytes without end, until the fault is cleared or the connection closed"),
    "reboot": (None, "no answer this many times (3 unless given), then its counters begin at zero"),
    "reset": (None, "resets the connection; a serial port or UDP port disappears and comes back"),
}
#: Questions that a device misses while it starts anew.
REBOOT_TIMES = 3
#: A checksum of TCP or UDP keeps flipped bits away from the reader, and neither has a shared wire to echo on.
SERIAL_ONLY = frozenset({"noise", "echo"})

#: A babbling unit sends this much this often, about the rate of a 115200 baud line.
BABBLE_BYTES, BABBLE_EVERY_S = 128, 0.01
#: Answers held back at the same time on one connection (slow, late); what is asked beyond that gets no answer.
MAX_OWED = 64

_TEXT = re.compile(r"(?P<kind>[a-z-]+)(?::(?P<amount>[0-9.e+-]+))?(?:\*(?P<times>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault with its amount; `times` counts down with each answer it spoils, None: for ever."""

    kind: str
    amount: float = 0.0
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Fault | None":
        """Read `silent`, `late:0.4`, `exception:6*2`; `ok` gives None. Raises ValueError with the known kinds."""
        if text == "ok":
            return None
        match = _TEXT.fullmatch(text)
        if match is None or match["kind"] not in KINDS:
            raise ValueError(f"fault {text!r} is unknown: write kind, kind:amount or kind*times of {', '.join(KINDS)}")
        kind, times = match["kind"], match["times"]
        default = KINDS[kind][0]
        if default is None and match["amount"] is not None:
            raise ValueError(f"fault {text!r}: {kind} takes no amount")
        amount = float(match["amount"]) if match["amount"] else default or 0.0
        if not _sensible(kind, amount):
            raise ValueError(f"fault {text!r}: {amount:g} is no sensible amount: {KINDS[kind][1]}")
        if times is not None and int(times) < 1:
            raise ValueError(f"fault {text!r}: at least one time")
        return cls(kind, amount, int(times) if times else REBOOT_TIMES if kind == "reboot" else None)

    @property
    def mute(self) -> bool:
        """Whether there is no answer at all."""
        return self.kind in ("silent", "reboot")

    def used(self) -> "Fault | None":
        """What is left of the fault after one spoilt answer."""
        if self.times is None:
            return self
        return replace(self, times=self.times - 1) if self.times > 1 else None

    @property
    def delay_s(self) -> float:
        """How much later than usual the answer leaves."""
        return self.amount if self.kind in ("slow", "late") else 0.0

    def spoil_answer(self, unit: int, pdu: bytes) -> tuple[int, bytes]:
        """Unit id and PDU as the sick unit sends them: the frame around them is still correct."""
        if self.kind == "exception":
            return unit, bytes((pdu[0] | 0x80, int(self.amount)))
        if self.kind == "wrong-unit":
            return unit % 247 + 1, pdu
        if self.kind == "short" and len(pdu) > 4:
            return unit, bytes((pdu[0], pdu[1] - 2)) + pdu[2:-2]
        return unit, pdu

    def spoil_frame(self, frame: bytes, noise: random.Random) -> bytes:
        """The bytes that really go on the wire in place of the correct `frame`."""
        if self.kind == "cut":
            return frame[: -int(self.amount)]
        if self.kind == "twice":
            return frame + frame
        if self.kind == "garbage":
            return noise.randbytes(int(self.amount))
        if self.kind == "noise":
            flips = sum(1 << bit for bit in range(8 * len(frame)) if noise.random() < self.amount)
            return (int.from_bytes(frame, "big") ^ flips).to_bytes(len(frame), "big")
        return frame


class Faulty(Protocol):
    """A unit that can be made to fail, and what it counts."""

    fault: Fault | None
    requests: int  #: questions it understood
    exceptions: int  #: of them those it refused
    writes_refused: int  #: questions that were no reads of it

    def restart(self) -> None:
        """Its counters begin at zero."""


def spend(unit: Faulty, fault: Fault) -> None:
    """One more answer of `unit` is spoilt by `fault`."""
    unit.fault = fault.used()
    if fault.kind == "reboot" and unit.fault is None:
        unit.restart()


def _sensible(kind: str, amount: float) -> bool:
    if kind in ("slow", "late"):
        return 0 <= amount <= 3600
    if kind == "exception":
        return amount in range(1, 256)
    if kind == "noise":
        return 0 < amount <= 0.5
    if kind in ("cut", "garbage"):
        return amount in range(1, 4097)
    return True
