"""What every profile says, whatever protocol its device speaks: whose it is, and what each of its points means.

How a point is found on the wire is the protocol's: `drivers.point` for Modbus, `drivers.text.profile` for the
protocols that answer with text.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from drivers.formula import MAX_LENGTH, Program, compiled
from drivers.scaling import Scaling, derive

#: A field key, a device, a tag key: safe in line protocol and topics without any escape.
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=64)]

#: The largest map in the field (a 48-module UPS) has some 1,500 points; more is a mistake of a generator.
MAX_POINTS = 4096


class Strict(BaseModel):
    """Unknown keys are errors; nothing is coerced; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Device(Strict):
    """Whose device this is and where its register map comes from."""

    vendor: str
    model: str
    category: Name  #: measurement of its points unless a point says otherwise: power, ups, cooling, environment, energy
    source: str  #: document, edition and page, or the public project the map was taken from
    evidence: Literal["two-sources", "single-source", "doubtful"]
    caveats: tuple[str, ...] = ()


class Meaning(Strict):
    """What one value of the device means. Published = raw * scale + offset, or raw / 2**pow2 + offset."""

    name: Name
    scale: float | int = 1
    offset: float | int = 0
    pow2: Annotated[int, Field(ge=1, le=16)] | None = None  #: divide raw by 2**pow2, instead of scale
    #: None: what scale and offset need; 3 for floats and with a scale register
    decimals: Annotated[int, Field(ge=0, le=6)] | None = None
    unit: str = ""
    kind: Literal["gauge", "counter", "state"] = "gauge"
    rollover: Annotated[float, Field(gt=0)] | None = None  #: published value at which a counter begins at 0 again
    symbols: dict[str, str] = {}  #: meaning of a state's values, keyed by the number as text
    range: tuple[float, float] | None = None  #: plausible values after scaling, both included
    deadband: Annotated[float, Field(ge=0)] = 0.0  #: smaller changes are not reported, in `unit`
    every: Annotated[int, Field(ge=1, le=86400)] = 1  #: read at each n-th interval of the device
    category: Name | None = None  #: None: Device.category
    publish_as: Name | None = None  #: under which it is published; None: its name
    tags: dict[Name, str] = {}  #: tags it is published with, such as the outlet it belongs to
    note: str = ""  #: the vendor's own name for it

    @property
    def wire_type(self) -> str:
        """How the device sends it, for messages."""
        return "number"

    @property
    def raw_limits(self) -> tuple[int, int] | None:
        """Lowest and highest number the device can send; None: no limits that are known."""
        return None

    @property
    def is_float(self) -> bool:
        """Whether the device sends it as a floating-point number."""
        return False

    @property
    def is_coarse(self) -> bool:
        """Whether scale and offset do not tell how fine it is."""
        return self.is_float

    @property
    def is_text(self) -> bool:
        return False

    @property
    def is_bool(self) -> bool:
        return False

    @property
    def is_state(self) -> bool:
        """Whether it is written as an integer and never averaged."""
        return self.kind == "state" or self.is_bool

    @property
    def scaling(self) -> Scaling:
        return derive(
            scale=self.scale, offset=self.offset, pow2=self.pow2, decimals=self.decimals, coarse=self.is_coarse
        )


class Derived(Meaning):
    """A value computed from others of the same answer. Published = formula * scale + offset."""

    derive: Annotated[str, Field(max_length=MAX_LENGTH)]  #: formula over published values: "power_a + power_b"

    @property
    def program(self) -> Program:
        """Raises FormulaError."""
        return compiled(self.derive)

    @property
    def wire_type(self) -> str:
        return "formula"

    @property
    def is_coarse(self) -> bool:
        return True


class Frame(Strict):
    """An exchange that proves the map: the answer must decode to exactly these values."""

    request: str
    response: str
    origin: Literal["captured", "documented", "computed"]  #: from a device, from the vendor's document, from the map
    expect: dict[str, float | int | str | bool] = {}  #: point → value, to the point's decimals
    missing: tuple[str, ...] = ()  #: points that the answer says are not available


class AnyProfile(Strict):
    """One model of device, whatever it speaks."""

    #: numbers a unit may have on a line
    units: ClassVar[range] = range(256)
    #: whether it has no number at all, and answers whatever is asked on its line
    alone: ClassVar[bool] = False

    schema_version: Literal[1] = Field(alias="schema")
    protocol: str = "modbus"
    device: Device
    limits: Any
    point: tuple[Any, ...]
    derived: Annotated[tuple[Derived, ...], Field(max_length=MAX_POINTS)] = ()
    golden: tuple[Any, ...] = ()

    @property
    def published(self) -> tuple[Meaning, ...]:
        """The points, and what is derived from them."""
        return (*self.point, *self.derived)

    @property
    def own_questions(self) -> bool:
        """Whether the profile itself says what is sent, beyond which of the protocol's reads."""
        return False

    def category(self, point: Meaning) -> str:
        return point.category or self.device.category

    def scaling(self, point: Meaning) -> Scaling:
        return point.scaling

    def named(self, name: str) -> Any:
        """The point of that name. Raises KeyError."""
        return self._by_name[name]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that has worked nothing out yet: what was cached may not hold for other points."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(copy).model_fields.keys():
            del copy.__dict__[name]
        return copy

    @cached_property
    def _by_name(self) -> dict[str, Any]:
        return {point.name: point for point in reversed(self.published)}  # of points of one name the first
