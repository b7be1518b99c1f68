"""Golden frames: does the map decode a known answer to the known values?"""

import struct
from collections.abc import Iterator, Mapping

from drivers.codec import Status, Value, decode_point
from drivers.derived import derive
from drivers.errors import DeviceError, Mistake
from drivers.meaning import AnyProfile, Frame, Meaning
from drivers.profile import Profile
from drivers.text.profile import TextFrame, TextProfile

_REQUEST = struct.Struct(">BHH")


def mistakes(profile: AnyProfile) -> Iterator[Mistake]:
    """(key, reason, hint) of every frame that contradicts the map or could never be exchanged with the device."""
    for i, golden in enumerate(profile.golden):
        key = f"golden[{i}]"
        if isinstance(profile, TextProfile):
            yield from _text_frame(profile, golden, key)
        elif isinstance(profile, Profile):
            yield from _modbus_frame(profile, golden, key)


def _text_frame(profile: TextProfile, golden: TextFrame, key: str) -> Iterator[Mistake]:
    """Whole frames of a text protocol: the question is ours to the character, the answer is found and read."""
    try:
        request, response = golden.bytes_of(golden.request), golden.bytes_of(golden.response)
    except ValueError as error:
        yield key, f"cannot stand on a line: {error}", 'encoding = "hex" takes pairs of hex digits'
        return
    asking = [c for c in profile.command if profile.question(c, golden.unit) == request]
    if not asking:
        asked = ", ".join(repr(profile.question(c, golden.unit).decode("latin-1")) for c in profile.command)
        yield f"{key}.request", f"is what no command asks of unit {golden.unit}", f"they ask {asked}"
        return
    errors = []
    for command in asking:  # several kinds of lines that a device sends by itself have no question to tell them apart
        if profile.framing(command).find(response, silent=True) != (0, len(response)):
            errors.append(("is not one whole frame", "with all that stands on the line, the terminator included"))
            continue
        try:
            image = profile.ask(command.name, golden.unit).read(response)
        except DeviceError as error:
            errors.append((f"cannot be read: {error}", "check the frame, or the layout"))
            continue
        break
    else:
        yield f"{key}.response", *errors[0]
        return
    yield from _content(profile, golden, key, image, profile.places(command.name))


def _modbus_frame(profile: Profile, golden: Frame, key: str) -> Iterator[Mistake]:
    try:
        request, response = bytes.fromhex(golden.request), bytes.fromhex(golden.response)
    except ValueError as error:
        yield key, f"is not hex: {error}", "pairs of hex digits; blanks are fine"
        return
    reason = _form(profile, request, response)
    if reason:
        yield f"{key}.{reason[0]}", *reason[1:]
        return
    function, address, count = _REQUEST.unpack(request)
    places = {}
    for point in profile.point:
        first, end = profile.reach(point)
        if point.function == function and address <= first and end <= address + count:
            places[point.name] = profile.wire_address(point) - address
    yield from _content(profile, golden, key, response[2:], places)


def _form(profile: Profile, request: bytes, response: bytes) -> Mistake | None:
    """What makes this exchange impossible: as Modbus (application protocol V1.1b3, 6.1-6.4) or for this device."""
    if len(request) != _REQUEST.size or not 1 <= request[0] <= 4:
        return "request", "is not function 1 to 4, address, count", "five bytes, without unit and CRC"
    function, address, count = _REQUEST.unpack(request)
    if not 1 <= count <= profile.max_count(function):
        return "request", f"asks for {count}, the limit is {profile.max_count(function)}", "a smaller read"
    for low, high in profile.forbidden():
        if address < high and low < address + count:
            return "request", "reads a forbidden range", "another read, or another range"
    if not profile.limits.read_holes:
        named = {register for first, end in profile.named_runs(function) for register in range(first, end)}
        hole = next((a for a in range(address, address + count) if a not in named), None)
        if hole is not None:
            return "request", f"reads wire address {hole}, which no point names", "read_holes is false"
    size = 2 * count if function > 2 else (count + 7) // 8
    if response[:2] != bytes((function, size)) or len(response) != 2 + size:
        return "response", f"is not function {function}, {size}, and {size} bytes", "without unit and CRC"
    return None


def _content(profile: AnyProfile, golden: Frame, key: str, data: bytes, places: Mapping[str, int]) -> Iterator[Mistake]:
    """Whether `data`, with points at `places`, says what is expected of it."""
    points = {point.name: point for point in profile.published}
    readings = {name: decode_point(profile, points[name], data, place) for name, place in places.items()}
    readings |= derive(profile, readings)
    expected: dict[str, Value | None] = {**golden.expect, **dict.fromkeys(golden.missing)}
    if not expected:
        yield f"{key}.expect", "expects nothing", "name at least one point"
    for name, value in expected.items():
        point = points.get(name)
        if point is None:
            yield f"{key}.expect.{name}", "no such point", "see the names above"
            continue
        if name not in readings:
            yield f"{key}.expect.{name}", "is not inside this read", "another frame, or another address"
            continue
        reading = readings[name]
        if reading.status != (Status.NOT_AVAILABLE if value is None else Status.GOOD):
            said = reading.status.name.lower().replace("_", " ")
            yield f"{key}.expect.{name}", f"decodes to: {said}", "check sentinels, range and type"
        elif value is not None and not _same(point, reading.value, value):
            hint = "check address, type, order and scale"
            yield f"{key}.expect.{name}", f"decodes to {reading.value!r}, not {value!r}", hint


def _same(point: Meaning, decoded: Value | None, expected: Value) -> bool:
    """Equal, and for numbers equal as published: to the point's decimals."""
    if isinstance(decoded, bool | str) or isinstance(expected, bool | str) or decoded is None:
        return decoded == expected and isinstance(decoded, bool) == isinstance(expected, bool)
    return abs(decoded - expected) <= 0.5001 * 10.0**-point.scaling.decimals
