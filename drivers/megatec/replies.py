"""The answers of the family: which fields each one has, read from its text and written by a simulated UPS."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from drivers.errors import BadFrame
from drivers.megatec.fields import Field, Value, Values
from drivers.megatec.frame import Query, read_line, seal

#: b7 … b0 of Q1, QS and WA
STATUS = (
    "utility_fail",
    "battery_low",
    "bypass_active",
    "ups_failed",
    "line_interactive",
    "test_running",
    "shutdown_active",
    "beeper_on",
)
#: What `bypass_active` of Q1, QS and QGS stands for: the value of `regulation`.
REGULATED_NOT, REGULATED_DOWN, BYPASSED, REGULATED_UP = 0.0, 1.0, 2.0, 3.0
#: Output over input below which it is what `regulation` says; beyond the last, or below the first, it is none of them.
_NO_RATIO, _DOWN_BELOW, _BYPASS_BELOW, _UP_BELOW = 0.5, 0.95, 1.05, 1.5


def regulation(values: Mapping[str, Value]) -> Value:
    """What `bypass_active` means: transformers that lower or raise the voltage set it too, only the voltages tell."""
    active, input_v, output_v = (values.get(name) for name in ("bypass_active", "input_voltage", "output_voltage"))
    if active == 0.0:
        return REGULATED_NOT
    if active is None or not isinstance(input_v, float) or not isinstance(output_v, float) or input_v <= 0.0:
        return None
    ratio = output_v / input_v
    if not _NO_RATIO <= ratio < _UP_BELOW:
        return None
    return REGULATED_DOWN if ratio < _DOWN_BELOW else BYPASSED if ratio < _BYPASS_BELOW else REGULATED_UP


@dataclass(frozen=True, slots=True)
class Layout:
    """The fields of an answer, one space between them. A text at the end runs to the end; else more may follow."""

    fields: tuple[Field, ...]
    prefix: str = ""  #: stands before them
    zeros: str = ""  #: this text instead of them says that each is 0
    regulation: bool = False  #: whether `regulation` follows from them

    @property
    def names(self) -> tuple[str, ...]:
        """Every value the answer gives, in order."""
        names = tuple(name for field in self.fields for name in field.names if name)
        return (*names, "regulation") if self.regulation else names

    @property
    def columns(self) -> tuple[tuple[int, int], ...]:
        """First and behind-the-last character of each field, counted from behind the prefix."""
        ends = tuple(accumulate(field.width + 1 for field in self.fields))
        return tuple((end - field.width - 1, end - 1) for field, end in zip(self.fields, ends, strict=True))

    def field_of(self, name: str) -> Field | None:
        """Where the value called `name` stands; None: it is no value of this answer, or follows from others."""
        return next((field for field in self.fields if name and name in field.names), None)

    def read(self, text: str) -> Values:
        """The values in `text`, an answer without start and CR. Raises ValueError when it is damaged."""
        if self.zeros and text.strip() == self.zeros:
            return dict.fromkeys(self.names, 0.0)
        if not text.startswith(self.prefix):
            raise ValueError(f"does not begin with {self.prefix!r}")
        text = text[len(self.prefix) :]
        parts = self._by_columns(text) or self._by_spaces(text)
        values: Values = {}
        for field, part in zip(self.fields, parts, strict=True):
            values |= field.read(part)
        if self.regulation:
            values["regulation"] = regulation(values)
        return values

    def write(self, values: Mapping[str, Value]) -> str:
        """The text that says `values`; what is None or not among them is not available. Raises ValueError."""
        text = " ".join(field.write(values) for field in self.fields)
        return self.prefix + (text.rstrip() if len(self.fields) == 1 else text)

    def _by_columns(self, text: str) -> Sequence[str] | None:
        """The fields where they are documented; None: where a space must be is none."""
        columns = self.columns
        begin, end = columns[-1]
        if self.fields[-1].kind == "text":
            end = max(end, len(text))
            text = text.ljust(end)
        if len(text) < end or text[end : end + 1].strip() or any(text[after] != " " for _, after in columns[:-1]):
            return None
        return [text[first:behind].strip() for first, behind in (*columns[:-1], (begin, end))]

    def _by_spaces(self, text: str) -> Sequence[str]:
        """The fields by the spaces between them, none narrower than documented. Raises ValueError."""
        parts = text.split()[: len(self.fields)]
        if len(parts) < len(self.fields):
            raise ValueError(f"{len(parts)} fields instead of {len(self.fields)}")
        for field, part in zip(self.fields, parts, strict=True):
            if len(part) < field.width:
                raise ValueError(f"{part!r} has less than {field.width} characters")
        return parts


def _numbers(names: str, width: int, decimals: int | None = 0) -> tuple[Field, ...]:
    return tuple(Field((name,), width, "number", decimals) for name in names.split())


def _phases(name: str, width: int, decimals: int) -> tuple[Field, ...]:
    return _numbers(f"{name}_a {name}_b {name}_c", width, decimals)


def _text(name: str, width: int) -> tuple[Field, ...]:
    return (Field((name,), width, "text"),)


_STATUS = (
    *_numbers("input_voltage fault_voltage output_voltage", 5, 1),
    *_numbers("load", 3),
    *_numbers("frequency", 4, 1),
    *_numbers("battery_voltage", 4, None),
    *_numbers("temperature", 4, 1),
    Field(STATUS, 8, "flags"),
)
_RATINGS = (
    *_numbers("rated_voltage", 5, 1),
    *_numbers("rated_current", 3),
    *_numbers("rated_battery_voltage", 5, 1),
    *_numbers("rated_frequency", 4, 1),
)
#: Warnings of QWS by their place in it: those of a single UPS.
_WARNINGS = {
    0: "battery_disconnected",
    1: "neutral_disconnected",
    2: "site_fault",
    3: "phase_sequence_wrong",
    6: "battery_overcharged",
    7: "battery_low",
    8: "overload",
    9: "fan_fault",
    10: "epo_active",
    11: "cannot_turn_on",
    12: "overheated",
    13: "charger_fault",
    51: "input_current_unbalanced",
    55: "replace_battery",
}

LAYOUTS: dict[str, Layout] = {
    Query.Q1: Layout(_STATUS, regulation=True),
    Query.QS: Layout(_STATUS, regulation=True),
    Query.F: Layout(_RATINGS),
    Query.I: Layout((*_text("vendor", 15), *_text("model", 10), *_text("firmware", 10))),
    Query.QI: Layout(
        (
            *_numbers("battery_charge", 3),
            *_numbers("runtime", 5),
            *_numbers("input_frequency", 4, 1),
            *_numbers("output_current", 5, 1),
            *_numbers("transfer_low transfer_high", 3),
            Field(("",), 1, "digits"),
            Field(("",) * 16, 16, "digits"),
        )
    ),
    Query.M: Layout(_text("protocol", 1)),
    Query.Q6: Layout(
        (
            *_phases("input_voltage", 5, 1),
            *_numbers("input_frequency", 4, 1),
            *_phases("output_voltage", 5, 1),
            *_numbers("output_frequency", 4, 1),
            *_phases("load", 3, 0),
            *_numbers("battery_voltage battery_voltage_negative", 5, 1),
            *_numbers("temperature", 4, 1),
            *_numbers("runtime_left", 5),
            *_numbers("battery_charge", 3),
            Field(("mode", "battery_test"), 2, "digits"),
            Field(("fault_code",), 8, "hex"),
            Field(("warning_code",), 8, "hex"),
            Field(("", ""), 2, "digits"),
        )
    ),
    Query.WA: Layout(
        (
            *_phases("power", 5, 1),
            *_phases("apparent_power", 5, 1),
            *_numbers("power apparent_power", 5, 1),
            *_phases("current", 5, 1),
            *_numbers("load", 3),
            Field(STATUS, 8, "flags"),
        )
    ),
    Query.QGS: Layout(
        (
            *_numbers("input_voltage", 5, 1),
            *_numbers("input_frequency", 4, 1),
            *_numbers("output_voltage", 5, 1),
            *_numbers("output_frequency", 4, 1),
            *_numbers("output_current", 5, 1),
            *_numbers("load", 3),
            *_numbers("bus_voltage", 5, 1),
            Field(("",), 5, "number", 1),
            *_numbers("battery_voltage", 5, 1),
            Field(("",), 5, "number", 1),
            *_numbers("temperature", 5, 1),
            Field(("online", "line_interactive", *STATUS[:4], "", *STATUS[5:7], "beeper_off", "", ""), 12, "flags"),
        ),
        regulation=True,
    ),
    Query.QMOD: Layout((Field(("mode",), 1, "mode"),)),
    Query.QWS: Layout((Field(tuple(_WARNINGS.get(place, "") for place in range(64)), 64, "flags"),)),
    Query.QBV: Layout(
        (
            *_numbers("battery_voltage", 5, 1),
            *_numbers("batteries_per_pack battery_packs", 2),
            *_numbers("battery_charge runtime_left", 3),
        )
    ),
    Query.QFS: Layout((Field(("last_fault",), 2, "hex"),), zeros="OK"),
    Query.QPI: Layout(_numbers("protocol", 2), prefix="PI"),
    Query.QRI: Layout(_RATINGS),
    Query.QMD: Layout(
        (
            *_text("model", 15),
            Field(("rated_power",), 7, "number", pad="#"),
            *_numbers("output_power_factor", 2),
            *_text("phases", 3),
            *_numbers("rated_input_voltage rated_output_voltage", 3),
            *_numbers("batteries_per_pack", 2),
            *_numbers("rated_voltage_per_battery", 4, 1),
        )
    ),
    Query.QVFW: Layout(_text("firmware", 8), prefix="VERFW:"),
    Query.QID: Layout(_text("serial", 14)),
}


def read_answer(query: Query, line: bytes, *, crc: bool = False) -> Values:
    """The values of a whole line that answers `query`. Raises BadFrame and Refused as `read_line` does."""
    text = read_line(query, line, crc=crc)
    try:
        return LAYOUTS[query].read(text)
    except ValueError as error:
        raise BadFrame(f"{query}: damaged: {error}: {line!r}") from None


def write_answer(query: Query, values: Mapping[str, Value], *, crc: bool = False) -> bytes:
    """The line by which a UPS answers `query`. Raises ValueError when a value does not fit."""
    text = query.start + LAYOUTS[query].write(values)
    return seal(text.encode("ascii"), crc=crc)
