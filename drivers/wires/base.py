"""The contract between a wire and the link on it.

A wire carries bytes both ways and knows nothing of frames: a serial port, or a serial server behind TCP. The link on
it (Modbus RTU, YD/T 1363, plain ASCII) finds frames in the bytes and keeps the time.

    link                      wire
    open()            ──▶     opens
                      ◀──     wire_opened()            or wire_lost(LinkError)
    write(frame)      ──▶     transmits at once
                      ◀──     wire_received(bytes)     as they come, in any pieces
    rest()            ──▶     keeps what comes for waiting_bytes(), until listen()
                      ◀──     wire_lost(LinkError)     any time; nothing more is reported
"""

from collections.abc import Callable
from typing import Protocol

from drivers.errors import LinkError

#: Called with "tx" or "rx" and the bytes as they went over the wire.
Trace = Callable[[str, bytes], None]


class WireOwner(Protocol):
    """Where a wire reports. Called from the event loop, never from inside a call of the wire."""

    def wire_opened(self) -> None:
        """The wire is ready for `write`."""

    def wire_received(self, data: bytes) -> None:
        """Bytes came, at least one."""

    def wire_lost(self, error: LinkError) -> None:
        """The wire failed or could not be opened; the owner closes it."""


class Wire(Protocol):
    """Carries bytes. Belongs to the one owner it was given by `attach`."""

    subject: str  #: the canonical address, for messages
    remote: bool  #: behind a network: that it is open does not prove that a line is connected

    def attach(self, owner: WireOwner) -> None:
        """Report to `owner`."""

    def open(self) -> None:
        """Start opening; the owner hears of the outcome. Never blocks, never raises for what the world does."""

    def write(self, frame: bytes) -> None:
        """Transmit. A failure is reported later, as `wire_lost`."""

    def rest(self) -> None:
        """Nothing that comes is worth a wake-up for now. A wire may report it all the same."""

    def listen(self) -> None:
        """Report again whatever comes, as after opening."""

    def waiting_bytes(self) -> bytes:
        """What can be read at once; b"" also when the wire is lost, which is reported when it listens."""

    def close(self) -> None:
        """Close at once; the owner hears nothing any more."""
