"""encode: samples and windows become rows of InfluxDB line protocol, ready for the spool."""

import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collector.kernels import encode as kernels
from collector.kernels.checksum import crc32_joined
from collector.types import Float64, Int32, Int64, PointSpec, Row, Samples, Uint8, WindowRows

#: The kernel's output is collected here and taken away as often as it is full: a tick of any size needs no more.
BUFFER_BYTES = 1 << 20
#: Rows per call of the kernel; rows shorter than the buffer's share only come from having many categories.
BUFFER_ROWS = 1024
#: Samples per round of the kernels: bounds the fields in between, whatever a stall has piled up.
MAX_SAMPLES = 1 << 17
#: A row: near the 64 KiB above which brokers get slow, and no more than eight pages of the spool hold.
ROW_BYTES = 65_400
#: Room a row must have for anything useful beside its first line.
MIN_TARGET_BYTES = 1024

_SUFFIXES = {
    kernels.VALUE: "",
    kernels.QUALITY: "_q",
    kernels.MEAN: "_mean",
    kernels.LOW: "_min",
    kernels.HIGH: "_max",
    kernels.LAST: "_last",
    kernels.COUNT: "_count",
    kernels.EXPECTED: "_expected",
    kernels.DELTA: "_delta",
    kernels.RESETS: "_resets",
}
#: Parts that are always whole numbers.
_INTEGERS = frozenset({kernels.QUALITY, kernels.COUNT, kernels.EXPECTED, kernels.RESETS})
#: A mean knows more than one reading does.
MEAN_EXTRA_DECIMALS = 3
MAX_DECIMALS = 9

_ESCAPES = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\="})
_TEXT_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": " ", "\r": " "})


def escape_tag(value: str) -> str:
    """A tag's key or value, or a field's key, as line protocol writes it.

    Raises ValueError for what cannot be written: nothing, a control character, a backslash at the end.
    """
    if not value or not value.isprintable() or value.endswith("\\"):
        raise ValueError(
            f"{value!r} cannot be a name or tag in line protocol: it is empty, ends with a backslash "
            "or holds a control character"
        )
    return value.translate(_ESCAPES)


def envelope(body: bytes | memoryview, *, gateway: str, boot_id: str, spool_id: str, seq: int, points: int) -> bytes:
    """`body` behind the comment line that names it; the CRC-32 there is the body's."""
    return b"".join((_first_line(gateway, boot_id, spool_id, seq, points, zlib.crc32(body)), body))


def _first_line(gateway: str, boot_id: str, spool_id: str, seq: int, points: int, crc: int) -> bytes:
    return f"#dc1 gateway={gateway} boot={boot_id} spool={spool_id} seq={seq} points={points} crc={crc:08x}\n".encode()


class _Fields(NamedTuple):
    """Fields to write, as the kernel takes them."""

    numbers: Int32
    point: Int32
    ts_ns: Int64
    values: Float64
    quality: Uint8


