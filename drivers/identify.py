"""Who a device says it is: FC 43/14 (read device identification) and FC 17 (report server id), through pymodbus.

Reads only. Many devices know neither function and refuse, or stay silent; both mean an empty answer here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient, AsyncModbusTlsClient, AsyncModbusUdpClient
from pymodbus.pdu.other_message import ReportDeviceIdResponse

from drivers.address import BusAddress
from drivers.errors import LinkUnavailable
from drivers.modbus.tls import client_context
from drivers.wires.serial_port import character_of

#: Modbus application protocol V1.1b3, 6.21
OBJECT_NAMES = {
    0: "vendor",
    1: "product_code",
    2: "revision",
    3: "vendor_url",
    4: "product_name",
    5: "model",
    6: "application",
}
BASIC, REGULAR, EXTENDED = 1, 2, 3
FIRST_EXTENDED_OBJECT = 0x80
#: Answers that one stream of objects may have; a device that always says "more follows" is cut here.
MAX_PAGES = 16


class _WholeServerId(ReportDeviceIdResponse):
    """FC 17 with all its bytes: pymodbus takes the last one for the run status, which stands second in the standard."""

    def decode(self, data: bytes) -> None:
        self.identifier = data[1 : 1 + data[0]]


Client = AsyncModbusTcpClient | AsyncModbusTlsClient | AsyncModbusUdpClient | AsyncModbusSerialClient


async def identify(address: BusAddress, unit: int, timeout_s: float = 1.0) -> dict[str, str]:
    """What `unit` says of itself: `vendor`, `product_code`, `revision` … `object_0x87`, `server_id`; {} if nothing.

    Opens its own connection, so no other link to the same port may be open. Raises LinkUnavailable.
    """
    if address.tls is not None and address.tls.name:
        return {}  # pymodbus knows no name but the host's to check the certificate against
    with _quiet():
        client = _client(address, timeout_s)
        client.register(_WholeServerId)
        try:
            if not await client.connect():
                raise LinkUnavailable(f"{address}: cannot be opened for identification")
            found = await _objects(client, unit)
            server_id = await _server_id(client, unit)
        finally:
            client.close()
    if server_id:
        found["server_id"] = server_id
    return found


def _client(address: BusAddress, timeout_s: float) -> Client:
    framer = FramerType.ASCII if address.is_ascii else FramerType.RTU if address.is_serial else FramerType.SOCKET
    if address.is_port:
        return AsyncModbusSerialClient(
            address.path,
            framer=framer,
            baudrate=address.baud,
            **character_of(address),
            timeout=timeout_s,
            retries=0,
            reconnect_delay=0,
        )
    options: dict[str, Any] = {"port": address.port, "timeout": timeout_s, "retries": 0, "reconnect_delay": 0}
    if address.tls is not None:
        return AsyncModbusTlsClient(address.host, sslctx=client_context(address.tls), **options)
    if address.kind == "udp":
        return AsyncModbusUdpClient(address.host, **options)
    return AsyncModbusTcpClient(address.host, framer=framer, **options)


async def _objects(client: Client, unit: int) -> dict[str, str]:
    """The objects of the first category the device serves, and its extended ones. Silence ends the questions."""
    found: dict[str, str] = {}
    for category, first in ((REGULAR, 0), (BASIC, 0), (EXTENDED, FIRST_EXTENDED_OBJECT)):
        if category == BASIC and found:
            continue
        answered = await _stream(client, unit, category, first, found)
        if not answered:
            break
    return found


async def _stream(client: Client, unit: int, category: int, first: int, found: dict[str, str]) -> bool:
    """Read one category into `found`, page by page. False: the device stayed silent."""
    for _ in range(MAX_PAGES):
        try:
            answer: Any = await client.read_device_information(read_code=category, object_id=first, device_id=unit)
        except ModbusException:
            return False
        if answer.isError():
            return True
        for number, content in answer.information.items():
            name = OBJECT_NAMES.get(number, f"object_0x{number:02x}")
            found[name] = _text(content)
        if not answer.more_follows or answer.next_object_id <= first:
            return True
        first = answer.next_object_id
    return True


async def _server_id(client: Client, unit: int) -> str:
    try:
        answer: Any = await client.report_device_id(device_id=unit)
    except ModbusException:
        return ""
    return "" if answer.isError() else _text(answer.identifier)


def _text(content: Any) -> str:
    """Device text as one printable line; other bytes are shown in hex."""
    parts = content if isinstance(content, list) else [content]
    raw = b" ".join(part if isinstance(part, bytes) else str(part).encode() for part in parts)
    text = raw.strip(b"\0 ").decode("utf-8", errors="backslashreplace")
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence is an answer here; pymodbus reports it as an error with a dump of frames."""
    log = logging.getLogger("pymodbus.logging")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
