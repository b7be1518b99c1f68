"""The daemon's configuration: strict models of collector.toml. Defaults live here and nowhere else."""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from collector.config_file import Broker, Name, Strict, parse, read, shown
from collector.errors import ConfigError, Finding
from drivers.address import parse_bus, speaking
from drivers.derived import inputs
from drivers.errors import ProfileError
from drivers.meaning import AnyProfile
from drivers.profile import Profile, load_profile

#: Tags the collector sets itself; `time` is dropped by InfluxDB.
RESERVED_TAGS = frozenset({"city", "site", "gateway", "device", "time"})
#: Unit 0 is broadcast and 248-255 are reserved on a serial line (Modbus over serial line V1.02, 2.2).
SERIAL_UNITS = range(1, 248)

FilePath = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Seconds = Annotated[float, Field(gt=0, le=86400)]


class Gateway(Strict):
    """Who we are: the first tags of every line and the topic of every message."""

    city: Name = "city"  #: first level of every topic, and a tag of every line
    site: Name = "site"  #: likewise
    name: Name = "gateway"  #: likewise; no two gateways of a site may share one


class Poll(Strict):
    """How devices are asked, and when one counts as down."""

    #: how often what arrived is committed; also the most that is lost on power failure
    tick_s: Annotated[float, Field(ge=0.1, le=10)] = 0.5
    down_after_failures: Annotated[int, Field(ge=1, le=100)] = 3  #: a unit is down after so many failures in a row ...
    #: ... and so many seconds without an answer; both must be reached
    down_after_s: Annotated[float, Field(ge=0, le=3600)] = 3.0
    probe_min_s: Seconds = 1.0  #: first pause before a unit that is down is asked again; doubles
    #: ... up to this, or longer where others answer on the same line: all probes together take a hundredth of it
    probe_max_s: Seconds = 60.0


class Filter(Strict):
    """What is published of what was read."""

    publish: Literal["changes", "all"] = "changes"  #: what moved by more than the point's deadband, or every reading
    heartbeat_s: Seconds = 60.0  #: an unchanged value is published again after this time, freshly read


class Aggregate(Strict):
    """Windows of statistics, aligned to UTC."""

    #: length of each, in seconds; empty: none
    windows_s: Annotated[tuple[Annotated[int, Field(ge=1, le=86400)], ...], Field(max_length=4)] = (60,)


class Spool(Strict):
    """The disk that everything published waits on until every centre has confirmed it."""

    path: FilePath = "/var/lib/collector/spool.db"  #: the file; on a local disk, never on a network share
    max_mb: Annotated[int, Field(ge=8, le=1_000_000)] = 2048  #: oldest rows are dropped, and counted, above this
    reserve_mb: Annotated[int, Field(ge=8, le=1024)] = 8  #: kept free so that a full disk can be emptied


class Health(Strict):
    """What the collector says of itself."""

    interval_s: Seconds = 10.0  #: how often the collector's own numbers travel with the data
    status_file: str = "/run/collector/status.json"  #: read by `collector status`; empty: none


class Bus(Strict):
    """One serial port or one host:port, with whatever units are behind it."""

    name: Name  #: what devices call it
    #: tcp://host:port (with ?baud=9600 when a gateway has a serial line of that speed behind it, and &pipeline=4 when
    #: four of its units may be asked at the same time),
    #: serial:///dev/ttyUSB0?baud=9600&parity=N, rtu+tcp://host:port?baud=9600, raw+tcp://host:port?baud=9600,
    #: tls+tcp://host:port?ca=FILE&certificate=FILE&key=FILE; a serial line also takes stop=2, data=7, pause_ms=10 (more
    #: silence before each question) and rs485=rts or rts-low (the port's driver switches the direction) with
    #: rs485_before_ms and rs485_after_ms
    url: str
    timeout_s: Seconds | None = None  #: None: the profile's
    late_s: Seconds | None = None  #: how late an answer may come on a line without transaction ids


class Device(Strict):
    """One unit on one bus, read by a profile."""

    name: Name  #: the tag `device`
    bus: Name  #: name of a `[[bus]]`
    #: Modbus unit (slave) number, 1 to 247 on a serial line; or what another protocol calls the address
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    profile: str  #: vendor/model, see `collector profile list`
    #: between two reads; a profile may ask some of its points less often
    interval_s: Annotated[float, Field(ge=0.1, le=86400)] = 1.0
    #: None: all of the profile; what derived ones are computed from comes along
    points: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    timeout_s: Seconds | None = None  #: None: the bus's, else the profile's; the line's own time comes on top
    #: of a read that brought nothing, 2 s apart, before it waits for its interval again
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    turnaround_s: Annotated[float, Field(ge=0, le=5)] | None = None  #: its usual thinking time; None: the profile's
    #: None: the profile's; less where a converter on its way cannot carry a whole answer; Modbus only
    max_registers: Annotated[int, Field(ge=1, le=125)] | None = None
    tags: dict[str, str] = Field(default={})  #: the site's own, such as room, rack or feed


