"""decode: the bytes of the tick's answers become samples with a value and a quality."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from collector.kernels import decode as kernels
from collector.programs import Programs
from collector.types import BlockSpec, Int32, Int64, Outcome, PointSpec, Quality, RawBatch, Samples

_KINDS = {"u64": kernels.UNSIGNED_64, "f32": kernels.FLOAT, "f64": kernels.DOUBLE, "bool": kernels.BIT}
_BYTES = {
    "u16": 2,
    "s16": 2,
    "u32": 4,
    "s32": 4,
    "u64": 8,
    "s64": 8,
    "f32": 4,
    "f64": 8,
    "bool": 2,
    "bcd16": 2,
    "bcd32": 4,
    "bcd64": 8,
}
_WORD = 1 << 64  #: the kernel's registers are words of 64 bits, which wrap round
#: Function codes 1 and 2 answer with bits, the first one in the lowest bit of the first byte (Modbus V1.1b3, 6.1).
_BIT_FUNCTIONS = (1, 2)
#: Each sentinel is one comparison per reading; no known device has more than five.
MAX_INVALID = 16


class _Form(NamedTuple):
    """How a value looks in its registers and what it means; a device's points share a few."""

    layout: tuple[int, ...]
    scale: tuple[float, ...]
    invalid: tuple[tuple[int, int], ...]


