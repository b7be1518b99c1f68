"""Our links against a server in C on Debian's libmodbus: the values must be its own, and so must its refusals."""

import shutil
import struct
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.base import Request
from drivers.errors import DeviceException
from drivers.session import Session
from tests.drivers.modbus.line import pty_pair

SOURCE = Path(__file__).with_name("libmodbus_server.c")
UNIT = 17
SIZE = 2500
BITS = {1: [i * i % 7 < 3 for i in range(SIZE)], 2: [i * i % 5 < 2 for i in range(SIZE)]}
REGISTERS = {3: [257 * i + 13 & 0xFFFF for i in range(SIZE)], 4: [31 * i & 0xFFFF ^ 0x5555 for i in range(SIZE)]}

HEADER = Path("/usr/include/modbus/modbus.h")
pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None or not HEADER.exists(), reason="no libmodbus (apt install gcc libc6-dev libmodbus-dev)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    program = tmp_path_factory.mktemp("libmodbus") / "server"
    subprocess.run(["gcc", "-Wall", "-o", program, SOURCE, "-I", HEADER.parent, "-lmodbus"], check=True, timeout=60)
    return program


@asynccontextmanager
async def opened(server, kind):
    """A session with the server, over TCP or through a null-modem cable of two pseudo-terminals."""
    with pty_pair() as (ours, theirs):
        arguments = ["tcp"] if kind == "tcp" else ["rtu", theirs, str(UNIT)]
        process = subprocess.Popen([server, *arguments], stdout=subprocess.PIPE, text=True)
        try:
            said = process.stdout.readline().strip()
            url = f"tcp://127.0.0.1:{said}" if kind == "tcp" else f"serial://{ours}?baud=19200"
            async with await Session.open(url, timeout_s=2.0) as session:
                yield session
        finally:
            process.kill()
            process.communicate()


def held(request):
    if request.function <= 2:
        bits = BITS[request.function][request.address : request.address + request.count]
        packed = sum(bit << i for i, bit in enumerate(bits))
        return packed.to_bytes(request.answer_bytes, "little")
    values = REGISTERS[request.function][request.address : request.address + request.count]
    return struct.pack(f">{request.count}H", *values)


REQUESTS = [
    *(
        Request(UNIT, function, address, count)
        for function in (3, 4)
        for address, count in ((0, 1), (7, 50), (2375, 125))
    ),
    *(
        Request(UNIT, function, address, count)
        for function in (1, 2)
        for address, count in ((0, 1), (5, 19), (500, 2000))
    ),
]


@pytest.mark.parametrize("kind", ["tcp", "pty"])
async def test_every_read_gives_what_libmodbus_holds(server, kind):
    async with opened(server, kind) as session:
        for request in REQUESTS:
            assert await session.read(request) == held(request), request


@pytest.mark.parametrize("kind", ["tcp", "pty"])
async def test_its_refusal_of_an_address_is_exception_2_and_the_next_read_succeeds(server, kind):
    async with opened(server, kind) as session:
        for function in (1, 2, 3, 4):
            with pytest.raises(DeviceException) as refused:
                await session.read(Request(UNIT, function, SIZE - 1, 2))
            assert refused.value.code == 2
        assert await session.read(REQUESTS[0]) == held(REQUESTS[0])
