"""The settings of a bus address: what stands behind its question mark."""

import difflib
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from drivers.errors import Mistake

Kind = Literal["tcp", "udp", "rtu", "rtu+tcp", "raw+tcp", "ascii+serial", "ascii+tcp", "tls+tcp"]
#: Those that are a serial port of this machine.
PORT_KINDS: tuple[Kind, ...] = ("rtu", "ascii+serial")
#: Those that carry Modbus ASCII.
ASCII_KINDS: tuple[Kind, ...] = ("ascii+serial", "ascii+tcp")

BAUDS = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)

_PORT_KEYS = ("baud", "parity", "stop", "data", "dtr", "rts", "pause_ms", "rs485", "rs485_before_ms", "rs485_after_ms")
_KEYS_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "tcp": ("baud", "pipeline"),
    "udp": ("baud",),
    "rtu": _PORT_KEYS,
    "ascii+serial": _PORT_KEYS,
    "ascii+tcp": ("baud", "pause_ms"),
    "rtu+tcp": ("baud", "pause_ms"),
    "raw+tcp": ("baud", "pause_ms"),
    "tls+tcp": ("ca", "certificate", "key", "name", "baud"),
}
TLS_KEYS = ("ca", "certificate", "key", "name")
#: Unless given. What is behind a Modbus TCP address only the one who wired it knows.
BAUD_OF_KIND: dict[Kind, int] = {
    "tcp": 0,
    "udp": 0,
    "rtu": 9600,
    "rtu+tcp": 9600,
    "raw+tcp": 9600,
    "ascii+serial": 9600,
    "ascii+tcp": 9600,
    "tls+tcp": 0,
}
#: Modbus over serial line V1.02, 2.5.2: a character of ASCII has 7 data bits, even parity and one stop bit.
ASCII_PARITY, ASCII_DATA_BITS = "E", 7
#: Longer than any converter holds the wires; a bus is as slow as its pauses.
MAX_PAUSE_MS = 1000
#: Linux cuts longer ones (serial_core, RS485_MAX_RTS_DELAY).
MAX_RTS_MS = 100
_RTS_LEVELS = {"rts": True, "rts-low": False}
#: Gateways queue few questions; more would wait there, where a timeout runs, instead of here.
PIPELINES = tuple(range(1, 17))


@dataclass(frozen=True, slots=True)
class Rs485:
    """The port's driver switches a two-wire line to sending with RTS. A USB adapter mostly does so by itself."""

    sending: bool = True  #: level of RTS while sending
    before_ms: int = 0  #: from the switch to the first bit
    after_ms: int = 0  #: from the last bit to the switch back

    def __str__(self) -> str:
        text = next(f"&rs485={name}" for name, level in _RTS_LEVELS.items() if level == self.sending)
        text += f"&rs485_before_ms={self.before_ms}" if self.before_ms else ""
        return text + (f"&rs485_after_ms={self.after_ms}" if self.after_ms else "")


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of a secure connection, all PEM, and the name that the device's certificate was made for.

    There is no setting to switch a check off.
    """

    ca: str = ""  #: the authorities to trust; empty: the system's
    certificate: str = ""  #: our own; the standard wants one (R-44), and a device may refuse us without
    key: str = ""  #: its private key; empty: in the same file
    name: str = ""  #: empty: the host, be it a name or an IP address


def line_settings(query: str, kind: Kind, findings: list[Mistake]) -> dict[str, Any]:
    """Fields of a `BusAddress` of this kind, given or usual. Every mistake is added to `findings`."""
    settings = _settings(query, kind, findings)
    is_ascii = kind in ASCII_KINDS
    return {
        "baud": _one_of(settings, "baud", BAUD_OF_KIND[kind], BAUDS, findings),
        "parity": _parity(settings, ASCII_PARITY if is_ascii else "N", findings),
        "stop_bits": _one_of(settings, "stop", 1, (1, 2), findings),
        "data_bits": _one_of(settings, "data", ASCII_DATA_BITS if is_ascii else 8, (8, 7), findings),
        "dtr": _level(settings, "dtr", findings),
        "rts": _level(settings, "rts", findings),
        "pipeline": _one_of(settings, "pipeline", 1, PIPELINES, findings),
        "tls": _tls(settings, findings) if kind == "tls+tcp" else None,
        "pause_ms": _up_to(settings, "pause_ms", MAX_PAUSE_MS, findings),
        "rs485": _rs485(settings, findings),
    }


def _settings(query: str, kind: Kind, findings: list[Mistake]) -> dict[str, str]:
    known = _KEYS_OF_KIND[kind]
    settings: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in settings:
            findings.append((key, "given twice", "keep one"))
        elif key in known:
            settings[key] = value
        else:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            findings.append((key, "unknown setting", hint))
    if query and not settings and not findings:
        findings.append(("settings", f"?{query} is not key=value", "write ?baud=9600&parity=N"))
    return settings


def _tls(settings: dict[str, str], findings: list[Mistake]) -> Tls:
    given = {key: settings[key] for key in TLS_KEYS if key in settings}
    for key, value in given.items():
        if not value or not value.isprintable():
            findings.append((key, f"{value!r} is neither a file nor a name", "leave it out, or give it"))
    if "key" in given and "certificate" not in given:
        findings.append(("key", "a private key without its certificate", "give certificate= too, or neither"))
    return Tls(**given)


def _one_of(settings: dict[str, str], key: str, default: int, allowed: tuple[int, ...], findings: list[Mistake]) -> int:
    text = settings.get(key)
    if text is None:
        return default
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number not in allowed:
        findings.append((key, f"{text!r} is not possible", f"one of {', '.join(map(str, allowed))}"))
    return number


def _up_to(settings: dict[str, str], key: str, most: int, findings: list[Mistake]) -> int:
    text = settings.get(key, "0")
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= most:
        findings.append((key, f"{text!r} is not possible", f"whole milliseconds from 0 to {most}"))
    return number


def _rs485(settings: dict[str, str], findings: list[Mistake]) -> Rs485 | None:
    delays = [_up_to(settings, key, MAX_RTS_MS, findings) for key in ("rs485_before_ms", "rs485_after_ms")]
    text = settings.get("rs485")
    if text is None:
        if any(delays):
            findings.append(("rs485", "a delay, and no line that switches the direction", "add rs485=rts"))
        return None
    if text not in _RTS_LEVELS:
        findings.append(("rs485", f"{text!r} is not possible", f"one of {', '.join(_RTS_LEVELS)}"))
    if "rts" in settings:
        findings.append(("rts", "RTS switches the direction, so it cannot be held as well", "remove rts= or rs485="))
    return Rs485(_RTS_LEVELS.get(text, True), *delays)


def _level(settings: dict[str, str], key: str, findings: list[Mistake]) -> bool | None:
    return bool(_one_of(settings, key, 0, (0, 1), findings)) if key in settings else None


def _parity(settings: dict[str, str], default: str, findings: list[Mistake]) -> str:
    text = settings.get("parity", default)
    if text.upper() not in ("N", "E", "O"):
        findings.append(("parity", f"{text!r} is not possible", "N (none), E (even) or O (odd)"))
    return text.upper()