class Decode:
    """Turns each tick's records into samples.

    `points` are all points there are; `set_blocks` tells where they lie and must come before the first call. Raises
    ValueError for a point or block that cannot be decoded.
    """

    def __init__(self, points: Sequence[PointSpec]) -> None:
        self._points = points
        for point in {p[4:]: p for p in points}.values():
            _patterns(point)
        self._forms: dict[_Form, int] = {}
        self._looks: dict[tuple[tuple[object, ...], int], int] = {}  # what a point's spec says → its form
        self._known = 0
        self._first = np.zeros(1, np.int64)
        self._counts = np.empty(0, np.int64)
        self._need = np.empty(0, np.int64)
        self._members = np.empty((0, kernels.MEMBER_COLUMNS), np.int32)
        self._strings: dict[int, list[tuple[int, int, int]]] = {}  # block → (point, byte offset, bytes)
        self._programs = Programs()

    def set_blocks(self, blocks: Sequence[BlockSpec]) -> None:
        """Take the blocks that are new; those already known keep their numbers and do not change."""
        new = blocks[self._known :]
        members = [self._members_of(number, block) for number, block in enumerate(new, self._known)]
        ends = self._first[-1] + np.cumsum([len(m) for m in members], dtype=np.int64)
        flat = _with_runs([row for m in members for row in m], ends - self._first[-1])
        self._first = np.concatenate((self._first, ends))
        self._counts = np.diff(self._first)
        self._need = np.concatenate((self._need, np.array([_bytes_of(b) for b in new], np.int64)))
        self._members = np.concatenate((self._members, flat))
        self._programs.pack()
        self._known = len(blocks)
        self._layouts = np.array([form.layout for form in self._forms], np.uint64).reshape(-1, kernels.LAYOUT_COLUMNS)
        self._scales = np.array([form.scale for form in self._forms], np.float64).reshape(-1, kernels.SCALE_COLUMNS)
        self._first_invalid = np.cumsum([0, *(len(form.invalid) for form in self._forms)], dtype=np.int64)
        patterns = [pair for form in self._forms for pair in form.invalid]
        self._invalid = np.array(patterns, np.uint64).reshape(-1, kernels.INVALID_COLUMNS)

    def __call__(self, batch: RawBatch, *, clock_sane: bool = True) -> Samples:
        """One sample per point of each record; a failed record's are COMM_ERROR.

        With `clock_sane` False what would be GOOD is CLOCK_UNSURE. Raises IndexError for an unknown block.
        """
        total = int(self._counts[batch.block].sum())
        samples = Samples(
            point=np.empty(total, np.int32),
            ts_ns=np.empty(total, np.int64),
            value=np.empty(total, np.float64),
            quality=np.empty(total, np.uint8),
            texts=self._texts(batch) if self._strings else (),
        )
        if total:
            missing = kernels.LEAST_BYTES - len(batch.image)
            kernels.decode(
                batch.image if missing <= 0 else np.append(batch.image, np.zeros(missing, np.uint8)),
                len(batch.image),
                batch.block,
                batch.start,
                batch.ts_ns,
                batch.outcome,
                int(Quality.GOOD if clock_sane else Quality.CLOCK_UNSURE),
                self._first,
                self._need,
                self._members,
                self._layouts,
                self._scales,
                self._first_invalid,
                self._invalid,
                self._programs.first,
                self._programs.computed,
                self._programs.operations,
                self._programs.constants,
                samples.point,
                samples.ts_ns,
                samples.value,
                samples.quality,
            )
        return samples

    def _members_of(self, number: int, block: BlockSpec) -> list[tuple[int, ...]]:
        bits = block.function in _BIT_FUNCTIONS
        members: list[tuple[int, ...]] = []
        member_at: dict[int, int] = {}  # place among the block's points → member
        for place, (p, offset) in enumerate(zip(block.points, block.offsets, strict=True)):
            point = self._points[p]
            # Devices of one model have the same forms: what follows device, name and site is worked out once.
            look = (point[4:], offset % 8 if bits else -1)
            form = self._looks.get(look)
            if form is None:
                form = self._looks[look] = self._form(point, offset % 8 if bits else -1)
            size = 0 if bits else _size(point)
            if not _fits(point, block, offset, size):
                raise ValueError(
                    f"block {number} of {block.device} (function {block.function}, {block.count} from address "
                    f"{block.address}): point {point.name} ({point.type}) at offset {offset} does not lie inside"
                )
            if point.type == "string":
                self._strings.setdefault(number, []).append((p, 2 * offset, size))
            else:
                member_at[place] = len(members)
                members.append((p, offset // 8 if bits else 2 * offset, form))
        if block.derived:
            return self._with_derived(members, member_at, block)
        self._programs.add((), {})
        return members

    def _with_derived(
        self, members: list[tuple[int, ...]], member_at: dict[int, int], block: BlockSpec
    ) -> list[tuple[int, ...]]:
        computed = [(len(members) + k, program) for k, (_, program) in enumerate(block.derived)]
        members += [(p, 0, self._form(self._points[p], -1)) for p, _ in block.derived]
        order = self._by_series(members)
        place_of = {old: new for new, old in enumerate(order)}
        self._programs.add(
            [(place_of[member], program) for member, program in computed],
            {place: place_of[member] for place, member in member_at.items()},
        )
        return [members[member] for member in order]

    def _by_series(self, members: list[tuple[int, ...]]) -> list[int]:
        """Members so that what shares a line stands together; the block's points do already, what is derived not."""
        rank: dict[tuple[object, ...], int] = {}
        ranks = [rank.setdefault(self._points[m[0]][2:4], len(rank)) for m in members]
        return sorted(range(len(members)), key=ranks.__getitem__)

    def _form(self, point: PointSpec, bit: int) -> int:
        """The number of the point's form; `bit` is its place in the byte of a bit table, -1 in registers."""
        invalid = _patterns(point)
        layout = _layout(point, bit, invalid)
        scale = (point.mul, point.add, point.div, point.low, point.high, 10.0**point.decimals)
        return self._forms.setdefault(_Form(layout, scale, invalid), len(self._forms))

    def _texts(self, batch: RawBatch) -> tuple[tuple[int, int, str], ...]:
        good = np.flatnonzero(batch.outcome == Outcome.OK)
        ends = np.append(batch.start[good][1:], len(batch.image))
        found = []
        for k in np.flatnonzero(np.isin(batch.block[good], list(self._strings))):
            block, start, ts_ns = int(batch.block[good[k]]), int(batch.start[good[k]]), int(batch.ts_ns[good[k]])
            data = batch.image[max(start, 0) : ends[k]].tobytes()
            if len(data) < self._need[block]:
                continue
            for p, at, size in self._strings[block]:
                text = _text(data[at : at + size], self._points[p].order)
                if text:
                    found.append((p, ts_ns, text))
        return tuple(found)


def _size(point: PointSpec) -> int:
    """Bytes of a point in registers."""
    return 2 * point.registers if point.type == "string" else _BYTES[point.type]


def _with_runs(members: list[tuple[int, ...]], ends: Int64) -> Int32:
    """Rows of the kernel's `members` from (point, byte offset, form), each block's up to one of the `ends`."""
    table = np.zeros((len(members), kernels.MEMBER_COLUMNS), np.int32)
    if members:
        table[:, : kernels.RUN] = members
    stops = np.union1d(np.flatnonzero(np.diff(table[:, kernels.FORM])) + 1, ends)
    number = np.arange(len(members))
    table[:, kernels.RUN] = stops[np.searchsorted(stops, number, "right")] - number
    return table


def _fits(point: PointSpec, block: BlockSpec, offset: int, size: int) -> bool:
    if block.function in _BIT_FUNCTIONS:
        return 0 <= offset < block.count and point.type == "bool"
    inside = offset >= 0 and 2 * offset + size <= 2 * block.count
    inside &= 0 <= offset + point.scale_at < block.count
    return inside and (point.type != "bool" or 0 <= point.bit < 16)


def _bytes_of(block: BlockSpec) -> int:
    return (block.count + 7) // 8 if block.function in _BIT_FUNCTIONS else 2 * block.count


def _layout(point: PointSpec, bit: int, invalid: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """The point's row of the kernel's layouts; `bit` is its place in the byte of a bit table, -1 in registers."""
    row = [0] * kernels.LAYOUT_COLUMNS
    if point.type in ("derived", "string"):  # a program or a text takes the place of what comes of this
        return tuple(row)
    size = 1 if bit >= 0 else _size(point)
    swap_registers = point.order in ("CDAB", "DCBA")
    swap_bytes = point.order in ("BADC", "DCBA") and size > 1
    # The kernel loads the first byte as the lowest; turned round as a whole, it would be the highest.
    row[kernels.TURN] = 0 if swap_registers and size == 8 else 32
    row[kernels.SWAP_REGISTERS] = 0 if swap_registers and size > 2 else 0x0000FFFF0000FFFF
    row[kernels.SWAP_BYTES] = 0 if swap_bytes else 0x00FF00FF00FF00FF
    lowest, highest = point.bits or (0, 8 * size - 1)
    row[kernels.LEFT] = 8 * size - 1 - highest
    row[kernels.RIGHT] = 63 - highest + lowest
    row[kernels.SIGN] = 63 - highest if point.type in ("s16", "s32", "s64") else 0
    row[kernels.KIND] = kind = kernels.BCD if point.type.startswith("bcd") else _KINDS.get(point.type, kernels.INTEGER)
    row[kernels.BIT_NUMBER] = bit if bit >= 0 else max(point.bit, 0)
    row[kernels.SCALE_AT] = 2 * point.scale_at % _WORD
    row[kernels.QUADRANTS] = int(point.encoding == "four_quadrant")
    if len(invalid) == 1:
        first, last = invalid[0]
        row[kernels.PATTERN], row[kernels.PATTERNS] = first, (last - first + 1) % _WORD
    several = len(invalid) > 0 and row[kernels.PATTERNS] == 0
    special = row[kernels.SCALE_AT] or row[kernels.QUADRANTS] or kind not in (kernels.INTEGER, kernels.FLOAT)
    row[kernels.RARE] = int(bool(several or special))
    return tuple(row)


def _patterns(point: PointSpec) -> tuple[tuple[int, int], ...]:
    """The point's sentinels as they look in its registers, without a sign, each as its first and last pattern."""
    subject = f"{point.device} {point.name} ({point.type})"
    if len(point.invalid) > MAX_INVALID:
        raise ValueError(f"{subject}: {len(point.invalid)} invalid patterns, at most {MAX_INVALID}")
    if point.invalid and (point.type == "string" or (point.type == "bool" and point.bit < 0)):
        raise ValueError(f"{subject}: only registers can hold an invalid pattern")
    end = 1 << (8 * _BYTES.get(point.type, 0))
    pairs = tuple(each if isinstance(each, tuple) else (each, each) for each in point.invalid)
    for pattern in (pattern for pair in pairs for pattern in pair):
        if not -end // 2 <= pattern < end:
            raise ValueError(f"{subject}: the invalid pattern {pattern:#x} has more bits than the point")
    return tuple((low % end, high % end) for low, high in pairs)


def _text(data: bytes, order: str) -> str:
    """Two characters per register up to the first NUL, without padding and control characters."""
    if order in ("BADC", "DCBA"):
        data = b"".join(data[k + 1 : k - 1 if k else None : -1] for k in range(0, len(data), 2))
    text = data.split(b"\0", 1)[0].decode("utf-8", "replace")
    return "".join(c for c in text if c.isprintable()).strip()
