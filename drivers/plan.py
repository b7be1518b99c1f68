"""Which reads fetch a device's points at the least cost of its link.

A read costs `fixed_s + register_s * registers` (`drivers.base.LinkCost`), so whether a hole is read over or two
reads are sent follows from the line: a slow serial line cuts at gaps that a network reads over.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import accumulate, groupby

from drivers.address import BusAddress
from drivers.base import LinkCost, Request
from drivers.formula import names_in
from drivers.meaning import AnyProfile
from drivers.modbus.ascii import ascii_cost
from drivers.point import Point
from drivers.profile import Profile
from drivers.text.plan import TextBlock, text_cost
from drivers.text.profile import TextProfile

#: Silence that ends a frame above 19200 baud: fixed, because interrupts could not tell less (Modbus over serial
#: line V1.02, 2.5.1.1); below it is 3.5 characters.
FAST_GAP_S = 0.00175
FAST_BAUD = 19200
SLOW_GAP_CHARACTERS = 3.5
#: The standard's character; one of 8N1 has 10 bits, but its silence is counted in these.
CHARACTER_BITS = 11
#: Bytes of a read that carry no register: request with CRC, and of the answer unit, function, length, CRC.
RTU_OVERHEAD_BYTES = 8 + 5
#: What a register costs on TCP: mostly the device's own copying. With 2 ms of round trip a gap of some 110 registers
#: breaks even, as measured.
TCP_REGISTER_S = 18e-6
#: Round trip over a plant network assumed where none was measured: two switches and a small CPU. Planning hardly
#: depends on it: above 2 ms any hole is read over.
ASSUMED_RTT_S = 0.005


@dataclass(frozen=True, slots=True)
class Block:
    """One read: `count` registers or bits from the 0-based `address`, and where in it each point lies."""

    function: int
    address: int
    count: int
    every: int  #: read at each n-th interval of the device
    interval_s: float
    points: tuple[str, ...]  #: ordered by category, tags, then offset
    offsets: tuple[int, ...]  #: of each point: registers (FC 3, 4) or bits (FC 1, 2) from the start of the block

    def question(self, unit: int) -> Request:
        """What to send to `unit`."""
        return Request(unit, self.function, self.address, self.count)


#: What is asked at once, of a device of any protocol.
AnyBlock = Block | TextBlock


@dataclass(frozen=True, slots=True)
class _Span:
    """What one answer must hold, wire addresses `[first, end)`: of a point, or all inputs of a derived one (None)."""

    first: int
    end: int
    point: Point | None


def link_cost(address: BusAddress, turnaround_s: float) -> LinkCost:
    """Cost of a read from a unit that takes `turnaround_s` itself, as far as its address tells.

    Behind a gateway or serial server the network's round trip comes on top of the line's time: one request at a time.
    """
    if not address.baud:
        return tcp_cost(ASSUMED_RTT_S)
    remote_s = 0.0 if address.is_port else ASSUMED_RTT_S
    turnaround_s += remote_s + address.pause_s
    if address.text is not None:
        return text_cost(address, turnaround_s)
    if address.is_ascii:
        return ascii_cost(address.character_s, turnaround_s)
    return rtu_cost(address.baud, address.character_bits, turnaround_s)


def rtu_cost(baud: int, char_bits: int = CHARACTER_BITS, turnaround_s: float = 0.0) -> LinkCost:
    """Cost of a read on a serial line: characters, the silence around both frames, the device's own time."""
    char_s = char_bits / baud
    gap_s = FAST_GAP_S if baud > FAST_BAUD else SLOW_GAP_CHARACTERS * CHARACTER_BITS / baud
    return LinkCost(fixed_s=RTU_OVERHEAD_BYTES * char_s + 2 * gap_s + turnaround_s, register_s=2 * char_s)


def tcp_cost(rtt_s: float) -> LinkCost:
    """Cost of a read over TCP with this time from request to answer."""
    return LinkCost(fixed_s=rtt_s, register_s=TCP_REGISTER_S)


