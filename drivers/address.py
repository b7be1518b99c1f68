"""The address of a bus as a user writes it.

tcp://HOST[:PORT][?baud=9600][&pipeline=4]         Modbus TCP; port 502 unless given; baud of a serial line behind it;
                                                   how many of its units are asked at the same time
serial:///dev/ttyUSB0?baud=9600&parity=N&stop=1    Modbus RTU or a text protocol on a serial port; &dtr=1&rts=0 hold
                                                   the control lines, from which some interfaces take their power
rtu+tcp://HOST:PORT[?baud=9600]                    Modbus RTU through a serial server; baud of the line behind it
raw+tcp://HOST:PORT[?baud=9600]                    a text protocol through a serial server
udp://HOST[:PORT][?baud=9600]                      Modbus over UDP; port 502 unless given
ascii+serial:///dev/ttyUSB0?baud=9600&parity=E&stop=1&data=7
                                                   Modbus ASCII on a serial port; 7E1 unless given
ascii+tcp://HOST:PORT[?baud=9600]                  Modbus ASCII through a serial server
tls+tcp://HOST[:PORT]?ca=FILE&certificate=FILE&key=FILE[&name=NAME]
                                                   Modbus/TCP Security; port 802 unless given; see `Tls`

What is spoken on a serial port is what the profiles of its devices say: `speaking`.

More settings of a line: `pause_ms=10`, more silence before each question than the protocol asks, for converters that
are slow to let go of the wires; `rs485=rts` (or `rts-low`), the port's own driver switches the direction with RTS, from
`rs485_before_ms` before to `rs485_after_ms` after each question.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlencode, urlsplit

from drivers.address_settings import ASCII_KINDS, BAUD_OF_KIND, PORT_KINDS, TLS_KEYS, Kind, Rs485, Tls, line_settings
from drivers.errors import Mistake, ProfileError

if TYPE_CHECKING:
    from drivers.meaning import AnyProfile

MODBUS_PORT = 502
#: Of Modbus/TCP Security; registered as mbap-s.
SECURE_PORT = 802

_KIND_OF_SCHEME: dict[str, Kind] = {
    "tcp": "tcp",
    "serial": "rtu",
    "rtu+tcp": "rtu+tcp",
    "raw+tcp": "raw+tcp",
    "udp": "udp",
    "ascii+serial": "ascii+serial",
    "ascii+tcp": "ascii+tcp",
    "tls+tcp": "tls+tcp",
}
_EXAMPLES = "write tcp://192.0.2.7:502, serial:///dev/ttyUSB0?baud=9600&parity=N or rtu+tcp://192.0.2.7:4001"


#: Schemes of other programs, and ours.
_MEANT = {"rtu": "serial", "ascii": "ascii+serial", "modbus": "tcp", "tls": "tls+tcp", "mbaps": "tls+tcp"}


@dataclass(frozen=True, slots=True)
class TextLine:
    """How a line with a text protocol is treated, beyond its speed: what its devices' profiles ask for."""

    protocol: str
    settle_s: float = 0.0  #: from opening the port to the first question
    gap_s: float = 0.0  #: silence before each question


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where a bus is. `path` and the line settings of a port, `host` and `port` for all others, `tls` for tls+tcp.

    `baud` is that of the serial line, also of one behind a gateway or serial server; 0: no line is known of.
    """

    kind: Kind
    host: str = ""
    port: int = 0
    path: str = ""
    baud: int = 9600
    parity: str = "N"  #: N, E or O
    stop_bits: int = 1
    data_bits: int = 8
    dtr: bool | None = None  #: level of the control line while the port is open; None: as the system sets it
    rts: bool | None = None
    pipeline: int = 1  #: so many units of a gateway are asked at the same time, each one question at a time
    text: TextLine | None = None  #: None: Modbus is spoken
    tls: Tls | None = None
    pause_ms: int = 0  #: silence before a question beyond what the protocol asks
    rs485: Rs485 | None = None

    def __str__(self) -> str:
        """The canonical form: equal buses have equal strings, and `parse_bus` reads it back."""
        if self.is_port:
            scheme = "serial" if self.kind == "rtu" else self.kind
            more = "" if self.data_bits == 8 and self.kind == "rtu" else f"&data={self.data_bits}"
            for name, level in (("dtr", self.dtr), ("rts", self.rts)):
                more += "" if level is None else f"&{name}={level:d}"
            more += f"&pause_ms={self.pause_ms}" if self.pause_ms else ""
            more += str(self.rs485 or "")
            return f"{scheme}://{self.path}?baud={self.baud}&parity={self.parity}&stop={self.stop_bits}{more}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        settings = {} if self.baud == BAUD_OF_KIND[self.kind] else {"baud": str(self.baud)}
        settings |= {"pause_ms": str(self.pause_ms)} if self.pause_ms else {}
        if self.pipeline > 1:
            settings["pipeline"] = str(self.pipeline)
        for key in TLS_KEYS if self.tls else ():
            settings |= {key: value} if (value := getattr(self.tls, key)) else {}
        return f"{self.kind}://{host}:{self.port}" + (f"?{urlencode(settings, safe='/:')}" if settings else "")

    @property
    def is_serial(self) -> bool:
        """Whether units are asked as on a serial line, by whatever way: no transaction ids, numbers up to 247."""
        return self.kind not in ("tcp", "udp", "tls+tcp")

    @property
    def is_port(self) -> bool:
        """Whether it is a serial port of this machine."""
        return self.kind in PORT_KINDS

    @property
    def is_ascii(self) -> bool:
        """Whether Modbus ASCII is spoken."""
        return self.kind in ASCII_KINDS

    @property
    def place(self) -> str:
        """What only one bus may own: the port's path or host:port, whatever is spoken there."""
        return self.path or f"{self.host}:{self.port}"

    @property
    def line(self) -> str:
        """The line settings as technicians say them, e.g. `9600 8N1`."""
        return f"{self.baud} {self.data_bits}{self.parity}{self.stop_bits}"

    @property
    def character_bits(self) -> int:
        """Bits of one character on the line: start bit, data, parity, stop."""
        return 1 + self.data_bits + (self.parity != "N") + self.stop_bits

    @property
    def character_s(self) -> float:
        """Time of one character on the line."""
        return self.character_bits / self.baud

    @property
    def pause_s(self) -> float:
        """Silence before a question beyond what the protocol asks."""
        return self.pause_ms / 1000


