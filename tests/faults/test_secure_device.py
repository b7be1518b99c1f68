"""A device behind TLS in the running poller: once its expired certificate is renewed, readings come by themselves."""

import asyncio
import socket
from contextlib import suppress

from collector.clock import SystemClock
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll import bus as bus_module
from collector.poll.intake import Intake
from collector.poll.unit import Breaker, Standing
from collector.settings import Settings
from drivers.links import Links
from tests.drivers.modbus.line import mbap, question
from tests.drivers.modbus.test_link_tls import device, server_context, url_to
from tests.faults.test_refusals import PROFILE, a_unit
from tests.waiting import until


async def test_readings_come_as_soon_as_the_certificate_is_good(authority, tmp_path, monkeypatch):
    meter = a_unit("m")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "meter.toml").write_text(PROFILE)
    monkeypatch.setattr(bus_module, "REOPEN_MIN_S", 0.1)
    monkeypatch.setattr(bus_module, "REOPEN_MAX_S", 0.3)

    async def serve(reader, writer):
        with suppress(asyncio.IncompleteReadError):
            while True:
                transaction, unit, pdu = await question(reader)
                writer.write(mbap(transaction, unit, meter.answer(pdu)))

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = url_to(port, authority.ca, authority.issue("collector"))
    settings = Settings.model_validate(
        {
            "profile_dirs": (str(tmp_path),),
            "bus": ({"name": "b", "url": url},),
            "device": ({"name": "m", "bus": "b", "profile": "test/meter", "interval_s": 0.1},),
        }
    )
    links = Links()
    poller = Poller(Inventory(settings), links, Intake(1 << 20), SystemClock(), Breaker())
    poller.start()
    try:
        (bus,) = poller.buses
        expired = server_context(*authority.issue("meter", "IP:127.0.0.1", days=-1), authority.ca)
        async with device(expired, serve, port):
            await until(lambda: "certificate has expired" in bus.error)
            assert meter.requests == 0, "nothing was asked"
        async with device(server_context(*authority.issue("meter", "IP:127.0.0.1"), authority.ca), serve, port):
            await until(lambda: bus.units[0].answered > 5)
            assert bus.units[0].standing is Standing.UP
            assert bus.error == ""
    finally:
        poller.close()
        links.close()
        await asyncio.sleep(0.05)
