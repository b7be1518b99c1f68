import pytest

from drivers.names import unit_of


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("voltage_a", "V"),
        ("voltage_ab", "V"),
        ("input_voltage", "V"),
        ("current_n", "A"),
        ("power", "kW"),
        ("power_demand_peak", "kW"),
        ("rated_apparent_power", "kVA"),
        ("reactive_power_c", "kvar"),
        ("power_factor_a", ""),
        ("energy_import_t2", "kWh"),
        ("reactive_energy_export", "kvarh"),
        ("battery_charge", "%"),
        ("supply_temperature_2", "°C"),
        ("runtime_left", "s"),
        ("outlet_12_peak_current", "A"),
        ("loop_1_resistance", "Ω"),
        ("leak_current", "mA"),
    ],
)
def test_a_shared_name_has_one_unit_wherever_and_on_whichever_phase_it_is_measured(name, unit):
    assert unit_of(name) == unit


@pytest.mark.parametrize("name", ["voltage_ratio", "leakage", "voltmeter_1", "powerful", "overload", "power_state"])
def test_other_names_are_free(name):
    assert unit_of(name) is None
