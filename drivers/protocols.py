"""Which profile model reads the profiles of a protocol. A new dialect is entered here."""

from importlib import import_module
from typing import Any, Union

from pydantic import TypeAdapter

from drivers.meaning import AnyProfile

#: protocol, as a profile writes it → module and class of its model
MODELS: dict[str, tuple[str, str]] = {
    "ascii": ("drivers.ascii.profile", "AsciiProfile"),
    "megatec": ("drivers.megatec.profile", "MegatecProfile"),
    "modbus": ("drivers.profile", "Profile"),
    "ydt1363": ("drivers.ydt1363.profile", "YdtProfile"),
}


def model_of(protocol: Any) -> type[AnyProfile] | None:
    """The model of `protocol`, loaded when first asked for; None when nobody speaks it here."""
    place = MODELS.get(protocol) if isinstance(protocol, str) else None
    if place is None:
        return None
    model: type[AnyProfile] = getattr(import_module(place[0]), place[1])
    return model


def schema() -> dict[str, Any]:
    """JSON Schema of a profile of any protocol."""
    models = tuple(model for model in map(model_of, MODELS) if model is not None)
    every: Any = Union[models]  # noqa: UP007 - the members are known only at run time
    return TypeAdapter(every).json_schema()