class Uplink(Strict):
    """One centre. Each has its own progress through the spool."""

    centre: Name  #: what its bridge calls itself
    broker: Broker = Broker(tls="off")  #: of that centre
    confirm: Literal["bridge", "broker"] = "bridge"  #: what frees a row: the write, or just the PUBACK
    confirm_timeout_s: Seconds = 30.0  #: a row that is not confirmed by then is sent again
    window_rows: Annotated[int, Field(ge=1, le=1000)] = 64  #: published and not yet confirmed


class Settings(Strict):
    """collector.toml."""

    gateway: Gateway = Gateway()
    poll: Poll = Poll()
    filter: Filter = Filter()
    aggregate: Aggregate = Aggregate()
    spool: Spool = Spool()
    health: Health = Health()
    profile_dirs: tuple[str, ...] = ("/etc/collector/profiles",)  #: searched before the profiles that come with us
    bus: tuple[Bus, ...] = ()
    device: tuple[Device, ...] = ()
    uplink: Annotated[tuple[Uplink, ...], Field(max_length=64)] = ()

    @property
    def profile_search(self) -> tuple[Path, ...]:
        return tuple(Path(d) for d in self.profile_dirs)


def load_settings(path: Path) -> Settings:
    """Read collector.toml. Raises ConfigError with every mistake: of form, of reference and of meaning."""
    data = read(path)
    findings: list[Finding] = []
    settings: Settings | None = None
    try:
        settings = parse(data, Settings, str(path))
    except ConfigError as error:
        findings += error.findings
    # References are checked on the raw data, so that a slip of form elsewhere does not hide them.
    known = {(f.file, f.key) for f in findings}
    findings += [f for f in _cross_check(data, str(path)) if (f.file, f.key) not in known]
    if findings or settings is None:
        raise ConfigError(findings)
    return settings


def _cross_check(data: dict[str, Any], file: str) -> list[Finding]:
    buses, devices, uplinks = (_tables(data, key) for key in ("bus", "device", "uplink"))
    findings = [
        *_duplicates(buses, "bus", "name", file),
        *_duplicates(devices, "device", "name", file),
        *_duplicates(uplinks, "uplink", "centre", file),
        *_bus_findings(buses, file),
    ]
    directories = data.get("profile_dirs", Settings().profile_dirs)
    search = tuple(Path(d) for d in directories if isinstance(d, str)) if isinstance(directories, list | tuple) else ()
    profile = cache(lambda name: _profile_of(name, search))
    bus_names = {bus["name"] for bus in buses if isinstance(bus.get("name"), str)}
    serial = {bus["name"] for bus in buses if isinstance(bus.get("name"), str) and _is_serial(bus.get("url"))}
    for i, device in enumerate(devices):
        findings += _unit_findings(device, f"device[{i}].unit", serial, profile, file)
        findings += _device_findings(device, f"device[{i}]", bus_names, profile, file)
    findings += _protocol_findings(buses, devices, profile, file)
    return findings


def _tables(data: dict[str, Any], key: str) -> list[dict[str, Any]]:
    tables = data.get(key)
    return [t for t in tables if isinstance(t, dict)] if isinstance(tables, list) else []


def _duplicates(tables: list[dict[str, Any]], table: str, key: str, file: str) -> list[Finding]:
    counts = Counter(t[key] for t in tables if isinstance(t.get(key), str))
    return [
        Finding(file, f"{table}.{key}", repr(name), f"used {n} times", f"each {table} needs a {key} of its own")
        for name, n in counts.items()
        if n > 1
    ]


def _bus_findings(buses: list[dict[str, Any]], file: str) -> list[Finding]:
    findings = []
    owner: dict[str, int] = {}
    for i, bus in enumerate(buses):
        url = bus.get("url")
        if not isinstance(url, str):
            continue
        try:
            address = parse_bus(url)
        except ProfileError as error:
            key = f"bus[{i}].url"
            findings += [Finding(file, key, shown(url, key), reason, hint) for _, reason, hint in error.findings]
            continue
        first = owner.setdefault(address.place, i)
        if first != i:
            hint = "one owner per line: give all its units to one bus"
            findings.append(Finding(file, f"bus[{i}].url", repr(url), f"same line as bus[{first}]", hint))
    return findings


def _is_serial(url: object) -> bool:
    try:
        return isinstance(url, str) and parse_bus(url).is_serial
    except ProfileError:
        return False


