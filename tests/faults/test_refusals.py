"""Devices and gateways that say no: what is left out, what comes back, and who must not notice.

Simulated units behind real Modbus TCP ports, polled by the real poller in real time.
"""

import asyncio
from contextlib import asynccontextmanager

import pytest

from collector.clock import SystemClock
from collector.inventory import Inventory
from collector.poll import Poller
from collector.poll import bus as bus_module
from collector.poll.intake import Intake
from collector.poll.unit import Breaker, Standing
from collector.settings import Settings
from collector.splits import Splits
from collector.types import Outcome
from drivers.errors import LinkLost
from drivers.links import Links
from drivers.modbus.tcp_pool import TcpPool
from drivers.simulators.faults import Fault
from drivers.simulators.server_tcp import TcpPort
from drivers.simulators.unit import Bank, Unit
from tests.maps import HEAD
from tests.waiting import until

POINTS = 16
MISSING = 5
INTERVAL_S = 0.1

PROFILE = HEAD + "".join(
    f'[[point]]\nname = "p{n}"\ntable = "holding"\naddress = {n}\ntype = "u16"\n' for n in range(POINTS)
)


def a_unit(name, missing=()):
    defined = bytes(place not in missing for place in range(POINTS))
    return Unit(name, {3: Bank(0, bytearray(2 * POINTS), defined=defined)})


class Gateway:
    """A port with `units` behind it, and a poller that asks for the units of `asked`."""

    def __init__(self, directory, units, asked, splits=None, settings=""):
        (directory / "test").mkdir(exist_ok=True)
        (directory / "test" / "meter.toml").write_text(PROFILE)
        self.pool, self.links = TcpPool(), Links()
        self.port = TcpPort(units, self.pool)
        url = f"tcp://127.0.0.1:{self.port.open()}{settings}"
        device = {"bus": "b", "profile": "test/meter", "interval_s": INTERVAL_S}
        settings = Settings.model_validate(
            {
                "profile_dirs": (str(directory),),
                "bus": ({"name": "b", "url": url},),
                "device": tuple({**device, "name": f"m{unit}", "unit": unit} for unit in asked),
            }
        )
        self.inventory = Inventory(settings, splits)
        self.intake = Intake(1 << 20)
        self.poller = Poller(self.inventory, self.links, self.intake, SystemClock(), Breaker(3, 0.3, 0.2, 1))

    @property
    def bus(self):
        """The first line, its counters up to date."""
        return self.poller.buses[0]

    def good_points(self):
        """Names of the points that came in good answers since the last call."""
        batch = self.intake.take()
        good = {int(b) for b, outcome in zip(batch.block, batch.outcome, strict=True) if outcome == Outcome.OK}
        return {self.inventory.points[p].name for number in good for p in self.inventory.blocks[number].points}

    def close(self):
        self.poller.close()
        self.links.close()
        self.port.close()
        self.pool.close()


@asynccontextmanager
async def gateway(*arguments, **keys):
    made = Gateway(*arguments, **keys)
    made.poller.start()
    try:
        yield made
    finally:
        made.close()


ALL = {f"p{n}" for n in range(POINTS)}


@pytest.mark.parametrize(("retry_s", "comes_back"), [(0.5, True), (1e9, False)], ids=["asked rarely", "twin: never"])
async def test_a_register_that_firmware_brings_back_is_read_again(tmp_path, monkeypatch, retry_s, comes_back):
    monkeypatch.setattr("collector.poll.agenda.REFUSED_RETRY_S", retry_s)
    unit = a_unit("m1", {MISSING})
    async with gateway(tmp_path, {1: unit}, [1]) as field:
        await until(lambda: unit.exceptions >= 3)
        await asyncio.sleep(0.3)
        field.good_points()
        await asyncio.sleep(3 * INTERVAL_S)
        assert field.good_points() == ALL - {f"p{MISSING}"}
        before = unit.exceptions
        await asyncio.sleep(5 * INTERVAL_S)
        assert unit.exceptions - before <= 1, "what is not there is asked for rarely"
        unit.banks[3].defined = None
        await asyncio.sleep(2 * min(retry_s, 0.5))
        field.good_points()
        await asyncio.sleep(3 * INTERVAL_S)
        assert (f"p{MISSING}" in field.good_points()) == comes_back


