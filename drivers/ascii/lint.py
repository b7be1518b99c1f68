"""Mistakes of content in an ASCII profile: framing, questions, layouts, places."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from drivers.ascii.framing import Envelope, Framing
from drivers.ascii.layout import Layout, Place, Repeat, compiled
from drivers.ascii.octets import show
from drivers.ascii.pattern import slow_parts
from drivers.ascii.question import body_of
from drivers.ascii.value import IN_BYTES, IN_TEXT, SIZES
from drivers.errors import Mistake

if TYPE_CHECKING:
    from drivers.ascii.profile import AsciiCommand, AsciiProfile

#: Questions that change something in some device, by what they begin with and what they do there. Whether they do in
#: this one only its manual tells, so a profile may say that they do not (`reads`), and where that is written.
COMMANDS = (
    (r"S\.?\d", "shuts a Megatec UPS down"),
    (r"CT?$", "cancels a shutdown or a test of a Megatec UPS"),
    (r"T(?:L|\.?\d*)$", "starts a battery test of a Megatec UPS"),
    (r"Q$", "turns the beeper of a Megatec UPS on or off"),
    (r"%[0-9A-F]{2}", "sets address and speed of a DCON module"),
    (r"#[0-9A-F]{2}[+-]", "sets an output of a DCON module"),
    (r"@[0-9A-F]{2}.", "sets the outputs or alarms of a DCON module"),
    (r"\$[0-9A-F]{2}[013]$", "calibrates a DCON module"),
    (r"~[0-9A-F]{2}[1-9A-Z]", "sets watchdog, name or safe values of a DCON module"),
    (r"~?[0-9A-F]{6}(?:45|48|49|4E|80|84|92|94|95)", "controls or sets a device by YD/T 1363"),
    (r":?[0-9A-F]{2}(?:0[56F]|1[0567])[0-9A-F]{4}", "writes by Modbus ASCII"),
    (
        r"(?i:(?:.*[ :])?(?:set|w|wr|write|rst|reset|clr|clear|erase|save|store|cal|zero|tare)\b)",
        "sounds like a command",
    ),
    (
        r"(?i:(?:.*[ :])?(?:on|off|start|stop|open|close|ack|mute|silence|shutdown|test|reboot)\b)",
        "sounds like a command",
    ),
    (r".*=[^?]", "gives something a value"),
)
_COMMANDS = tuple((re.compile(begin), what) for begin, what in COMMANDS)


def mistakes(profile: "AsciiProfile") -> Iterator[Mistake]:
    """(key, reason, hint) of everything that is wrong in the keys of this protocol."""
    found = [*_envelopes(profile), *_commands(profile), *_points(profile)]
    yield from found or [*_unproved(profile), *_ambiguous(profile)]


def _envelopes(profile: "AsciiProfile") -> Iterator[Mistake]:
    yield from _check("send", profile.send)
    yield from _framing("receive", profile.receive, needed=any(c.receive is None for c in profile.command))
    for command in profile.command:
        if command.receive is not None:
            yield from _framing(f"command[{command.name}].receive", command.receive, needed=True)


def _commands(profile: "AsciiProfile") -> Iterator[Mistake]:
    asked: dict[str, str] = {}
    for command in profile.command:
        key = f"command[{command.name}]"
        yield from _question(key, command)
        yield from _layout(key, command)
        first = asked.setdefault(command.ask, command.name)
        if command.ask and first != command.name:
            yield f"{key}.ask", f"is the question of {first}", "put the points of both into one command"


def _points(profile: "AsciiProfile") -> Iterator[Mistake]:
    commands = {command.name: command for command in profile.command}
    for point in profile.point:
        if point.command in commands:
            layout = commands[point.command]
            found = (*_place(layout, point), *_form(layout, point), *_repeated(layout.repeat, point))
            yield from ((f"point[{point.name}].{key}", reason, hint) for key, reason, hint in found)


def _unproved(profile: "AsciiProfile") -> Iterator[Mistake]:
    """Commands without a golden frame. One that is there and cannot be read is told elsewhere, with the reason."""
    for command in profile.command:
        own = [golden for golden in profile.golden if profile.is_proved_by(command, golden)]
        if not own or (not command.ask and command.name not in profile.known and len(own) < _listened(profile)):
            hint = "the answer of a device proves the places, and a simulated device answers like it"
            yield f"command[{command.name}]", "has no golden frame", hint


def _ambiguous(profile: "AsciiProfile") -> Iterator[Mistake]:
    """Answers that could as well be something that the device says by itself: they would be read twice."""
    for i, golden in enumerate(profile.golden):
        with suppress(ValueError):
            if golden.request and profile.is_pushed(golden.unit, golden.bytes_of(golden.response)):
                hint = "make the layout of the command without ask stricter, with a pattern or words"
                yield f"golden[{i}].response", "also fits a line that the device sends by itself", hint


def _listened(profile: "AsciiProfile") -> int:
    """How many kinds of lines the device sends by itself."""
    return sum(not command.ask for command in profile.command)


def _check(key: str, envelope: Envelope) -> Iterator[Mistake]:
    check = envelope.check
    if check.kind == "none" and check != type(check)():
        yield f"{key}.check.kind", "is none, but how it stands in the frame is told", "name the checksum"
    if check.behind_end and not (envelope.start and envelope.end):
        yield f"{key}.check.behind_end", "needs a start and an end", "such frames are STX text ETX checksum"
    if check.kind == "lrc" and not check.digits:
        yield f"{key}.check.digits", "an lrc is computed over hex digits and is two of them", "digits = true"


def _framing(key: str, framing: Framing, *, needed: bool) -> Iterator[Mistake]:
    yield from _check(key, framing)
    ways = [name for name in ("length", "size") if getattr(framing, name) is not None]
    if len(ways) > 1:
        yield f"{key}.size", "stands beside length", "one of them"
    if ways and framing.idle_s is not None:
        yield f"{key}.idle_s", f"stands beside {ways[0]}", "the length tells the end"
    if not ways and not framing.end and framing.idle_s is None and needed:
        yield key, "does not say where an answer ends", r"end = '\r', or length, size, or idle_s"
    if framing.idle_s is not None and framing.check.behind_end:
        yield f"{key}.check.behind_end", "stands beside idle_s", "a checksum proves that the end has come"
    for start in framing.other_starts:
        if len(start) != len(framing.start) or not start:
            hint = "a start is how the begin of an answer is found; of one length, so that what follows stands alike"
            yield f"{key}.other_starts", f"{show(start)} is not as long as {show(framing.start)}", hint
    if framing.length is not None and framing.length < len(framing.start) + len(framing.end) + framing.check.width + 1:
        yield f"{key}.length", "leaves no room for a body", "count every byte, start, end and checksum too"


def _question(key: str, command: "AsciiCommand") -> Iterator[Mistake]:
    for name, template in (("ask", command.ask), ("begins", command.begins)):
        try:
            body_of(template, 1)
        except ValueError as error:
            yield f"{key}.{name}", str(error), r"text with escapes \r \xHH; {addr:02X} for the number of the unit"
            return
    if bool(command.ask) == (command.max_age_s is not None):
        if command.ask:
            yield f"{key}.max_age_s", "of what is asked for", "only for what the device sends by itself, without ask"
        else:
            hint = "seconds after which what it said by itself is no longer known to be true"
            yield f"{key}.max_age_s", "is missing: nothing is asked", hint
    what = looks_like_a_command(body_of(command.ask, 1)) if not command.reads else None
    if what is not None:
        hint = 'this program only reads; if it reads here: reads = "manual, edition and page"'
        yield f"{key}.ask", f"{command.ask} {what}", hint


def looks_like_a_command(body: bytes) -> str | None:
    """What a question does in some device, other than being answered; None: nothing that is known."""
    text = body.decode("latin-1").lstrip("\x02\x01").strip()
    return next((what for begin, what in _COMMANDS if begin.match(text)), None)


def _layout(key: str, layout: Layout) -> Iterator[Mistake]:
    if layout.layout == "pattern":
        if not layout.pattern:
            yield f"{key}.pattern", "is missing", r"pattern = '(?P<temperature>[+-]\d{3}\.\d)C'"
        else:
            yield from ((f"{key}.pattern", reason, hint) for reason, hint in slow_parts(layout.pattern))
        for name in ("length", "repeat"):
            if getattr(layout, name) is not None:
                yield f"{key}.{name}", "has no meaning for a pattern", "say it in the pattern"
        return
    if layout.pattern:
        yield f"{key}.pattern", f"stands in the layout {layout.layout}", 'layout = "pattern"'
    if layout.separator and layout.layout != "split":
        yield f"{key}.separator", f"stands in the layout {layout.layout}", 'layout = "split"'
    if layout.length is None:
        what = {"split": "fields", "columns": "characters"}.get(layout.layout, "bytes")
        hint = f"count the {what} of the body, without groups: it is how a lost character is noticed"
        yield f"{key}.length", "is missing", hint
    if layout.repeat is not None:
        for part in (_place(layout, layout.repeat.count), _form(layout, layout.repeat.count)):
            yield from ((f"{key}.repeat.count.{name}", reason, hint) for name, reason, hint in part)


#: The key that says where a value stands, by layout.
_WHERE = {"columns": "at", "bytes": "at", "hex": "at", "split": "field", "pattern": "group"}


def _place(layout: Layout, place: Place) -> Iterator[Mistake]:
    where = _WHERE[layout.layout]
    if getattr(place, where) is None:
        yield where, f"is missing: the layout is {layout.layout}", f"{where} = ... says where the value stands"
    for other in sorted({*_WHERE.values()} - {where}):
        if getattr(place, other) is not None:
            yield other, f"has no meaning in the layout {layout.layout}", f"write {where}"
    if layout.layout == "columns" and place.width is None:
        yield "width", "is missing", "the number of columns"
    if layout.layout == "pattern":
        if place.width is not None:
            yield "width", "has no meaning for a pattern", r"say it there: \d{3}"
        if place.group is not None and layout.pattern:
            with suppress(re.error):
                known = list(compiled(layout.pattern).groupindex)
                if place.group not in known:
                    yield "group", f"the pattern has no group {place.group}", f"it has: {', '.join(known)}"


def _form(layout: Layout, place: Place) -> Iterator[Mistake]:
    allowed = IN_BYTES if layout.in_bytes else IN_TEXT
    if place.type not in allowed:
        yield "type", f"{place.type} in the layout {layout.layout}", f"one of {', '.join(sorted(allowed))}"
        return
    if layout.in_bytes and (place.width is None) == (place.type in ("bcd", "text")):
        hint = "the number of bytes" if place.width is None else "the type tells it"
        yield "width", "is missing" if place.width is None else f"beside {place.type}", hint
    if bool(place.words) != (place.type == "word"):
        yield "words", f"and the type {place.type}", 'type = "word" with words = { "LEAK" = 1, "OK" = 0 }'
    whole = place.type in ("hex", "u8", "u16", "u24", "u32", "u64")
    for name in ("bit", "bits"):
        if getattr(place, name) is not None and not whole:
            yield name, f"of {place.type}", "only whole numbers without sign have bits that mean something"
    if place.bit is not None and place.bits is not None:
        yield "bits", "stands beside bit", "one of them"
    if place.part is not None and (place.part[1] < 1 or sum(place.part) > 8 * SIZES.get(place.type, 8)):
        yield "bits", f"{place.part[0]} to {sum(place.part) - 1} of {place.type}", "the lowest first, 0 is the lowest"
    if place.low_first and not layout.in_bytes:
        yield "low_first", f"in the layout {layout.layout}", "digits are written from the highest on"


def _repeated(repeat: Repeat | None, place: Place) -> Iterator[Mistake]:
    if repeat is None and (place.item is not None or place.behind):
        yield "item", "the command has no repeat", "repeat = { count = ..., first = ..., size = ..., most = ... }"
    if repeat is not None and place.item is not None:
        if place.item >= repeat.most:
            yield "item", f"{place.item} is not below repeat.most = {repeat.most}", "0 is the first"
        if place.behind:
            yield "behind", "stands beside item", "one of them"
