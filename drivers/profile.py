"""A device profile: what a model of device says at which register, as data.

A profile holds nothing of a site (no unit id, port or name), so one file serves every device of its model.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

PointType = Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bool", "string"]
WordOrder = Literal["ABCD", "CDAB", "BADC", "DCBA"]
Table = Literal["coil", "discrete", "holding", "input"]

FUNCTION_OF_TABLE = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
REGISTERS_OF_TYPE = {"u16": 1, "s16": 1, "u32": 2, "s32": 2, "u64": 4, "s64": 4, "f32": 2, "f64": 4, "bool": 1}

#: A field key, a device, a tag key: safe in line protocol and topics without any escape.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]


class Strict(BaseModel):
    """Unknown keys are errors; nothing is coerced; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Device(Strict):
    """Whose device this is and where its register map comes from."""

    vendor: str
    model: str
    category: Name  #: measurement of its points unless a point says otherwise: power, ups, cooling, environment, energy
    source: str  #: document, edition and page, or the public project the map was taken from
    evidence: Literal["two-sources", "single-source", "doubtful"]
    caveats: tuple[str, ...] = ()


class Limits(Strict):
    """What the device accepts on the wire."""

    address_base: Literal[0, 1] = 0  #: 1: `address` below counts from 1, as this vendor's document does
    word_order: WordOrder = "ABCD"
    max_registers: Annotated[int, Field(ge=1, le=125)] = 125
    max_bits: Annotated[int, Field(ge=1, le=2000)] = 2000
    read_holes: bool = True  #: False: never read a register that no point names (the device rejects the request)
    forbidden: tuple[tuple[int, int], ...] = ()  #: first and last address, in the document's counting, never read
    timeout_s: Annotated[float, Field(gt=0, le=30)] = 1.0
    turnaround_s: Annotated[float, Field(ge=0, le=5)] = 0.02  #: typical time from request to first answer byte


class Point(Strict):
    """One value of the device. Published = (raw * scale + offset), or raw / 2**pow2."""

    name: Name
    table: Table
    address: Annotated[int, Field(ge=0, le=65536)]  #: in the document's counting, see Limits.address_base
    type: PointType
    order: WordOrder | None = None  #: None: Limits.word_order
    bit: Annotated[int, Field(ge=0, le=15)] | None = None  #: bit of the register, for type bool in a register
    registers: Annotated[int, Field(ge=1, le=125)] | None = None  #: length, for type string
    scale: float | int = 1
    offset: float | int = 0
    pow2: Annotated[int, Field(ge=1, le=16)] | None = None  #: value = raw / 2**pow2, instead of scale
    decimals: Annotated[int, Field(ge=0, le=6)] | None = None  #: None: what scale and offset need; 3 for floats
    unit: str = ""
    kind: Literal["gauge", "counter", "state"] = "gauge"
    symbols: dict[str, str] = {}  #: meaning of a state's values, keyed by the number as text
    range: tuple[float, float] | None = None  #: plausible values after scaling, both included
    invalid: tuple[int, ...] = ()  #: raw patterns (unsigned) that mean "no value"
    deadband: Annotated[float, Field(ge=0)] = 0.0  #: smaller changes are not reported, in `unit`
    every: Annotated[int, Field(ge=1, le=86400)] = 1  #: read at each n-th interval of the device
    category: Name | None = None  #: None: Device.category
    note: str = ""  #: the vendor's own name for it


class Golden(Strict):
    """A captured or computed exchange that proves the map: the answer must decode to exactly these values."""

    request: str  #: hex, Modbus PDU without address and checksum
    response: str
    expect: dict[str, float | int | str | bool | None]  #: point → value, None = not available
    origin: Literal["captured", "computed"]


class Profile(Strict):
    """One model of device."""

    schema_version: Literal[1] = Field(alias="schema")
    device: Device
    limits: Limits = Limits()
    point: tuple[Point, ...] = Field(min_length=1)
    golden: tuple[Golden, ...] = ()
