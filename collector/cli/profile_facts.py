"""What there is to say of a profile, as plain data: for `collector profile` and its --json."""

from typing import TYPE_CHECKING, Any

from collector.wording import counted

if TYPE_CHECKING:
    from drivers.errors import ProfileError
    from drivers.meaning import AnyProfile, Meaning
    from drivers.mutants import Tally

#: The line that the estimate of `show` and `check` is made for: the usual one, and a slow one.
USUAL_BAUD, USUAL_RTT_S = 9600, 0.005


def summary(name: str, profile: "AnyProfile") -> dict[str, Any]:
    """Whose device, what it tells and what that rests on."""
    return {
        "name": name,
        "vendor": profile.device.vendor,
        "model": profile.device.model,
        "protocol": profile.protocol,
        "categories": sorted({profile.category(point) for point in profile.published}),
        "points": len(profile.published),
        "golden": len(profile.golden),
        "evidence": profile.device.evidence,
        "source": profile.device.source,
    }


def mistakes(error: "ProfileError") -> list[dict[str, str]]:
    """Where, what, and what to do, of each."""
    return [{"key": key, "reason": reason, "hint": hint} for key, reason, hint in error.findings]


def point(profile: "AnyProfile", meaning: "Meaning") -> dict[str, Any]:
    """Where a point stands, how it looks there and what it means."""
    scaling = meaning.scaling
    return {
        "name": meaning.name,
        "publish_as": meaning.publish_as or meaning.name,
        "category": profile.category(meaning),
        "tags": meaning.tags,
        **_place(profile, meaning),
        "mul": scaling.mul,
        "add": scaling.add,
        "div": scaling.div,
        "decimals": scaling.decimals,
        "unit": meaning.unit,
        "kind": meaning.kind,
        "symbols": meaning.symbols,
        "range": meaning.range,
        "deadband": meaning.deadband,
        "every": meaning.every,
        "note": meaning.note,
    }


def _place(profile: "AnyProfile", point: "Meaning") -> dict[str, Any]:
    """Where a point stands on the wire, and how it looks there."""
    from drivers.meaning import Derived
    from drivers.point import Point
    from drivers.profile import Profile
    from drivers.text.profile import TextPoint

    if isinstance(point, Derived):
        return {"type": point.wire_type, "derive": point.derive}
    if isinstance(point, TextPoint):
        return {
            "command": point.command,
            "place": point.place,
            "type": point.wire_type,
            "invalid": list(point.invalid),
        }
    assert isinstance(profile, Profile)
    assert isinstance(point, Point)
    return {
        "function": point.function,
        "address": point.address,
        "wire_address": profile.wire_address(point),
        "length": point.length,
        "type": point.type,
        "order": profile.order(point),
        "bit": point.bit,
        "bits": point.bits,
        "scale_register": profile.scale_address(point),
        "encoding": point.encoding,
        "invalid": list(point.invalid),
    }


def reads(profile: "AnyProfile") -> dict[str, Any]:
    """Reads and line time of one full cycle, in which even the slowest points are due."""
    from drivers.address import parse_bus, speaking
    from drivers.plan import link_cost, plan_any, rtu_cost, tcp_cost

    turnaround_s = profile.limits.turnaround_s
    lines = {"tcp": tcp_cost(USUAL_RTT_S), "rtu": rtu_cost(USUAL_BAUD, turnaround_s=turnaround_s)}
    if profile.protocol != "modbus":
        address = speaking(parse_bus(f"serial:///dev/ttyUSB0?baud={USUAL_BAUD}"), [profile])
        lines = {"serial": link_cost(address, turnaround_s)}
    found = {}
    for line, cost in lines.items():
        blocks = plan_any(profile, 1.0, cost)
        asked = [(block.question(1), block.every) for block in blocks]
        seconds = sum(cost.of(question) / every for question, every in asked if question.line_bytes)
        found[line] = {"blocks": len(blocks), "mean_s_per_interval": round(seconds, 4)}
    return found


def questions(profile: "AnyProfile") -> list[str]:
    """All that is ever sent to a device with a text protocol, as it is sent to unit 1."""
    from drivers.ascii.octets import show
    from drivers.text.profile import TextProfile

    if not isinstance(profile, TextProfile):
        return []
    asked = [profile.ask(command.name, 1) for command in profile.command]
    return [
        f"{each.name} is not asked: the device sends it by itself; it holds for {each.patience_s:g} s"
        if each.unasked
        else f"{each.name} asks unit 1: {show(each.question)}"
        for each in asked
    ]


def load(profile: "AnyProfile") -> str:
    """`reads` in one line."""
    where = {"tcp": "over TCP", "rtu": f"at {USUAL_BAUD} baud", "serial": f"at {USUAL_BAUD} baud"}
    parts = [
        f"{read['blocks']} {where[line]} ({read['mean_s_per_interval'] * 1000:.0f} ms per interval)"
        for line, read in reads(profile).items()
    ]
    return "reads: " + ", ".join(parts)


def evidence(profile: "AnyProfile") -> str:
    """What the map rests on, in one line."""
    return (
        f"{counted(len(profile.golden), 'golden frame')}; evidence: {profile.device.evidence} ({profile.device.source})"
    )


def mutants(tally: "Tally") -> dict[str, Any]:
    """How many mistakes in the profile would be noticed, by what, and which would not."""
    survivors = [{"key": mutant.key, "change": mutant.change} for mutant in tally.survivors]
    return {"total": tally.total, "share": round(tally.share, 4), "noticed": {**tally.noticed}, "survivors": survivors}
