"""Modbus protocol data units, pure bytes. Only reads can be encoded (Modbus application protocol V1.1b3, 6.1-6.4)."""

import struct

from drivers.base import (
    MAX_BITS,
    MAX_REGISTERS,
    READ_COILS,
    READ_DISCRETE_INPUTS,
    READ_HOLDING_REGISTERS,
    READ_INPUT_REGISTERS,
    Request,
)
from drivers.errors import BadFrame, DeviceException

MAX_PDU = 253
#: set in the function code of an exception answer
EXCEPTION_BIT = 0x80

_READ = struct.Struct(">BHH")
_LIMITS = {
    READ_COILS: MAX_BITS,
    READ_DISCRETE_INPUTS: MAX_BITS,
    READ_HOLDING_REGISTERS: MAX_REGISTERS,
    READ_INPUT_REGISTERS: MAX_REGISTERS,
}


def encode_read(request: Request) -> bytes:
    """The five bytes that ask for `request`. Raises ValueError for anything that is not a read within the limits."""
    limit = _LIMITS.get(request.function)
    if limit is None:
        raise ValueError(f"function {request.function} is not a read; only 1, 2, 3 and 4 can be sent")
    if not 0 <= request.unit <= 255:
        raise ValueError(f"unit {request.unit} is not in 0..255")
    if not 1 <= request.count <= limit:
        raise ValueError(f"count {request.count} is not in 1..{limit} for function {request.function}")
    if request.address < 0 or request.address + request.count > 0x10000:
        raise ValueError(f"{request.count} from address {request.address} is outside 0..65535")
    return _READ.pack(request.function, request.address, request.count)


def answer_of_unit(request: Request, unit: int, pdu: memoryview) -> memoryview:
    """`answer_data` of a network frame that names `unit` as its sender. Raises BadFrame when that was not asked."""
    if unit != request.unit:
        raise BadFrame(f"asked unit {request.unit}, answered unit {unit}")
    return answer_data(request, pdu)


def answer_data(request: Request, pdu: memoryview) -> memoryview:
    """The data bytes of a complete answer PDU to `request`.

    Raises DeviceException when the device said no, and BadFrame when this is no answer to `request`.
    """
    if len(pdu) < 2:
        raise BadFrame(f"answer is too short: {len(pdu)} of at least 2 bytes")
    function, expected = pdu[0], request.answer_bytes
    if function == request.function | EXCEPTION_BIT:
        if len(pdu) != 2:
            raise BadFrame(f"exception answer has not 2 bytes but {len(pdu)}")
        raise DeviceException(pdu[1])
    if function != request.function:
        raise BadFrame(f"asked function {request.function}, answered function {function}")
    if pdu[1] != expected or len(pdu) != 2 + expected:
        raise BadFrame(f"asked {expected} data bytes, answer announces {pdu[1]} and carries {len(pdu) - 2}")
    return pdu[2:]
