"""A simulated serial bus without a port: what it is fed, and what it puts on the wire."""

import asyncio
import struct

from drivers.simulators.unit import Identity, Unit, registers

WORDS = list(range(1000, 1100))
PATIENCE_S = 10.0


def unit(name="u"):
    return Unit(name, registers(0, bytearray(struct.pack(">100H", *WORDS))), Identity("Acme", "M1"))


def answer_pdu(address, count, function=3):
    words = struct.pack(f">{count}H", *WORDS[address : address + count])
    return bytes((function, len(words))) + words


class Line:
    """What the bus puts on the wire, and when its line was reset."""

    def __init__(self, bus, units, **options):
        self.sent = bytearray()
        self.resets = 0
        self.bus = bus(units, self.sent.extend, self._reset, **options)

    def _reset(self):
        self.resets += 1

    async def settled(self, expected):
        async with asyncio.timeout(PATIENCE_S):
            while len(self.sent) < len(expected):
                await asyncio.sleep(0.005)
        assert bytes(self.sent) == expected
        self.sent.clear()