async def exceptions_of_a_run(directory, splits):
    unit = a_unit("m1", {MISSING})
    async with gateway(directory, {1: unit}, [1], splits) as field:
        await until(lambda: unit.requests > 30)
        assert field.good_points() == ALL - {f"p{MISSING}"}
    return unit.exceptions


async def test_the_next_run_asks_only_for_the_missing_register_itself(tmp_path):
    """Twin: without the file it asks for the merged read and takes it apart again."""
    path = tmp_path / "splits"
    first = Splits(path, SystemClock())
    exceptions = await exceptions_of_a_run(tmp_path, first)
    assert exceptions == 5, "16 registers, 8, 4, 2, 1"
    first.save()
    assert await exceptions_of_a_run(tmp_path, Splits(path, SystemClock())) == 1
    assert await exceptions_of_a_run(tmp_path, None) == exceptions


async def polls_beside_a_silent_unit(directory, *, silent, seconds=1.5):
    """(answers per neighbour, connections made, the silent unit's standing); unit 2 is not there if `silent`."""
    units = {n: a_unit(f"m{n}") for n in (1, 2, 3)}
    if silent:
        del units[2]
    async with gateway(directory, units, [1, 2, 3]) as field:
        await until(lambda: field.bus.units[0].answered > 0)
        losses = field.bus.losses
        await asyncio.sleep(seconds)
        return (
            [field.bus.units[n].answered for n in (0, 2)],
            field.bus.losses - losses,
            field.bus.units[1].standing,
        )


@pytest.mark.parametrize("code", [10, 11])
async def test_a_unit_that_its_gateway_cannot_reach_costs_the_others_nothing(tmp_path, monkeypatch, code):
    monkeypatch.setattr("drivers.simulators.server_tcp.GATEWAY_TARGET_SILENT", code)
    (whole, _, _), (beside, losses, standing) = await asyncio.gather(
        polls_beside_a_silent_unit(tmp_path, silent=False), polls_beside_a_silent_unit(tmp_path, silent=True)
    )
    assert standing is Standing.DOWN
    assert losses == 0, "the connection stays"
    assert min(beside) >= 0.9 * min(whole)


async def test_twin_who_ends_the_connection_for_it_loses_the_polls_of_the_others(tmp_path, monkeypatch):
    def hang_up(self, error):
        self.link.close()
        self.lost(LinkLost(str(error)))

    monkeypatch.setattr(bus_module.Bus, "failed", hang_up)
    beside, losses, _ = await polls_beside_a_silent_unit(tmp_path, silent=True)
    assert losses > 0
    assert min(beside) < 0.5 * 1.5 / INTERVAL_S


async def polls_of_four_slow_units(directory, settings):
    """Answers per unit in a second, when each takes 0.1 s, and the connections that the gateway sees."""
    units = {n: a_unit(f"m{n}") for n in range(1, 5)}
    for unit in units.values():
        unit.fault = Fault("late", 0.1)
    async with gateway(directory, units, list(units), settings=settings) as field:
        await until(lambda: all(unit.answered for bus in field.poller.buses for unit in bus.units))
        before = [unit.answered for bus in field.poller.buses for unit in bus.units]
        await asyncio.sleep(1.0)
        after = [unit.answered for bus in field.poller.buses for unit in bus.units]
        assert all(unit.standing is Standing.UP for bus in field.poller.buses for unit in bus.units)
        return min(now - then for now, then in zip(after, before, strict=True)), len(field.port.connections)


async def test_a_gateway_with_a_pipeline_is_asked_for_all_its_units_at_once_over_one_connection(tmp_path):
    (one, single), (four, shared) = await asyncio.gather(
        polls_of_four_slow_units(tmp_path, ""), polls_of_four_slow_units(tmp_path, "?pipeline=4")
    )
    assert (single, shared) == (1, 1)
    assert four > 2 * one
