"""Names that profiles share, and the unit each has: a chart over devices of several vendors has one axis."""

import re
from functools import lru_cache

#: unit → what such a point is called, without where it is measured and which phase, number or tariff it is.
_STEMS = {
    "V": ("voltage", "voltage_limit"),
    "A": ("current", "current_limit"),
    "mA": ("leak_current",),
    "Ω": ("resistance", "resistance_per_foot"),
    "kW": ("power", "power_demand", "power_demand_peak"),
    "kVA": ("apparent_power",),
    "kvar": ("reactive_power",),
    "": ("power_factor",),
    "Hz": ("frequency",),
    "kWh": ("energy", "energy_import", "energy_export", "energy_total", "energy_generated"),
    "kVAh": ("apparent_energy", "apparent_energy_import", "apparent_energy_export", "apparent_energy_total"),
    "kvarh": ("reactive_energy", "reactive_energy_import", "reactive_energy_export", "reactive_energy_total"),
    "°C": ("temperature",),
    "%RH": ("humidity",),
    "%": ("load", "charge", "thd_voltage", "thd_current", "voltage_unbalance", "current_unbalance", "efficiency"),
    "s": ("runtime_left",),
    "kPa": ("oil_pressure",),
}
_UNIT_OF = {stem: unit for unit, stems in _STEMS.items() for stem in stems}
#: Where it is measured, and the how manieth of these.
_PLACES = (
    r"(?:(?:rated|peak|min|max|input|output|bypass|battery|cell|charge|discharge|fault|mains|generator|dc|bus|port|inlet"
    r"|outlet|branch|breaker|loop|ambient|supply|return|remote|outdoor)_(?:[0-9]{1,3}_)?)*"
)
_WHICH = r"(?:_(?:[abcn]|ab|bc|ca|ll|ln|avg|min|max|lowest|highest|negative|[tq][1-4]|[0-9]{1,3}))*"
_SHARED = re.compile(rf"{_PLACES}({'|'.join(sorted(_UNIT_OF, key=len, reverse=True))}){_WHICH}")


@lru_cache(maxsize=4096)  # the names of the profiles in use
def unit_of(name: str) -> str | None:
    """The unit that a point of this name has in every profile; None for a name that is not shared."""
    found = _SHARED.fullmatch(name)
    return _UNIT_OF[found[1]] if found else None
