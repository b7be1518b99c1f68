"""Modbus ASCII on any wire: a text line whose commands are reads of registers."""

from collections.abc import Callable
from dataclasses import replace

from drivers.address import BusAddress, TextLine
from drivers.base import Request, Sink
from drivers.modbus.ascii import GAP_CHARACTERS, ascii_cost, command
from drivers.text.command import Command
from drivers.text.link import TextLink
from drivers.wires.base import Trace, Wire


class AsciiLink(TextLink):
    """One line. Quarantine, drain and echo are those of every text line: see `drivers.text.exchange`."""

    def __init__(
        self,
        wire: Wire,
        sink: Sink,
        address: BusAddress,
        *,
        timeout_s: float,
        late_s: float,
        mono: Callable[[], float],
        trace: Trace | None = None,
    ) -> None:
        as_text = replace(address, text=TextLine("modbus", gap_s=GAP_CHARACTERS * address.character_s))
        super().__init__(wire, sink, as_text, timeout_s=timeout_s, late_s=late_s, mono=mono, trace=trace)
        self.cost = ascii_cost(address.character_s, address.pause_s)

    def send(self, question: Request | Command) -> None:
        super().send(command(question) if isinstance(question, Request) else question)
