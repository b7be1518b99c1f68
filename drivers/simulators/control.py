"""Switching faults while the simulators run: one command per line, one line of JSON back per command.

ups-1 silent        switch a fault on (see drivers.simulators.faults)
ups-1 ok            and off
stats               what every unit was asked and how often it refused
"""

import asyncio
import json
import os
import stat
from collections.abc import Callable, Mapping

from drivers.simulators.faults import Fault, Faulty

#: A line longer than this is no command.
_MAX_LINE = 256


def obey(line: str, units: Mapping[str, Faulty]) -> dict[str, object]:
    """Do what `line` says; the result, or `{"error": reason}`."""
    words = line.split()
    if words == ["stats"]:
        return {
            name: {"requests": u.requests, "exceptions": u.exceptions, "writes_refused": u.writes_refused}
            for name, u in units.items()
        }
    if len(words) != 2:
        return {"error": f"{line[:40]!r} is no command: write `<device> <fault>`, `<device> ok` or `stats`"}
    try:
        switch(units, *words)
    except ValueError as error:
        return {"error": str(error)}
    return {"device": words[0], "fault": words[1]}


def switch(units: Mapping[str, Faulty], name: str, fault: str) -> None:
    """Set the fault of one unit. Raises ValueError for an unknown unit or fault."""
    if name not in units:
        known = ", ".join(list(units)[:20])
        raise ValueError(f"device {name!r} is not simulated here: {known}")
    units[name].fault = Fault.parse(fault)


class LineControl:
    """Reads commands from file descriptor `fd` (a pipe, a socket or the foreground terminal) on the event loop."""

    def __init__(self, units: Mapping[str, Faulty], reply: Callable[[str], None], fd: int = 0) -> None:
        self._units = units
        self._reply = reply
        self._fd = fd
        self._held = b""
        self._reading = False

    def start(self) -> None:
        """Begin to listen; does nothing where `fd` is a plain file or /dev/null."""
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError:
            return
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self._fd):
            asyncio.get_running_loop().add_reader(self._fd, self._readable)
            self._reading = True

    def stop(self) -> None:
        """Stop listening."""
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._reading = False

    def _readable(self) -> None:
        if os.isatty(self._fd) and os.tcgetpgrp(self._fd) != os.getpgrp():
            self.stop()  # in the background a read would stop the whole process
            return
        data = os.read(self._fd, 4096)
        if not data:
            self.stop()
        *lines, self._held = (self._held + data).split(b"\n")
        self._held = self._held[-_MAX_LINE:]
        for line in lines:
            if line.strip():
                self._reply(json.dumps(obey(line.decode("utf-8", "replace"), self._units)))
