"""`collector probe`: is the device there, what answers, how fast, what does it say."""

import asyncio
import json
import re
import statistics
import struct
from typing import TYPE_CHECKING, Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT, USAGE

if TYPE_CHECKING:
    from drivers.address import BusAddress
    from drivers.base import Request
    from drivers.meaning import AnyProfile
    from drivers.probe import Report
    from drivers.wires.base import Trace

_READ = re.compile(r"(?:(?P<table>[a-z]+):)?(?P<address>\d+)(?:\+(?P<count>\d+))?")
#: First digit of the old five- or six-digit numbers, which count from 1.
_TABLE_OF_DIGIT = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
#: A float outside of this is hardly a reading of a plant; used only to mark the plausible word order.
_PLAUSIBLE = (1e-3, 1e7)
#: Frames kept for --json --raw.
_MAX_FRAMES = 1000


@click.command(name="probe", short_help="Ask one device: is it there, what answers, how fast.")
@click.argument("url")
@click.option("--unit", type=click.IntRange(0, 255), default=1, show_default=True, help="Unit (slave) number.")
@click.option("--profile", "profile_name", help="Decode with this profile, e.g. eastron/sdm630, or a .toml file.")
@click.option(
    "--protocol",
    type=click.Choice(["megatec", "ydt1363"]),
    help="Ask every question of this protocol, to find out which profile fits.",
)
@click.option("--read", "reads", multiple=True, metavar="TABLE:ADDRESS+COUNT", help="Registers or bits to read.")
@click.option("--count", type=click.IntRange(1, 10_000), default=5, show_default=True, help="How often to ask.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(0.01, 60), default=1.0, show_default=True, help="Seconds."
)
@click.option(
    "--listen", "listen_s", type=click.FloatRange(0.1, 86400), help="Only show what comes, for so many seconds."
)
@click.option("--raw", is_flag=True, help="Show the frames on the wire: in hex, or as text where text is spoken.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    url: str,
    unit: int,
    profile_name: str | None,
    protocol: str | None,
    reads: tuple[str, ...],
    count: int,
    timeout_s: float,
    listen_s: float | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Ask the device at URL whether it is there, who it is, how fast it answers and what it says. Reads only.

    URL is tcp://HOST:PORT, serial:///dev/ttyUSB0?baud=9600&parity=N, rtu+tcp://HOST:PORT or
    tls+tcp://HOST?ca=FILE&certificate=FILE&key=FILE; with a profile of a text
    protocol serial:///... or raw+tcp://HOST:PORT. TABLE is holding, input,
    coil or discrete; ADDRESS counts from 0 as on the wire. 40001+10 in the old counting works as well. An exception
    answer counts as present. Exit code 0: it answers; 1: silent, or nothing could be read; 3: cannot be opened.

    \b
    Example:  collector probe tcp://192.0.2.7 --unit 3 --read holding:3059+10
              collector probe "serial:///dev/ttyUSB0?baud=9600&parity=E" --profile eastron/sdm630
              collector probe "serial:///dev/ttyUSB0?baud=2400" --protocol megatec
              collector probe "serial:///dev/ttyUSB0?baud=9600" --protocol ydt1363 --unit 1
              collector probe serial:///dev/ttyUSB0 --listen 30
    """
    from collector.cli.dialects import ask_everything
    from collector.cli.hear import listen
    from collector.cli.profile import SITE_PROFILES
    from drivers.address import parse_bus, speaking
    from drivers.errors import ProfileError
    from drivers.profile import load_profile

    if listen_s is not None:
        if profile_name or reads or protocol:
            raise click.UsageError("--listen sends nothing: leave --profile, --protocol and --read out")
        raise SystemExit(listen(url, listen_s, as_json=as_json))
    frames: list[str] = []
    if protocol:
        if profile_name or reads:
            raise click.UsageError("--protocol asks everything there is: leave --profile and --read out")
        trace = _tracer(frames, as_json, text=True) if raw else None
        raise SystemExit(ask_everything(url, protocol, unit, timeout_s, trace, frames, as_json=as_json))
    try:
        address = parse_bus(url)
        profile = load_profile(profile_name, [SITE_PROFILES]) if profile_name else None
        speaking(address, [profile] if profile else [])
    except ProfileError as error:
        click.echo(str(error), err=True)
        raise SystemExit(USAGE) from None
    if reads and profile is not None and profile.protocol != "modbus":
        raise click.UsageError(f"--read asks Modbus registers, {profile_name} speaks {profile.protocol}")
    requests = [_request(text, unit) for text in reads]
    shown = [str(request) for request in requests]
    settings = {"link": str(address), "unit": unit, "profile": profile_name, "reads": shown}
    settings |= {"count": count, "timeout_s": timeout_s}
    speaks_text = profile is not None and profile.protocol != "modbus"
    trace = _tracer(frames, as_json, text=speaks_text) if raw else None
    if not as_json:
        _echo_settings(settings)
    report = _run(address, unit, requests, profile, settings, trace, as_json)
    if as_json:
        found: dict[str, Any] = {"settings": settings, **_facts(report), "values": _values(report, profile)}
        found |= {"registers": _registers(report), "frames": frames}
        click.echo(json.dumps(found, ensure_ascii=False))
    else:
        _show(report, profile)
    raise SystemExit(0 if report.present and (report.data or not (requests or profile)) else DEVICE_FAULT)


def _run(
    address: "BusAddress",
    unit: int,
    requests: list["Request"],
    profile: "AnyProfile | None",
    settings: dict[str, Any],
    trace: "Trace | None",
    as_json: bool,
) -> "Report":
    """Probe; a link that cannot be opened ends the command."""
    from drivers.errors import LinkUnavailable
    from drivers.probe import probe

    count, timeout_s = settings["count"], settings["timeout_s"]
    try:
        return asyncio.run(probe(address, unit, requests, profile, count=count, timeout_s=timeout_s, trace=trace))
    except LinkUnavailable as error:
        if as_json:
            click.echo(json.dumps({"settings": settings, "present": False, "error": str(error)}, ensure_ascii=False))
        else:
            click.echo(f"Present    cannot tell: {error}", err=True)
        raise SystemExit(CANNOT_OPEN) from None


def _tracer(frames: list[str], as_json: bool, *, text: bool) -> "Trace":
    """Show frames as they go, or keep them for the JSON object. `text`: people read the protocol as characters."""
    from drivers.ascii.octets import show

    def trace(way: str, data: bytes) -> None:
        if not as_json:
            click.echo(f"  {way}  {show(data, 'ascii') if text else data.hex(' ')}")
        elif len(frames) < _MAX_FRAMES:
            frames.append(f"{way} {data.hex(' ')}")

    return trace


def _request(text: str, unit: int) -> "Request":
    """A read as the user writes it. Raises click.BadParameter."""
    from drivers.base import Request
    from drivers.modbus.pdu import encode_read
    from drivers.point import FUNCTION_OF_TABLE

    match = _READ.fullmatch(text)
    hint = "write holding:3059+10, input:0, coil:16+8, discrete:0+4, or 40001+10 in the old counting"
    if match is None:
        raise click.BadParameter(f"{text!r} is not TABLE:ADDRESS+COUNT — {hint}", param_hint="--read")
    table, digits, address = match["table"], match["address"], int(match["address"])
    if table is None:
        if len(digits) not in (5, 6) or digits[0] not in _TABLE_OF_DIGIT or int(digits[1:]) == 0:
            raise click.BadParameter(f"{text!r} names no table — {hint}", param_hint="--read")
        table, address = _TABLE_OF_DIGIT[digits[0]], int(digits[1:]) - 1
    if table not in FUNCTION_OF_TABLE:
        raise click.BadParameter(f"there is no table {table!r} — {hint}", param_hint="--read")
    request = Request(unit, FUNCTION_OF_TABLE[table], address, int(match["count"] or 1))
    try:
        encode_read(request)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}", param_hint="--read") from None
    return request


def _facts(report: "Report") -> dict[str, Any]:
    seen = report.statistics
    rtts_ms = sorted(rtt * 1000 for rtt in seen.rtt_s)
    rtt = (
        {"min": rtts_ms[0], "p50": statistics.median(rtts_ms), "max": rtts_ms[-1]}
        if rtts_ms
        else {"min": None, "p50": None, "max": None}
    )
    return {
        "present": report.present,
        "identity": report.identity,
        "reads": seen.reads,
        "ok": seen.ok,
        "exceptions": seen.exceptions,
        "timeouts": seen.timeouts,
        "bad_frames": seen.bad_frames,
        "lost": seen.lost,
        "late": report.late,
        "stray_bytes": report.strays,
        "rtt_ms": {key: None if value is None else round(value, 3) for key, value in rtt.items()},
        "errors": {str(request): str(error) for request, error in report.errors.items()},
        "error": report.lost or None,
        "advice": report.advice,
    }


def _values(report: "Report", profile: "AnyProfile | None") -> list[dict[str, Any]]:
    """Every point of the profile that was asked for, in its order of blocks."""
    from drivers.codec import Reading, decode_point
    from drivers.derived import derive, placed

    rows: list[dict[str, Any]] = []
    if profile is None:
        return rows
    for (request, block), derived in zip(
        report.blocks.items(), placed(profile, [*report.blocks.values()]), strict=True
    ):
        data = report.data.get(request)
        readings: dict[str, Reading] = {}
        if data is not None:
            places = zip(block.points, block.offsets, strict=True)
            readings = {name: decode_point(profile, profile.named(name), data, offset) for name, offset in places}
            readings |= derive(profile, readings)
        for name in (*block.points, *(each.name for each in derived if each.program)):
            point = profile.named(name)
            row: dict[str, Any] = {"point": name, "unit": point.unit, "value": None}
            if name in readings:
                reading = readings[name]
                row |= {"value": reading.value, "status": reading.status.name.lower().replace("_", "-")}
                if point.symbols and reading.value is not None:
                    row["meaning"] = point.symbols.get(str(int(reading.value)), "")
            else:
                row["status"] = str(report.errors.get(request, "not asked"))
            rows.append(row)
    return rows


def _registers(report: "Report") -> dict[str, list[dict[str, Any]]]:
    """The raw reads: each register in every form it may have; bits as 0 and 1."""
    from drivers.base import Request

    raw = {}
    for request, data in report.data.items():
        if request in report.blocks or not isinstance(request, Request):
            continue
        if request.function <= 2:
            bits = [data[i // 8] >> i % 8 & 1 for i in range(request.count)]
            raw[str(request)] = [{"address": request.address + i, "bit": bit} for i, bit in enumerate(bits)]
        else:
            raw[str(request)] = [_register(request, data, i) for i in range(request.count)]
    return raw


def _register(request: "Request", data: bytes, i: int) -> dict[str, Any]:
    from drivers.codec import reorder

    word = data[2 * i : 2 * i + 2]
    row: dict[str, Any] = {
        "address": request.address + i,
        "hex": word.hex().upper(),
        "u16": struct.unpack(">H", word)[0],
        "s16": struct.unpack(">h", word)[0],
    }
    if i + 1 < request.count:
        for order in _ORDERS:
            pair = reorder(data[2 * i : 2 * i + 4], order)
            number = struct.unpack(">f", pair)[0]
            row[f"u32_{order}"] = struct.unpack(">I", pair)[0]
            row[f"f32_{order}"] = number if abs(number) < float("inf") else None  # JSON has no NaN
    return row


def _echo_settings(settings: dict[str, Any]) -> None:
    click.echo(f"Link       {settings['link']}")
    click.echo(f"Unit       {settings['unit']}   timeout {settings['timeout_s']:g} s, asked {settings['count']} times")
    if settings["profile"]:
        click.echo(f"Profile    {settings['profile']}")
    for read in settings["reads"]:
        click.echo(f"Read       {read}   (address on the wire, counted from 0)")


def _show(report: "Report", profile: "AnyProfile | None") -> None:
    facts = _facts(report)
    answer = "yes" if facts["ok"] else "yes: it answers with exceptions" if report.present else "no answer"
    click.echo(f"Present    {answer}")
    for key, text in report.identity.items():
        click.echo(f"Identity   {key}: {text}")
    if report.present and not report.identity:
        how = "" if report.address.text is not None else " (FC 43/14 and FC 17)"
        click.echo(f"Identity   it does not say{how}")
    rtt = facts["rtt_ms"]
    if rtt["min"] is not None:
        click.echo(f"Speed      min {rtt['min']:.1f}, p50 {rtt['p50']:.1f}, max {rtt['max']:.1f} ms")
    counts = ("ok", "exceptions", "timeouts", "bad_frames", "lost", "late")
    click.echo("Reads      " + ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in counts))
    for read, reason in facts["errors"].items():
        click.echo(f"Failed     {read}: {reason}")
    if report.lost:
        click.echo(f"Failed     {report.lost}")
    for line in report.advice:
        click.echo(f"Try        {line}")
    if profile is not None and report.blocks:
        _show_values(_values(report, profile))
    for read, rows in _registers(report).items():
        click.echo(f"\n{read}")
        if "bit" in rows[0]:
            click.echo("  " + " ".join(f"{row['address']}:{row['bit']}" for row in rows))
        else:
            _show_registers(rows)


def _show_values(rows: list[dict[str, Any]]) -> None:
    click.echo()
    width = max(len(row["point"]) for row in rows)
    for row in rows:
        value = row["value"]
        shown = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        notes = [row.get("meaning", ""), "" if row["status"] == "good" else row["status"]]
        click.echo(f"  {row['point']:<{width}}  {shown:>14} {row['unit']:<6} {' '.join(filter(None, notes))}".rstrip())


def _show_registers(rows: list[dict[str, Any]]) -> None:
    """One line per register; the 32-bit forms are those of this register and the next, * marks the plausible float."""
    head = f"  {'address':>7}  {'hex':<4}  {'u16':>5}  {'s16':>6}"
    click.echo(head + "".join(f"  {'f32 ' + order:>12}" for order in _ORDERS) + f"  {'u32 ABCD':>10}  {'u32 CDAB':>10}")
    for row in rows:
        line = f"  {row['address']:>7}  {row['hex']:<4}  {row['u16']:>5}  {row['s16']:>6}"
        if "u32_ABCD" in row:
            numbers = [row[f"f32_{order}"] for order in _ORDERS]
            likely = [n is not None and _PLAUSIBLE[0] <= abs(n) < _PLAUSIBLE[1] for n in numbers]
            for number, marked in zip(numbers, likely, strict=True):
                shown = "-" if number is None else f"{number:.5g}"
                line += f"  {shown + ('*' if marked and sum(likely) == 1 else ''):>12}"
            line += f"  {row['u32_ABCD']:>10}  {row['u32_CDAB']:>10}"
        click.echo(line)
