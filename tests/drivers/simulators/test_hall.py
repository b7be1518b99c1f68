import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.simulators.hall import DAY_S, MAX_ADVANCE_S, HallModel


def day(seed):
    hall = HallModel(seed, step_s=60.0)
    for minute in range(24 * 60):
        hall.advance(36000 + 60 * minute)
        yield hall


@pytest.mark.parametrize("seed", range(4))
def test_a_day_stays_plausible(seed):
    for hall in day(seed):
        feeds = hall.feeds()
        assert 1.2 < hall.pue < 1.5
        assert feeds["mains"] > feeds["ups"] > feeds["it"] > feeds["cooling"] > 0
        assert 16 < hall.supply_c < hall.inlet_c < hall.return_c < 40
        assert 25 <= hall.humidity <= 70
        assert 10 < hall.outdoor_c < 36
        assert all(207 < hall.phase_v(phase) < 253 for phase in (1, 2, 3))
        assert 49.8 < hall.frequency_hz < 50.2


def test_load_peaks_in_the_afternoon_and_cooling_follows_it():
    power = {hall.time_s % DAY_S // 3600: (hall.it_kw, hall.cooling_kw) for hall in day(1)}
    assert power[15][0] > 1.2 * power[3][0]
    assert power[15][1] > 1.2 * power[3][1]


def test_cooling_lags_behind_a_change_of_heat():
    hall = HallModel(1)
    before = hall.cooling_thermal_kw
    hall.nominal_kw *= 1.5
    hall.advance(hall.time_s + 5)
    soon = hall.cooling_thermal_kw
    hall.advance(hall.time_s + 1800)
    assert soon < before * 1.1 < hall.cooling_thermal_kw


def test_energy_is_the_integral_of_power_and_never_falls():
    hall = HallModel(2)
    begin, integral = dict(hall.energy_kwh), 0.0
    for _ in range(600):
        last = hall.energy_kwh["mains"]
        hall.advance(hall.time_s + 1)
        integral += hall.feeds()["mains"] / 3600
        assert hall.energy_kwh["mains"] > last
    assert hall.energy_kwh["mains"] - begin["mains"] == pytest.approx(integral, rel=1e-6)


@given(st.lists(st.floats(0, 40), max_size=20))
@settings(max_examples=25, deadline=None)
def test_the_way_to_a_time_makes_no_difference(strides):
    one, many = HallModel(5), HallModel(5)
    present = goal = one.time_s
    for stride in strides:
        goal += stride
        many.advance(goal)
    one.advance(goal)
    assert present <= one.time_s <= goal
    assert (one.it_kw, one.return_c, one.energy_kwh) == (many.it_kw, many.return_c, many.energy_kwh)


def test_seeds_tell_halls_apart_and_the_same_seed_does_not():
    assert HallModel(1).it_kw == HallModel(1).it_kw != HallModel(2).it_kw


def test_phases_share_the_whole_power():
    hall = HallModel(1)
    parts = [hall.phase_part(phase) for phase in (1, 2, 3)]
    assert sum(parts) == pytest.approx(1)
    assert len(set(parts)) == 3


@pytest.mark.parametrize("ahead", [-1.0, MAX_ADVANCE_S + 1])
def test_the_hall_goes_neither_back_nor_too_far(ahead):
    hall = HallModel(1)
    with pytest.raises(ValueError, match="cannot go to"):
        hall.advance(hall.time_s + ahead)


def test_a_wobble_is_bounded_and_its_own_for_each_name():
    hall = HallModel(1)
    seen = {name: [] for name in ("a", "b")}
    for _ in range(200):
        hall.advance(hall.time_s + 1)
        for name, values in seen.items():
            values.append(hall.wobble(name))
    assert all(-1 <= value <= 1 for values in seen.values() for value in values)
    assert seen["a"] != seen["b"]
    assert max(seen["a"]) - min(seen["a"]) > 0.5
