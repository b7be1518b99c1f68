"""What the collector says of itself: a snapshot for the status file, and lines that travel with the data.

The same numbers appear in `collector status`, in the retained status message and in the database, so that an
operator and a technician never look at two truths.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from collector import __version__
from collector.clock import Clock
from collector.measured import Measured
from collector.pipeline import Pipeline
from collector.poll.bus import Bus
from collector.poll.unit import Standing, Unit
from collector.settings import Gateway
from collector.spool import Spool

DEVICE_CATEGORY = "device_health"
GATEWAY_CATEGORY = "gateway_health"
#: Fields of a device's line, see `_line`.
DEVICE_FIELDS = 9
#: A line is some 200 bytes, 480 with the longest names: rows of a size that brokers carry well and bridges accept.
DEVICES_PER_ROW = 200


class Health:
    """Gathers from the running parts; holds no numbers of its own but what the last minute is measured from."""

    def __init__(
        self,
        gateway: Gateway,
        boot_id: str,
        pipeline: Pipeline,
        spool: Spool,
        uplinks: Callable[[], Sequence[dict[str, Any]]],
        clock: Clock,
    ) -> None:
        self._gateway = gateway
        self._boot_id = boot_id
        self._pipeline = pipeline
        self._spool = spool
        self._uplinks = uplinks
        self._clock = clock
        self._started_mono = clock.mono()
        self._measured = Measured(pipeline.inventory.buses, self._started_mono)

    def snapshot(self) -> dict[str, Any]:
        """Everything, as plain data for JSON."""
        now_ns, now = self._clock.now_ns(), self._clock.mono()
        pipeline = self._pipeline
        buses = pipeline.poller.buses
        loads = self._measured.loads(now, {bus.name: bus.busy_s for bus in buses})
        answering = {u.device: u.rtt_s for bus in buses for u in bus.units if u.standing is Standing.UP}
        return {
            "version": __version__,
            "gateway": self._gateway.name,
            "city": self._gateway.city,
            "site": self._gateway.site,
            "boot": self._boot_id,
            "pid": os.getpid(),
            "ts_ns": now_ns,
            "uptime_s": round(now - self._started_mono, 1),
            "pipeline": {
                **asdict(pipeline.counts),
                "held_rows": pipeline.held_rows,
                "tick_s": round(pipeline.tick_s_last, 4),
                "intake_dropped": pipeline.intake.dropped,
            },
            "spool": asdict(self._spool.stats()),
            "uplinks": list(self._uplinks()),
            "buses": [_bus(bus, loads[bus.name]) for bus in buses],
            "devices": [
                {**_device(unit, bus, now_ns), "predicted_ms": round(1000 * self._measured.predicted_s(unit.device), 3)}
                for bus in buses
                for unit in bus.units
            ],
            "slow": self._measured.slow(now, answering),
        }

    def summary(self) -> dict[str, Any]:
        """The short form for the retained status message."""
        units = [unit for bus in self._pipeline.poller.buses for unit in bus.units]
        stats = self._spool.stats()
        return {
            "version": __version__,
            "boot": self._boot_id,
            "devices": len(units),
            "devices_up": sum(unit.standing is Standing.UP for unit in units),
            "spool_rows": stats.rows,
            "spool_bytes": stats.bytes,
        }

    def lines(self) -> list[tuple[str, bytes, int]]:
        """(category, line protocol, fields) of the gateway and of each device, stamped now."""
        now_ns = self._clock.now_ns()
        gateway = self._gateway
        origin = f"city={gateway.city},site={gateway.site},gateway={gateway.name}"
        devices = [
            _line(unit, f"{DEVICE_CATEGORY},{origin},device={unit.device},bus={bus.name}", now_ns)
            for bus in self._pipeline.poller.buses
            for unit in bus.units
        ]
        stats = self._spool.stats()
        counts_of = self._pipeline.counts
        own = {
            "readings": counts_of.readings,
            "rows": counts_of.rows,
            "dropped_points": counts_of.dropped_points + sum(stats.dropped_points.values()),
            "intake_dropped": self._pipeline.intake.dropped,
            "slow_ticks": counts_of.slow_ticks,
            "spool_rows": stats.rows,
            "spool_bytes": stats.bytes,
        }
        fields = ",".join(f"{name}={value}i" for name, value in own.items())
        line = f"{GATEWAY_CATEGORY},{origin},device={gateway.name} {fields} {now_ns}\n"
        found = [(GATEWAY_CATEGORY, line.encode(), len(own))]
        for begin in range(0, len(devices), DEVICES_PER_ROW):
            part = devices[begin : begin + DEVICES_PER_ROW]
            found.append((DEVICE_CATEGORY, "".join(part).encode(), len(part) * DEVICE_FIELDS))
        return found


def _line(unit: Unit, head: str, now_ns: int) -> str:
    return (
        f"{head} up={int(unit.standing is Standing.UP)}i,rtt_ms={1000 * unit.rtt_s:.3f},asked={unit.asked}i,"
        f"answered={unit.answered}i,timeouts={unit.timeouts}i,exceptions={unit.exceptions}i,"
        f"bad_frames={unit.bad_frames}i,lost={unit.lost}i,skipped={unit.skipped}i {now_ns}\n"
    )


def _bus(bus: Bus, load: float) -> dict[str, Any]:
    return {
        "name": bus.name,
        "line": bus.line,
        "open": bus.is_open,
        "error": bus.error,
        "losses": bus.losses,
        "late_answers": bus.link.late,
        "load": round(load, 4),
        "predicted_load": bus.predicted_load,
    }


def _device(unit: Unit, bus: Bus, now_ns: int) -> dict[str, Any]:
    return {
        "name": unit.device,
        "bus": bus.name,
        "unit": unit.unit,
        "state": unit.standing.value,
        "age_s": round((now_ns - unit.last_ok_ts_ns) / 1e9, 3) if unit.last_ok_ts_ns else None,
        "rtt_ms": round(1000 * unit.rtt_s, 3),
        "last_error": unit.last_error,
        "asked": unit.asked,
        "answered": unit.answered,
        "timeouts": unit.timeouts,
        "exceptions": unit.exceptions,
        "bad_frames": unit.bad_frames,
        "lost": unit.lost,
        "skipped": unit.skipped,
    }


def write_status(path: Path, snapshot: dict[str, Any]) -> None:
    """Replace the status file in one step, so that no reader ever sees half of it. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    # json takes milliseconds for a thousand devices, several times as long.
    temporary.write_bytes(to_json(snapshot, inf_nan_mode="constants"))
    temporary.replace(path)