@lru_cache(maxsize=4096)  # a configuration is read several times over
def parse_bus(url: str) -> BusAddress:
    """Read a bus address. Raises ProfileError that lists every mistake in it."""
    findings: list[Mistake] = []
    try:
        parts = urlsplit(url.strip())
    except ValueError as error:
        raise ProfileError(url, [("address", str(error), _EXAMPLES)]) from None
    kind = _KIND_OF_SCHEME.get(parts.scheme)
    if kind is None:
        raise ProfileError(url, [("scheme", f"unknown scheme {parts.scheme!r}", _scheme_hint(url, parts.scheme))])
    if parts.username is not None:
        findings.append(("user", "a field bus has no user or password", "remove everything up to the @"))
    if parts.fragment:
        findings.append(("address", f"#{parts.fragment} means nothing here", "remove it"))
    if kind in PORT_KINDS:
        path, host, port = _path(parts, findings), "", 0
    else:
        path, (host, port) = "", _host_and_port(parts, kind, findings)
    address = BusAddress(
        kind,
        host,
        port,
        path,
        **line_settings(parts.query, kind, findings),
    )
    if findings:
        raise ProfileError(url, findings)
    return address


def speaking(address: BusAddress, profiles: Sequence["AnyProfile"]) -> BusAddress:
    """`address` as devices of `profiles` use it. Raises ProfileError when it cannot carry them, or not all of them."""
    found = {profile.protocol: profile for profile in profiles}
    subject = str(address)
    if len(found) > 1:
        hint = "one line speaks one protocol: give each a bus of its own"
        raise ProfileError(subject, [("protocol", f"its devices speak {' and '.join(sorted(found))}", hint)])
    protocol = next(iter(found), "modbus")
    if protocol == "modbus":
        if address.kind == "raw+tcp":
            hint = f"for Modbus write rtu+tcp://{address.place}, or tcp:// if the server is a Modbus gateway"
            reason = "not Modbus" if profiles else "and no device's profile says which"
            raise ProfileError(subject, [("scheme", f"raw+tcp carries text protocols, {reason}", hint)])
        return address
    if address.kind not in ("rtu", "raw+tcp"):
        hint = f"write raw+tcp://{address.place} if a serial server is there, or serial:///dev/..."
        if address.is_port:
            hint = f"write serial://{address.path}: the profile says what is spoken there"
        raise ProfileError(
            subject, [("scheme", f"{address.kind} carries Modbus{' ASCII' * address.is_ascii}, not {protocol}", hint)]
        )
    limits = [profile.limits for profile in profiles]
    if address.kind == "rtu":  # what the one who knows the cable wrote goes before what is usual for the device
        dtr = [address.dtr, *(each.dtr for each in limits)]
        rts = [address.rts, *(each.rts for each in limits if address.rs485 is None)]
        address = replace(address, dtr=next(filter(_given, dtr), None), rts=next(filter(_given, rts), None))
    settle_s, gap_s = max(each.settle_s for each in limits), max(each.gap_s for each in limits)
    return replace(address, text=TextLine(protocol, settle_s=settle_s, gap_s=gap_s))


def _given(level: bool | None) -> bool:
    return level is not None


def _scheme_hint(url: str, scheme: str) -> str:
    if url.startswith("/dev/"):
        return f"write serial://{url}"
    close = difflib.get_close_matches(scheme, [*_KIND_OF_SCHEME, *_MEANT], n=1)
    if close:
        return f"did you mean {_MEANT.get(close[0], close[0])}://? {_EXAMPLES}"
    return _EXAMPLES


def _path(parts: SplitResult, findings: list[Mistake]) -> str:
    if parts.netloc:
        hint = f"three slashes: {parts.scheme}:///{parts.netloc}{parts.path}"
        findings.append(("path", "a serial port has a path, not a host", hint))
    elif not parts.path.strip("/"):
        findings.append(("path", "no serial port given", f"write {parts.scheme}:///dev/ttyUSB0"))
    return parts.path


def _host_and_port(parts: SplitResult, kind: Kind, findings: list[Mistake]) -> tuple[str, int]:
    if not parts.hostname:
        findings.append(("host", "no host given", f"write {kind}://192.0.2.7:502"))
    if parts.path not in ("", "/"):
        findings.append(("path", f"{parts.path} means nothing here", f"write {kind}://host:port"))
    try:
        port = parts.port
    except ValueError:
        port = -1
    if port is None:
        if kind in ("rtu+tcp", "raw+tcp", "ascii+tcp"):
            hint = "the serial server's manual names it, often 4001, 4196 or 8899"
            findings.append(("port", f"no port given; {kind} has no default", hint))
        port = SECURE_PORT if kind == "tls+tcp" else MODBUS_PORT
    elif not 1 <= port <= 65535:
        findings.append(("port", "not a number from 1 to 65535", "an IPv6 address is written in [ ]"))
    return parts.hostname or "", port