def plan_any(
    profile: AnyProfile, interval_s: float, cost: LinkCost, points: Collection[str] | None = None
) -> list[AnyBlock]:
    """`plan` for a Modbus device; for others one block per command that a point is in."""
    if isinstance(profile, TextProfile):
        derived = {point.name for point in profile.derived}
        return [*profile.blocks(interval_s, points and [name for name in points if name not in derived])]
    assert isinstance(profile, Profile)
    return [*plan(profile, interval_s, cost, points)]


def parts_of(block: AnyBlock, profile: AnyProfile) -> list[AnyBlock]:
    """`split` for a Modbus device; a command cannot be taken apart and returns itself."""
    if isinstance(block, TextBlock):
        return [block]
    assert isinstance(profile, Profile)
    return [*split(block, profile)]


def plan(
    profile: Profile,
    interval_s: float,
    cost: LinkCost,
    points: Collection[str] | None = None,
    unmergeable: Collection[tuple[int, int]] = frozenset(),
) -> list[Block]:
    """The cheapest blocks that hold every point (of `points`, None: all) exactly once.

    No block crosses a forbidden range, exceeds the device's limits, or, unless the device allows it, reads a register
    that no point names. `unmergeable` are (function, wire address) that the device has refused inside a merged read:
    none is read except for a point that names it. Raises KeyError for a name that the profile does not have.
    """
    wanted = profile.point
    if points is not None:
        by_name = {point.name: point for point in profile.point}
        derived = {point.name for point in profile.derived}
        wanted = tuple(by_name[name] for name in points if name not in derived)
    blocks: list[Block] = []
    for (function, every), group in _groups(wanted):
        spans = _in_order([*_spans(profile, group), *_wholes(profile, group)])
        barriers = _barriers(profile, function, unmergeable)
        reach = [_reach(span, profile.max_count(function), barriers) for span in spans]
        cheapest = _cheapest(spans, reach, cost, bits=function <= 2)
        blocks += [_block(profile, chosen, function, every, interval_s * every) for chosen in cheapest]
    return blocks


def split(block: Block, profile: Profile) -> list[Block]:
    """What to read instead when the device refuses `block` with exception 2.

    A block with holes becomes its runs of registers that its own points name; a run is cut in two near its middle,
    so that repeated splitting isolates the register that is not there. What a derived point is computed from is only
    cut when nothing else can be. A block that cannot be cut returns itself.
    """
    points = [profile.named(name) for name in block.points]
    spans = _spans(profile, points)
    for uncut in (_wholes(profile, points), []):
        pieces = _cut(_in_order([*spans, *uncut]))
        if len(pieces) > 1:
            return [_block(profile, piece, block.function, block.every, block.interval_s) for piece in pieces]
    return [block]


def _cut(spans: list[_Span]) -> list[list[_Span]]:
    """Sorted spans as their runs, or a single run in two where no span crosses, near the middle; else as they are."""
    runs = _runs(spans)
    if len(runs) > 1:
        return runs
    ends = accumulate((s.end for s in spans), max)
    cuts = [k for k, (end, span) in enumerate(zip(ends, spans[1:], strict=False), 1) if end <= span.first]
    if not cuts:
        return [spans]
    middle = min(cuts, key=lambda k: abs(2 * k - len(spans)))
    return [spans[:middle], spans[middle:]]


def _groups(points: Iterable[Point]) -> Iterable[tuple[tuple[int, int], list[Point]]]:
    """Points that may share a read: of one function code, due equally often.

    Letting a rare point ride in a frequent block would save half a percent of the bus with our profiles, 10 % at
    most (`benchmarks/field_planner.py`), and publish an energy as often as a current: not worth it.
    """

    def together(point: Point) -> tuple[int, int]:
        return point.function, point.every

    return [(key, list(group)) for key, group in groupby(sorted(points, key=together), together)]


def _spans(profile: Profile, points: Iterable[Point]) -> list[_Span]:
    """Sorted so that a span stands behind every other that contains it."""
    return _in_order(_Span(*profile.reach(p), p) for p in points)


def _wholes(profile: Profile, points: Iterable[Point]) -> list[_Span]:
    """Of each derived point all whose inputs are among `points`: they come in one answer."""
    by_name = {point.name: point for point in points}
    found = []
    for derived in profile.derived:
        given = [by_name.get(name) for name in names_in(derived.program)]
        if all(given):
            found.append(_Span(*profile.together([point for point in given if point]), None))
    return found


