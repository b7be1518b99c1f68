"""A point of a Modbus device: where its value stands among the registers and how it looks there."""

from typing import Annotated, Literal

from pydantic import Field

from drivers.meaning import MAX_POINTS, Derived, Meaning, Name, Strict

PointType = Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bcd16", "bcd32", "bcd64", "bool", "string"]
WordOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]
Table = Literal["coil", "discrete", "holding", "input"]

FUNCTION_OF_TABLE = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
REGISTERS_OF_TYPE = {
    "u16": 1,
    "s16": 1,
    "u32": 2,
    "s32": 2,
    "u64": 4,
    "s64": 4,
    "f32": 2,
    "f64": 4,
    "bool": 1,
    "bcd16": 1,
    "bcd32": 2,
    "bcd64": 4,
}
BIT_TABLES = frozenset({"coil", "discrete"})


class Point(Meaning):
    """One value of the device and the register or bit where it stands.

    With a scale register raw is multiplied by the power of ten that stands there before anything else.
    """

    table: Table
    address: Annotated[int, Field(ge=0, le=65536)]  #: in the document's counting, see Limits.address_base
    type: PointType
    order: WordOrder | None = None  #: None: Limits.word_order; BADC on a string: low byte first
    bit: Annotated[int, Field(ge=0, le=15)] | None = None  #: bit of the register, for type bool in a register
    bits: tuple[int, int] | None = None  #: first and last bit, 0 the lowest, of an unsigned number: only these are raw
    registers: Annotated[int, Field(ge=1, le=125)] | None = None  #: length, for type string
    #: name of a point or address (document's counting, same table) of the register that holds raw's power of ten, s16
    scale_register: Name | Annotated[int, Field(ge=0, le=65536)] | None = None
    encoding: Literal["four_quadrant"] | None = None  #: power factor: above 1 it is leading, and 2 minus it is meant
    #: raw patterns (unsigned) that mean "no value"; [first, last] for all from one to another
    invalid: tuple[int | tuple[int, int], ...] = ()

    @property
    def function(self) -> int:
        """The Modbus function code that reads it."""
        return FUNCTION_OF_TABLE[self.table]

    @property
    def length(self) -> int:
        """Registers it covers; bits (always 1) in a bit table."""
        return (self.registers or 1) if self.type == "string" else REGISTERS_OF_TYPE[self.type]

    @property
    def wire_type(self) -> str:
        return self.type

    @property
    def raw_limits(self) -> tuple[int, int] | None:
        if self.is_float or self.is_text or self.is_bool:
            return (0, 1) if self.is_bool else None
        if self.bits is not None:
            return 0, (1 << self.bits[1] - self.bits[0] + 1) - 1
        if self.type.startswith("bcd"):
            return 0, 10 ** (4 * self.length) - 1
        bits = 16 * self.length
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.type[0] == "s" else (0, (1 << bits) - 1)

    @property
    def is_float(self) -> bool:
        return self.type in ("f32", "f64")

    @property
    def sentinels(self) -> tuple[tuple[int, int], ...]:
        """`invalid` as pairs of first and last pattern."""
        return tuple(each if isinstance(each, tuple) else (each, each) for each in self.invalid)

    @property
    def is_coarse(self) -> bool:
        return self.is_float or self.scale_register is not None

    @property
    def is_text(self) -> bool:
        return self.type == "string"

    @property
    def is_bool(self) -> bool:
        return self.type == "bool"


class Template(Point):
    """A point of every instance of a repeating block. `{n}` in a text is the instance's number, or `{4 * n - 3}`."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z{]", max_length=128)]
    publish_as: Annotated[str, Field(max_length=128)] | None = None
    scale_register: str | Annotated[int, Field(ge=0, le=65536)] | None = None


class DerivedTemplate(Derived):
    """A derived point of every instance. Names of the block's own templates mean those of the same instance."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z{]", max_length=128)]
    publish_as: Annotated[str, Field(max_length=128)] | None = None


class Repeat(Strict):
    """Points that stand once for each outlet, branch or module; `drivers.repeat` makes them at loading."""

    count: Annotated[int, Field(ge=1, le=MAX_POINTS)]
    first: Annotated[int, Field(ge=0)] = 1  #: number of the first instance, whose addresses the templates give
    stride: Annotated[int, Field(ge=1, le=65535)] | None = None  #: registers or bits from one instance to the next
    index: str | None = None  #: instead of stride: registers from the template to instance n, such as "(n - 1) // 4"
    tag: Name | None = None  #: each instance is published as a device of its own, with this tag
    point: tuple[Template, ...] = Field(min_length=1, max_length=MAX_POINTS)
    derived: Annotated[tuple[DerivedTemplate, ...], Field(max_length=MAX_POINTS)] = ()