class Encode:
    """Writes kept samples and closed windows as rows of at most `target_bytes`, each of one measurement.

    A line holds what one record or window says of one device and category. A line that alone exceeds the target is
    split into several with the same tags and time, which the database merges. Raises ValueError for names that line
    protocol cannot hold.
    """

    def __init__(
        self,
        points: Sequence[PointSpec],
        *,
        city: str,
        site: str,
        gateway: str,
        spool_id: str,
        boot_id: str,
        target_bytes: int = ROW_BYTES,
    ) -> None:
        if target_bytes < MIN_TARGET_BYTES:
            raise ValueError(f"rows of {target_bytes} bytes are too small, at least {MIN_TARGET_BYTES}")
        self._points = points
        self._origin = "".join(
            f",{k}={escape_tag(v)}" for k, v in (("city", city), ("site", site), ("gateway", gateway))
        )
        self._name = {"gateway": gateway, "boot_id": boot_id, "spool_id": spool_id}
        self._text = bytearray()
        self._categories = list(dict.fromkeys(p.category for p in points))
        self._category_of = np.array([self._categories.index(p.category) for p in points], np.int32)
        keys = [(p.category, p.device, p.tags) for p in points]
        self._series = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        self._series_of = np.array([self._series[key] for key in keys], np.int32)
        self._form_of, self._forms = self._form_tables()
        self._found = self._kept = np.empty(0, np.int32)
        self._prefixes: dict[int, Int32] = {}
        self._told = np.full(len(points), kernels.NEVER, np.uint8)
        self._limit = target_bytes - len(envelope(b"", **self._name, seq=2**63, points=target_bytes))
        self._rows = np.empty((BUFFER_ROWS, kernels.ROW_COLUMNS), np.int64)
        self._out = np.empty(0, np.uint8)
        self._prefix_table(0)

    def __call__(self, samples: Samples, keep: NDArray[np.bool_], next_seq: int) -> list[Row]:
        """The kept samples and their texts, in rows numbered from `next_seq`."""
        rows: list[Row] = []
        for begin in range(0, len(samples), MAX_SAMPLES):
            part = slice(begin, begin + MAX_SAMPLES)
            self._write(self._sample_fields(samples, keep, part), 0, next_seq, rows)
        self._write_texts(samples.texts, next_seq, rows)
        return rows

    def windows(self, windows: WindowRows, next_seq: int) -> list[Row]:
        """Closed windows, in rows numbered from `next_seq`."""
        rows: list[Row] = []
        self._write(self._window_fields(windows), windows.window_s, next_seq, rows)
        return rows

    def row(self, seq: int, category: str, ts_ns: int, points: int, body: bytes | memoryview) -> Row:
        """A row of ready-made lines, each ended by a newline."""
        crc = zlib.crc32(body)
        first = _first_line(**self._name, seq=seq, points=points, crc=crc)
        # The whole's CRC follows from those of its parts: going over the body again would take as long as its text.
        whole_crc = int(crc32_joined(zlib.crc32(first), crc, len(body)))
        return Row(seq, category, ts_ns, points, whole_crc, b"".join((first, body)))

    def prefix(self, measurement: str, device: str, tags: Iterable[tuple[str, str]]) -> str:
        """What a line begins with, up to the blank before its fields."""
        own = "".join(f",{escape_tag(key)}={escape_tag(value)}" for key, value in sorted(tags))
        return f"{escape_tag(measurement)}{self._origin},device={escape_tag(device)}{own}"

    def _sample_fields(self, samples: Samples, keep: NDArray[np.bool_], part: slice) -> _Fields:
        room = 2 * int(np.count_nonzero(keep[part]))
        if room > len(self._kept):
            self._found, self._kept = np.empty(room, np.int32), np.empty(room, np.int32)
        point, quality = samples.point[part], samples.quality[part]
        place = np.empty(len(self._categories), np.int64)
        tables = (self._category_of, self._told, place, self._found, self._kept)
        count = kernels.pick(keep[part], point, quality, *tables) if room else 0
        return _Fields(self._kept[:count], point, samples.ts_ns[part], samples.value[part].reshape(1, -1), quality)

    def _window_fields(self, rows: WindowRows) -> _Fields:
        statistics = (rows.mean, rows.low, rows.high, rows.last, rows.count, rows.expected, *(rows.counted or ()))
        values = np.array(statistics, np.float64)
        order = np.argsort(self._category_of[rows.point], kind="stable").astype(np.int32)
        parts = np.arange(kernels.MEAN, kernels.MEAN + len(statistics), dtype=np.int32)
        told = ~np.isnan(values.T[order])
        fields = (order[:, None] * np.int32(kernels.PARTS) + parts)[told]
        return _Fields(fields, rows.point, rows.ts_ns, values, np.empty(0, np.uint8))

    def _write(self, fields: _Fields, window_s: int, next_seq: int, rows: list[Row]) -> None:
        prefixes = self._prefix_table(window_s)
        text = np.frombuffer(self._text, np.uint8)
        body = self._out.data
        written = 0
        while written < len(fields.numbers):
            written, count = kernels.write(
                written,
                *fields,
                self._category_of,
                self._series_of,
                self._form_of,
                prefixes,
                self._forms,
                text,
                self._limit,
                self._reserve,
                self._rows,
                self._out,
            )
            begin = 0
            for end, points, ts_ns, category in self._rows[:count].tolist():
                measurement = _measurement(self._categories[category], window_s)
                rows.append(self.row(next_seq + len(rows), measurement, ts_ns, points, body[begin:end]))
                begin = end

    def _write_texts(self, texts: Sequence[tuple[int, int, str]], next_seq: int, rows: list[Row]) -> None:
        by_category: dict[str, list[tuple[int, bytes]]] = {}
        for number, ts_ns, text in texts:
            point = self._points[number]
            prefix = self.prefix(point.category, point.device, point.tags)
            line = f'{prefix} {escape_tag(point.name)}="{text.translate(_TEXT_ESCAPES)}" {ts_ns}\n'
            by_category.setdefault(point.category, []).append((ts_ns, line.encode()))
        for category, lines in by_category.items():
            while lines:
                size = taken = 0
                while taken < len(lines) and (not taken or size + len(lines[taken][1]) <= self._limit):
                    size += len(lines[taken][1])
                    taken += 1
                earliest_ns = min(ts_ns for ts_ns, _ in lines[:taken])
                body = b"".join(line for _, line in lines[:taken])
                rows.append(self.row(next_seq + len(rows), category, earliest_ns, taken, body))
                del lines[:taken]

    def _form_tables(self) -> tuple[Int32, Int32]:
        """How each point's fields look; points of the same name, type and decimals share an entry."""
        keys = [(p.name, p.decimals, p.state or p.type == "bool") for p in self._points]
        number_of = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        forms = [
            (*self._place(f"{escape_tag(name + _SUFFIXES[part])}="), _decimals(part, decimals, state))
            if part in _SUFFIXES
            else (0, 0, 0)
            for name, decimals, state in number_of
            for part in range(kernels.PARTS)
        ]
        table = np.array(forms, np.int32).reshape(-1, kernels.FORM_COLUMNS)
        return np.array([number_of[key] for key in keys], np.int32), table

    def _prefix_table(self, window_s: int) -> Int32:
        """Where each series' prefix stands in the text; made when a window length is first met."""
        if window_s not in self._prefixes:
            places = [
                self._place(self.prefix(_measurement(category, window_s), device, tags))
                for category, device, tags in self._series
            ]
            self._prefixes[window_s] = np.array(places, np.int32).reshape(-1, 2)
            self._text += bytes(kernels.WIDE)
            self._make_room()
        return self._prefixes[window_s]

    def _place(self, text: str) -> tuple[int, int]:
        data = text.encode()
        at = len(self._text)
        self._text += data
        return at, len(data)

    def _make_room(self) -> None:
        """Size the buffer so that a line always fits, however long its prefix."""
        longest = max((int(table[:, 1].max(initial=0)) for table in self._prefixes.values()), default=0)
        longest += int(self._forms[:, kernels.TEXT_BYTES].max(initial=0))
        self._reserve = self._limit + longest + kernels.FIELD_BYTES + kernels.STAMP_BYTES + kernels.PIECE
        self._out = np.empty(max(BUFFER_BYTES, 4 * self._reserve), np.uint8)


def _measurement(category: str, window_s: int) -> str:
    return f"{category}_{window_s}s" if window_s else category


def _decimals(part: int, decimals: int, state: bool) -> int:
    if part in _INTEGERS or (state and part == kernels.VALUE):
        return kernels.INTEGER
    return min(decimals + MEAN_EXTRA_DECIMALS, MAX_DECIMALS) if part == kernels.MEAN else decimals
