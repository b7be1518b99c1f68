"""`collector probe`: is the device there, what answers, how fast, what does it say."""

import asyncio
import json
import statistics
from typing import TYPE_CHECKING, Any

import click

from collector.cli import CANNOT_OPEN, DEVICE_FAULT, USAGE
from collector.cli.registers import read_of, registers, show_registers
from collector.wording import counted

if TYPE_CHECKING:
    from drivers.address import BusAddress
    from drivers.base import Request
    from drivers.meaning import AnyProfile
    from drivers.probe import Report
    from drivers.wires.base import Trace

#: Frames kept for --json --raw.
_MAX_FRAMES = 1000
#: Reads named one by one that failed for the same reason; the rest is counted, and the advice stays in sight.
_FAILED_NAMED = 3


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

    URL is tcp://HOST:PORT, udp://HOST:PORT, serial:///dev/ttyUSB0?baud=9600&parity=N, rtu+tcp://HOST:PORT,
    ascii+serial:///dev/ttyUSB0, ascii+tcp://HOST:PORT or
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
    requests = [read_of(text, unit) for text in reads]
    shown = [str(request) for request in requests]
    settings = {"link": str(address), "unit": unit, "profile": profile_name, "reads": shown}
    settings |= {"count": count, "timeout_s": timeout_s}
    speaks_text = address.is_ascii or (profile is not None and profile.protocol != "modbus")
    trace = _tracer(frames, as_json, text=speaks_text) if raw else None
    if not as_json:
        _echo_settings(settings)
    report = _run(address, unit, requests, profile, settings, trace, as_json)
    if as_json:
        found: dict[str, Any] = {"settings": settings, **_facts(report), "values": _values(report, profile)}
        found |= {"registers": registers(report), "frames": frames}
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


def _echo_settings(settings: dict[str, Any]) -> None:
    click.echo(f"Link       {settings['link']}")
    click.echo(f"Unit       {settings['unit']}   timeout {settings['timeout_s']:g} s")
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
    told = ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in counts)
    click.echo(f"Asked      {counted(facts['reads'], 'time')}: {told}")
    _show_failures(report)
    if report.lost:
        click.echo(f"Failed     {report.lost}")
    for line in report.advice:
        click.echo(f"Try        {line}")
    if profile is None and report.present and not (report.data or report.address.text):
        click.echo("Next       add --profile (`collector profile list WORD` knows makers and models), or --read")
    if profile is not None and report.data:  # without any answer it would be the same reason at every point
        _show_values(_values(report, profile))
    show_registers(registers(report))


def _show_failures(report: "Report") -> None:
    """One line for each reason; the link is not said again, it stands above."""
    reads: dict[str, list[str]] = {}
    for read, error in report.errors.items():
        reads.setdefault(str(error).removeprefix(f"{report.address}: "), []).append(str(read))
    for reason, failed in reads.items():
        more = f" and {len(failed) - _FAILED_NAMED} more" if len(failed) > _FAILED_NAMED else ""
        click.echo(f"Failed     {', '.join(failed[:_FAILED_NAMED])}{more}: {reason}")


def _show_values(rows: list[dict[str, Any]]) -> None:
    click.echo()
    width = max(len(row["point"]) for row in rows)
    for row in rows:
        value = row["value"]
        shown = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        notes = [row.get("meaning", ""), "" if row["status"] == "good" else row["status"]]
        click.echo(f"  {row['point']:<{width}}  {shown:>14} {row['unit']:<6} {' '.join(filter(None, notes))}".rstrip())
