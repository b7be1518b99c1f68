"""Run inside `unshare -rn`: ask over UDP where nobody answers ARP, print what the link reports within some seconds.

unreachable.py 1      0: the socket does not ask to be told of such errors
"""

import asyncio
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from drivers.address import parse_bus
from drivers.base import Request
from drivers.links import Links
from drivers.modbus import link_udp
from tests.drivers.modbus.line import Recorder

SECONDS = 2.0
NETWORK = """\
ip link set lo up
ip link add here type veth peer name there
ip addr add 192.0.2.1/24 dev here
ip link set here up
ip link set there up
ip ntable change name arp_cache dev here retrans 50
"""
SO_BROADCAST = (1, 6)  # an option that changes nothing here


async def main(asking: bool) -> None:
    for command in NETWORK.splitlines():
        subprocess.run(command.split(), check=True)
    if not asking:
        link_udp._RECEIVE_ERRORS.update(dict.fromkeys(link_udp._RECEIVE_ERRORS, SO_BROADCAST))
    sink, links = Recorder(), Links()
    link = links.create(parse_bus("udp://192.0.2.2"), sink, timeout_s=1.0)
    link.open()
    assert await sink.next() == "opened"
    link.send(Request(1, 3, 0, 1))
    for _ in range(int(SECONDS / 0.1)):
        await asyncio.sleep(0.1)
        if sink.events:
            break
    print(repr(sink.events))
    link.close()
    links.close()


asyncio.run(main(sys.argv[1] == "1"))