def _in_order(spans: Iterable[_Span]) -> list[_Span]:
    return sorted(spans, key=lambda s: (s.first, -s.end))


def _runs(spans: list[_Span]) -> list[list[_Span]]:
    """Sorted spans, cut where nothing names the register between."""
    runs: list[list[_Span]] = []
    end = -1
    for span in spans:
        if span.first > end or not runs:
            runs.append([])
        runs[-1].append(span)
        end = max(end, span.end)
    return runs


def _barriers(profile: Profile, function: int, unmergeable: Collection[tuple[int, int]]) -> list[int]:
    """Sorted wire addresses that no block of this function may contain."""
    barriers = [first for first, _ in profile.forbidden()]
    refused = [address for refused_function, address in unmergeable if refused_function == function]
    if refused or not profile.limits.read_holes:
        named = profile.named_runs(function)
        barriers += [address for address in refused if not any(first <= address < end for first, end in named)]
        barriers += [] if profile.limits.read_holes else [end for _, end in named]
    return sorted(barriers)


def _reach(span: _Span, max_count: int, barriers: list[int]) -> int:
    """How far a block that begins with this span may go."""
    place = bisect_left(barriers, span.first)
    barrier = barriers[place] if place < len(barriers) else span.first + max_count
    return max(span.end, min(barrier, span.first + max_count))


def _cheapest(spans: list[_Span], reach: list[int], cost: LinkCost, *, bits: bool) -> list[list[_Span]]:
    """Cut sorted spans into blocks at the least total cost, by dynamic programming over where the last block begins.

    A span inside an earlier one rides along free; the others have rising ends. Looking only at neighbours in this
    order loses nothing: a span that begins inside a block and is not in it reaches beyond its end, so it could take
    over whatever of that block comes behind it.

    A begin whose rival stands behind it and is no dearer for any end is forgotten, which leaves a handful to compare:
    time grows with the number of spans, not with how many of them fit into one read.
    """
    heads: list[int] = []  # places of the spans that are not inside an earlier one
    for place, span in enumerate(spans):
        if not heads or span.end > spans[heads[-1]].end:
            heads.append(place)
    per_address = cost.register_s / 16 if bits else cost.register_s
    rounding = cost.register_s / 2 if bits else 0.0  # bits travel in whole bytes: what the last one may add

    def price(first: int, end: int) -> float:
        return cost.register_s * ((end - first + 7) // 8 / 2 if bits else end - first)

    best = [0.0]  # best[k]: cost of the first k heads
    begin = [0]  # of the last block among them
    rivals: deque[int] = deque()
    for k, place in enumerate(heads):
        level = best[k] - per_address * spans[place].first
        while rivals and best[rivals[-1]] - per_address * spans[heads[rivals[-1]]].first >= level + rounding:
            rivals.pop()
        rivals.append(k)
        end = spans[place].end
        while reach[heads[rivals[0]]] < end:
            rivals.popleft()
        total, first = min((best[i] + price(spans[heads[i]].first, end), i) for i in rivals)
        best.append(total + cost.fixed_s)
        begin.append(first)
    blocks = []
    last, behind = len(heads), len(spans)
    while last:
        last = begin[last]
        blocks.append(spans[heads[last] : behind])
        behind = heads[last]
    return blocks[::-1]


def _block(profile: Profile, spans: list[_Span], function: int, every: int, interval_s: float) -> Block:
    address = min(s.first for s in spans)
    points = [s.point for s in spans if s.point is not None]
    places = {p.name: profile.wire_address(p) - address for p in points}
    series = {p.name: (profile.category(p), sorted(p.tags.items())) for p in points}
    points.sort(key=lambda p: (*series[p.name], places[p.name], p.bit or 0))
    return Block(
        function=function,
        address=address,
        count=max(s.end for s in spans) - address,
        every=every,
        interval_s=interval_s,
        points=tuple(p.name for p in points),
        offsets=tuple(places[p.name] for p in points),
    )
