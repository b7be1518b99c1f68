"""Run inside `unshare -rn`: poll a device, take the network away, print what the link reports within some seconds."""

import asyncio
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from drivers.address import parse_bus
from drivers.modbus.link_tcp import TcpLink
from drivers.modbus.tcp_pool import TcpPool
from tests.drivers.modbus.line import Recorder, answer_perfectly, tcp_device
from tests.drivers.modbus.test_link_tcp import ASK

#: User timeout 1 s and the kernel's own pace of looking at it; far below its default of 15 minutes.
SECONDS = 3.5


async def main(user_timeout_s: float) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    async with tcp_device(answer_perfectly) as url:
        sink = Recorder()
        link = TcpLink(TcpPool(), parse_bus(url), sink, user_timeout_s=user_timeout_s)
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


asyncio.run(main(float(sys.argv[1])))
