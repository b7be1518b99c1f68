"""A virtual Modbus unit: what it answers to a request PDU, whatever line the request came over.

It only reads. A write, or any function that is not a read or an identification, gets exception 1 and is counted,
so that a test can prove that nothing was ever written to a device.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drivers.base import (
    MAX_BITS,
    MAX_REGISTERS,
    READ_COILS,
    READ_DISCRETE_INPUTS,
    READ_HOLDING_REGISTERS,
    READ_INPUT_REGISTERS,
)
from drivers.simulators.faults import Fault

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
REPORT_SERVER_ID = 0x11
ENCAPSULATED = 0x2B
READ_DEVICE_ID = 0x0E
#: Data bytes a PDU of 253 holds behind the seven of a device identification answer.
_OBJECT_ROOM = 246
_READ = struct.Struct(">BHH")


class Bank:
    """One table of a unit: registers (`width` 2 bytes each) or bits (one byte each, 0 or 1) from `first` on.

    `data` may be any writable buffer, so that many units can live in one array. `defined` has one byte per place,
    0 where reading is an error; None: the whole span may be read.
    """

    __slots__ = ("data", "defined", "end", "first", "limit", "width")

    def __init__(
        self,
        first: int,
        data: bytearray | memoryview,
        *,
        width: int = 2,
        defined: bytes | None = None,
        limit: int | None = None,
    ) -> None:
        self.first = first
        self.data = data
        self.width = width
        self.end = first + len(data) // width
        self.defined = defined
        self.limit = limit or (MAX_REGISTERS if width == 2 else MAX_BITS)

    def read(self, address: int, count: int) -> bytes | memoryview | bytearray | int:
        """The answer's data bytes, or the exception code as an int."""
        if not 1 <= count <= self.limit:
            return ILLEGAL_VALUE
        start = address - self.first
        if start < 0 or address + count > self.end:
            return ILLEGAL_ADDRESS
        if self.defined is not None and self.defined.find(0, start, start + count) >= 0:
            return ILLEGAL_ADDRESS
        if self.width == 2:
            return self.data[2 * start : 2 * (start + count)]
        bits = sum(1 << place for place, bit in enumerate(self.data[start : start + count]) if bit)
        return bits.to_bytes((count + 7) // 8, "little")


@dataclass(frozen=True, slots=True)
class Identity:
    """What FC 43/14 (basic objects 0-2) and FC 17 tell of a unit."""

    vendor: str
    product: str
    revision: str = "1.0"


class Unit:
    """A unit on a line. `banks` maps a function code (1-4) to the table it reads.

    `refresh` is called before each answer and brings the banks up to date. `fault` is applied by the server that
    carries the unit and may be changed at any time.
    """

    def __init__(
        self,
        name: str,
        banks: Mapping[int, Bank],
        identity: Identity | None = None,
        refresh: Callable[[], None] | None = None,
        restart: Callable[[], None] | None = None,
    ) -> None:
        self.name = name
        self.banks = banks
        self.identity = identity
        self.refresh = refresh
        self._restart = restart
        self.fault: Fault | None = None
        self.requests = 0
        self.exceptions = 0
        self.writes_refused = 0

    def restart(self) -> None:
        if self._restart is not None:
            self._restart()

    def answer(self, pdu: bytes) -> bytes:
        """The answer PDU to `pdu` (at least one byte)."""
        self.requests += 1
        if self.refresh is not None:
            self.refresh()
        function = pdu[0]
        bank = self.banks.get(function)
        if bank is not None:
            if len(pdu) != _READ.size:
                return self.refuse(function, ILLEGAL_VALUE)
            _, address, count = _READ.unpack(pdu)
            data = bank.read(address, count)
            if isinstance(data, int):
                return self.refuse(function, data)
            return b"".join((bytes((function, len(data))), data))
        if READ_COILS <= function <= READ_INPUT_REGISTERS:
            return self.refuse(function, ILLEGAL_ADDRESS)
        if function == REPORT_SERVER_ID and self.identity is not None:
            text = f"{self.identity.vendor} {self.identity.product}".encode()[:240]
            return bytes((function, len(text) + 2, 1)) + b"\xff" + text
        if function == ENCAPSULATED and self.identity is not None:
            return self._device_id(pdu)
        self.writes_refused += 1
        return self.refuse(function, ILLEGAL_FUNCTION)

    def refuse(self, function: int, code: int) -> bytes:
        """An exception answer, counted."""
        self.exceptions += 1
        return bytes((function | 0x80, code))

    def _device_id(self, pdu: bytes) -> bytes:
        """FC 43 / MEI 14 (Modbus application protocol V1.1b3, section 6.21), basic objects only."""
        if len(pdu) != 4 or pdu[1] != READ_DEVICE_ID or pdu[2] not in (1, 2, 3, 4):
            return self.refuse(ENCAPSULATED, ILLEGAL_VALUE)
        assert self.identity is not None
        texts = (self.identity.vendor, self.identity.product, self.identity.revision)
        code, wanted = pdu[2], pdu[3]
        if code == 4 and wanted >= len(texts):
            return self.refuse(ENCAPSULATED, ILLEGAL_ADDRESS)
        start = wanted if wanted < len(texts) else 0
        numbers = [wanted] if code == 4 else range(start, len(texts))
        room = _OBJECT_ROOM // len(texts) - 2
        objects = b"".join(
            bytes((n, len(text))) + text for n in numbers for text in [texts[n].encode("ascii", "replace")[:room]]
        )
        return bytes((ENCAPSULATED, READ_DEVICE_ID, code, 0x81, 0, 0, len(numbers))) + objects


def registers(first: int, data: bytearray | memoryview) -> dict[int, Bank]:
    """Banks of a unit that shows the same registers as holding and as input registers."""
    bank = Bank(first, data)
    return {READ_HOLDING_REGISTERS: bank, READ_INPUT_REGISTERS: bank}


#: Functions that read bits; the others read registers.
BIT_FUNCTIONS = frozenset({READ_COILS, READ_DISCRETE_INPUTS})
