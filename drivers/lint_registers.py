"""Mistakes in a map of registers: what the linter asks of Modbus points and of nothing else."""

from collections.abc import Container, Iterator

from drivers.codec import own_bits
from drivers.errors import Mistake
from drivers.point import BIT_TABLES, Point
from drivers.profile import Profile

LAST_ADDRESS = 65535
#: Each sentinel is a comparison per reading; no known device has more than eight.
MAX_INVALID = 16
UNSIGNED = frozenset({"u16", "u32", "u64"})
_WORD_TYPES = ("u16", "s16", "bcd16", "bool")

#: key, reason, hint of each mistake
Check = Iterator[Mistake]


def lost_parts(profile: Profile) -> Check:
    """What points refer to and is not there: their bits in the number, their scale register among the points."""
    names = {point.name for point in profile.point}
    for point in profile.point:
        for key, reason, hint in _lost(names, point):
            yield f"point[{point.name}].{key}", reason, hint


def without_lost_parts(profile: Profile) -> Profile:
    """The profile without what `lost_parts` complains of, so that everything else can be told as well."""
    names = {point.name for point in profile.point}
    points = []
    for point in profile.point:
        lost = {key: None for key, *_ in _lost(names, point)}
        points.append(point.model_copy(update=lost) if lost else point)
    return profile.model_copy(update={"point": tuple(points)})


def _lost(names: Container[str], point: Point) -> Check:
    """Keys of the point that refer to nothing."""
    if point.bits is not None and point.type in UNSIGNED and not _inside(point, *point.bits):
        first, last = point.bits
        hint = f"write [lowest, highest], 0 to {16 * point.length - 1}"
        yield "bits", f"{first} to {last} do not lie inside {point.type}", hint
    if point.bits is not None and (point.type not in UNSIGNED or point.table in BIT_TABLES):
        yield "bits", f"has no meaning for {point.type} in {point.table}", "for u16, u32, u64 in holding or input"
    if isinstance(point.scale_register, str) and point.scale_register not in names:
        yield "scale_register", f"there is no point {point.scale_register}", "the name of a point, or an address"


def _inside(point: Point, first: int, last: int) -> bool:
    return 0 <= first <= last < 16 * point.length


