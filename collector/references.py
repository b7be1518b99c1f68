"""What the tables of a configuration say of each other and of the profiles they name.

All of it is checked on the raw data, so that a slip of form elsewhere does not hide it.
"""

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from collector.config_file import shown
from collector.errors import Finding
from drivers.address import parse_bus, speaking
from drivers.derived import inputs
from drivers.errors import ProfileError
from drivers.meaning import AnyProfile
from drivers.profile import Profile, load_profile

#: Tags the collector sets itself; `time` is dropped by InfluxDB.
RESERVED_TAGS = frozenset({"city", "site", "gateway", "device", "time"})
#: Unit 0 is broadcast and 248-255 are reserved on a serial line (Modbus over serial line V1.02, 2.2).
SERIAL_UNITS = range(1, 248)

#: The profile of a name, or why it cannot be used.
ProfileOf = Callable[[str], AnyProfile | ProfileError]


def cross_check(data: dict[str, Any], file: str, profile_dirs: tuple[str, ...]) -> list[Finding]:
    """Every mistake of reference and of meaning in `data`; `profile_dirs`: where it says none itself."""
    buses, devices, uplinks = (_tables(data, key) for key in ("bus", "device", "uplink"))
    findings = [
        *_duplicates(buses, "bus", "name", file),
        *_duplicates(devices, "device", "name", file),
        *_duplicates(uplinks, "uplink", "centre", file),
        *_bus_findings(buses, file),
    ]
    directories = data.get("profile_dirs", profile_dirs)
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
    buses: list[dict[str, Any]], devices: list[dict[str, Any]], profile_of: ProfileOf, file: str
) -> list[Finding]:
    """Devices of one bus that cannot share it, or that its address cannot reach."""
    findings = []
    names_on: dict[str, dict[str, None]] = {}
    units_on: dict[str, set[str]] = {}
    for device in devices:
        names_on.setdefault(str(device.get("bus")), {})[str(device.get("profile"))] = None
        units_on.setdefault(str(device.get("bus")), set()).add(str(device.get("unit", 1)))
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
        units = units_on.get(str(bus.get("name")), set())
        if len(units) > 1 and any(profile.alone for profile in profiles):
            reason = f"{len(units)} units on the line of a device that has no number: it would answer for all of them"
            hint = "give each a port and a bus of its own"
            findings.append(Finding(file, f"bus[{i}]", repr(bus.get("name")), reason, hint))
    return findings


def _unit_findings(
    device: dict[str, Any], key: str, serial: set[str], profile_of: ProfileOf, file: str
) -> list[Finding]:
    """What a network device may be called but no unit on a serial line."""
    unit, bus, name = (device.get(each) for each in ("unit", "bus", "profile"))
    if not isinstance(bus, str) or bus not in serial or not isinstance(unit, int):
        return []
    profile = profile_of(name) if isinstance(name, str) else None
    units = profile.units if isinstance(profile, AnyProfile) and profile.protocol != "modbus" else SERIAL_UNITS
    if unit in units:
        return []
    hint = f"give a number from {units[0]} to {units[-1]}"
    return [Finding(file, key, str(unit), "no such unit on a serial line", hint)]


def _device_findings(
    device: dict[str, Any],
    key: str,
    bus_names: set[str],
    profile_of: ProfileOf,
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
