"""Run inside `unshare -rn`: poll a device, take the network away, print what the link reports within some seconds.

half_open.py TIMEOUT_S [CA CERTIFICATE KEY]      plain, or with these files on both sides
"""

import asyncio
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from drivers.address import parse_bus
from drivers.links import Links
from tests.drivers.modbus.line import Recorder, answer_perfectly, tcp_device
from tests.drivers.modbus.test_link_tcp import ASK
from tests.drivers.modbus.test_link_tls import device, server_context, url_to

#: Two timeouts of 1 s and the kernel's own pace of looking; far below its default of 15 minutes.
SECONDS = 3.5


async def poll(url: str, timeout_s: float) -> None:
    sink, links = Recorder(), Links()
    link = links.create(parse_bus(url), sink, timeout_s=timeout_s)
    link.open()
    assert await sink.next() == "opened"
    link.send(ASK)
    assert isinstance(await sink.next(), bytes)
    subprocess.run(["ip", "link", "set", "lo", "down"], check=True)
    link.send(ASK)
    for _ in range(int(SECONDS / 0.1)):
        await asyncio.sleep(0.1)
        if sink.events:
            break
    print(repr(sink.events))
    link.close()
    links.close()


async def main(timeout_s: float, *files: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if files:
        ca, certificate, key = map(Path, files)
        async with device(server_context(certificate, key, ca)) as port:
            await poll(url_to(port, ca, (certificate, key)), timeout_s)
    else:
        async with tcp_device(answer_perfectly) as url:
            await poll(url, timeout_s)


asyncio.run(main(float(sys.argv[1]), *sys.argv[2:]))