class Registers:
    """The points of one profile and what has to be known of all of them to judge each."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._runs: dict[int, list[tuple[int, int]]] = {}
        #: registers that hold something else than a power of ten
        self._no_exponent = {
            (point.table, register): point
            for point in profile.point
            if (point.type, point.scale, point.offset, point.pow2) != ("s16", 1, 0, None)
            for register in range(*profile.span(point))
        }

    def mistakes(self) -> Check:
        """What is wrong with the map as a whole."""
        yield from self._limits()
        yield from self._overlaps()

    def checks(self, point: Point) -> tuple[Check, ...]:
        """What is wrong with one point."""
        return self._place(point), _type(point), self._scale_register(point), _sentinels(point), _encoding(point)

    def _limits(self) -> Check:
        for i, (first, last) in enumerate(self._profile.limits.forbidden):
            if (
                not self._profile.limits.address_base
                <= first
                <= last
                <= LAST_ADDRESS + self._profile.limits.address_base
            ):
                hint = "write [first, last] in the document's counting"
                yield f"limits.forbidden[{i}]", f"{first} to {last} is no range of addresses", hint

    def _place(self, point: Point) -> Check:
        """Where it lies: inside the address space, readable in one request, in no forbidden range."""
        profile = self._profile
        first, end = profile.span(point)
        base = profile.limits.address_base
        if first < 0:
            yield "address", f"{point.address} is below address_base = {base}", "the first address of the document is 1"
        if end - 1 > LAST_ADDRESS:
            yield (
                "address",
                f"ends at {end - 1} on the wire, beyond {LAST_ADDRESS}",
                "is the table's leading digit inside?",
            )
        if end - first > profile.max_count(point.function):
            reason = f"is {end - first} registers long, limits.max_registers is {profile.limits.max_registers}"
            yield "registers", reason, "a point is never cut into two reads"
        for low, high in profile.forbidden():
            if first < high and low < end:
                yield (
                    "address",
                    f"lies in the forbidden range {low + base} to {high - 1 + base}",
                    "take one of them out",
                )

    def _scale_register(self, point: Point) -> Check:
        """The register that holds the power of ten is one, and comes in one answer with the point."""
        profile = self._profile
        scale = profile.scale_address(point)
        if scale is None:
            return
        if point.is_state or point.type == "string":
            yield "scale_register", "a state, bool or string has no scale", "leave it out"
            return
        if point.pow2 is not None:
            yield "scale_register", f"stands beside pow2 = {point.pow2}", "one of them"
        if not 0 <= scale <= LAST_ADDRESS:
            yield "scale_register", f"{scale} on the wire is no address", "in the document's counting, like address"
        named = profile.named(point.scale_register) if isinstance(point.scale_register, str) else point
        other = self._no_exponent.get((point.table, scale))
        if named.table != point.table:
            yield "scale_register", f"{named.name} is in another table ({named.table})", "one answer must hold both"
        elif other is not None:
            hint = "the register of a power of ten is an s16 without scale"
            yield "scale_register", f"is a register of {other.name} ({other.type})", hint
        else:
            yield from self._apart(point)

    def _apart(self, point: Point) -> Check:
        """Why one answer cannot hold a point and its scale register."""
        profile = self._profile
        first, end = profile.reach(point)
        base = profile.limits.address_base
        if end - first > profile.max_count(point.function):
            reason = f"is {end - first} registers away, limits.max_registers is {profile.limits.max_registers}"
            yield "scale_register", reason, "one answer must hold both"
        for low, high in profile.forbidden():
            if first < high and low < end:
                reason = f"the forbidden range {low + base} to {high - 1 + base} lies between"
                yield "scale_register", reason, "one answer must hold both"
        if not profile.limits.read_holes:
            runs = self._runs.setdefault(point.function, profile.named_runs(point.function))
            if not any(low <= first and end <= high for low, high in runs):
                reason = "registers that no point names lie between, and read_holes is false"
                yield "scale_register", reason, "name them, if the device has them"

    def _overlaps(self) -> Check:
        """Two points that say different things of one register. Bits may share it with each other and with its word."""
        profile = self._profile
        for table in dict.fromkeys(point.table for point in profile.point):
            points = [p for p in profile.point if p.table == table]
            parts = [p for p in points if p.type == "bool" or p.bits is not None]
            taken: dict[tuple[int, int], str] = {}
            for point in parts:
                own = [
                    (point.address + k, bit)
                    for k, word in enumerate(own_bits(profile, point))
                    for bit in range(16)
                    if word >> bit & 1
                ]
                first = next((taken[place] for place in own if place in taken), None)
                taken |= dict.fromkeys(own, point.name)
                if first is not None:
                    where = f"{point.address}" if table in BIT_TABLES else f"its bits of {point.address}"
                    yield f"point[{point.name}].address", f"{where} is already {first}", "remove one"
            reach, holder = -1, ""
            for start, end, name in sorted((*profile.span(p), p.name) for p in points if p not in parts):
                if start < reach:
                    yield f"point[{name}].address", f"shares registers with {holder}", "one of the two is wrong"
                if end > reach:
                    reach, holder = end, name


def _type(point: Point) -> Check:
    """Type, table, bit, order and length agree."""
    in_bits = point.table in BIT_TABLES
    if in_bits and point.type != "bool":
        yield "type", f"{point.type} in a table of bits ({point.table})", 'use type = "bool", or holding or input'
    if point.type == "bool" and not in_bits and point.bit is None:
        yield "bit", "a bool in a register needs its bit", "bit = 0 is the lowest, 15 the highest"
    if point.bit is not None and (point.type != "bool" or in_bits):
        yield "bit", f"has no meaning for {point.type} in {point.table}", "only for type bool in holding or input"
    if point.type == "string" and point.registers is None:
        yield "registers", "a string needs its length in registers", "two characters each"
    if point.type != "string" and point.registers is not None:
        yield "registers", f"{point.type} is always {point.length} long", "leave it out"
    if point.order is not None and point.type in _WORD_TYPES:
        yield "order", f"{point.type} has one register, so no word order", "leave it out"
    if point.order in ("CDAB", "DCBA") and point.type == "string":
        yield "order", f"{point.order} on a string", "ABCD: high byte first; BADC: low byte first"


def _sentinels(point: Point) -> Check:
    if point.invalid and (point.type == "string" or point.table in BIT_TABLES):
        yield "invalid", f"{point.type} in {point.table} has no raw pattern", "leave it out"
        return
    if len(point.invalid) > MAX_INVALID:
        yield "invalid", f"{len(point.invalid)} patterns, at most {MAX_INVALID}", "use range instead"
    bits = 16 * point.length if point.bits is None else point.bits[1] - point.bits[0] + 1
    for low, high in point.sentinels:
        if not (0 <= low < 1 << bits and 0 <= high < 1 << bits):
            wrong = low if not 0 <= low < 1 << bits else high
            hint = f"as it stands in the registers, 0 to {(1 << bits) - 1:#x}: -1 is the highest"
            yield "invalid", f"{wrong} is no unsigned pattern of {bits} bits", hint
        elif low > high:
            yield "invalid", f"{low:#x} is above {high:#x}", "write [first, last]"


def _encoding(point: Point) -> Check:
    if point.encoding is not None and (point.is_state or point.type == "string" or point.unit):
        yield "encoding", f"{point.encoding} is an encoding of power factors", "leave it out, or the unit"