def _protocol_findings(
    buses: list[dict[str, Any]], devices: list[dict[str, Any]], profile_of: "ProfileOf", file: str
) -> list[Finding]:
    """Devices of one bus that cannot share it, or that its address cannot reach."""
    findings = []
    names_on: dict[str, dict[str, None]] = {}
    for device in devices:
        names_on.setdefault(str(device.get("bus")), {})[str(device.get("profile"))] = None
    for i, bus in enumerate(buses):
        found = [profile_of(name) for name in names_on.get(str(bus.get("name")), ())]
        profiles = [profile for profile in found if isinstance(profile, AnyProfile)]
        if found and not profiles:
            continue  # told with the devices
        try:
            address = parse_bus(str(bus.get("url")))
        except ProfileError:
            continue  # told with the buses
        try:
            speaking(address, profiles)
        except ProfileError as error:
            key = f"bus[{i}].url"
            findings += [Finding(file, key, shown(bus["url"], key), *rest) for _, *rest in error.findings]
        units = {str(device.get("unit", 1)) for device in devices if device.get("bus") == bus.get("name")}
        alone = [profile for profile in profiles if isinstance(profile, AnyProfile) and profile.alone]
        if alone and len(units) > 1:
            reason = f"{len(units)} units on the line of a device that has no number: it would answer for all of them"
            findings.append(
                Finding(file, f"bus[{i}]", repr(bus.get("name")), reason, "give each a port and a bus of its own")
            )
    return findings


def _unit_findings(
    device: dict[str, Any], key: str, serial: set[str], profile_of: "ProfileOf", file: str
) -> list[Finding]:
    """What a network device may be called but no unit on a serial line."""
    unit, bus, name = (device.get(each) for each in ("unit", "bus", "profile"))
    if not isinstance(bus, str) or bus not in serial or not isinstance(unit, int):
        return []
    profile = profile_of(name) if isinstance(name, str) else None
    speaks_text = isinstance(profile, AnyProfile) and profile.protocol != "modbus"
    units = profile.units if isinstance(profile, AnyProfile) and speaks_text else SERIAL_UNITS
    if unit in units:
        return []
    hint = f"give a number from {units[0]} to {units[-1]}"
    return [Finding(file, key, str(unit), "no such unit on a serial line", hint)]


def _device_findings(
    device: dict[str, Any],
    key: str,
    bus_names: set[str],
    profile_of: "ProfileOf",
    file: str,
) -> list[Finding]:
    findings = []
    bus = device.get("bus")
    if isinstance(bus, str) and bus not in bus_names:
        known = ", ".join(sorted(bus_names)) or "none is defined"
        findings.append(Finding(file, f"{key}.bus", repr(bus), "no such bus", f"known: {known}"))
    profile = device.get("profile")
    if isinstance(profile, str):
        findings += _profile_findings(device, profile, profile_of(profile), key, file)
    tags = device.get("tags")
    for tag, value in tags.items() if isinstance(tags, dict) else ():
        if tag in RESERVED_TAGS:
            findings.append(
                Finding(file, f"{key}.tags.{tag}", repr(value), "the collector sets this tag itself", "rename it")
            )
        elif not isinstance(value, str) or not value.isprintable() or not value or "\\" in value:
            hint = "a tag value is printable text, not empty, without \\"
            findings.append(Finding(file, f"{key}.tags.{tag}", repr(value), "cannot be a tag value", hint))
        elif not tag.replace("_", "").isalnum() or not tag.isascii():
            findings.append(
                Finding(file, f"{key}.tags.{tag}", repr(value), "cannot be a tag key", "letters, digits and _ only")
            )
    return findings


ProfileOf = Callable[[str], AnyProfile | ProfileError]


def _profile_of(name: str, search: tuple[Path, ...]) -> AnyProfile | ProfileError:
    """The profile, or why it cannot be used."""
    try:
        return load_profile(name, search)
    except ProfileError as error:
        return error


def _profile_findings(
    device: dict[str, Any], name: str, profile: AnyProfile | ProfileError, key: str, file: str
) -> list[Finding]:
    if isinstance(profile, ProfileError):
        return [Finding(file, f"{key}.profile", repr(name), reason, hint) for _, reason, hint in profile.findings]
    known = {point.name for point in profile.published}
    wanted = device.get("points")
    own = sorted({tag for point in profile.published for tag in point.tags} & set(device.get("tags") or ()))
    return [
        *_length_findings(device.get("max_registers"), profile, f"{key}.max_registers", file),
        *(Finding(file, f"{key}.tags.{tag}", "", f"{name} sets this tag itself", "rename it") for tag in own),
        *(
            Finding(file, f"{key}.points", repr(p), f"{name} has no such point", f"see: collector profile show {name}")
            for p in (wanted if isinstance(wanted, list) else ())
            if not isinstance(p, str) or p not in known
        ),
    ]


def _length_findings(most: object, profile: AnyProfile, key: str, file: str) -> list[Finding]:
    """A limit of the reads that a device's points do not fit into."""
    if not isinstance(most, int):
        return []
    if not isinstance(profile, Profile):
        return [Finding(file, key, str(most), f"{profile.protocol} has no registers", "remove it")]
    wholes = {point.name: [point] for point in profile.point if not point.is_bool}
    wholes |= {
        derived.name: [wholes[name][0] for name in inputs(derived) if name in wholes] for derived in profile.derived
    }
    spans = {name: profile.together(points) for name, points in wholes.items() if points}
    longest = max(spans, key=lambda name: spans[name][1] - spans[name][0], default="")
    needed = spans[longest][1] - spans[longest][0] if longest else 0
    if needed <= most:
        return []
    reason = f"the point {longest} alone has {needed} registers"
    return [Finding(file, key, str(most), reason, f"at least {needed}")]
