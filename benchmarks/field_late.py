"""Wrong values under mixed fault timings on an RTU line, with the protection and without, in virtual time.

The line and its faults are those of firmware_tests/virtual_line.py. Without the protection (no quarantine of a unit
whose answer is outstanding) a late answer is taken for the next request's.
"""

from drivers.modbus.rtu_exchange import RtuExchange
from firmware_tests import virtual_line
from firmware_tests.virtual_line import BAUD, LATE_S

TIMINGS, QUICK_TIMINGS = 100_000, 5_000


def run(quick):
    timings = QUICK_TIMINGS if quick else TIMINGS
    guarded = virtual_line.run(RtuExchange(BAUD, LATE_S), timings, seed=11)
    twin = virtual_line.run(RtuExchange(BAUD, late_s=0.0), timings, seed=11)
    print(f"{timings:,} reads of three units, half of them answered late or never, a sixth spoilt")
    print(f"{'':>20} {'right':>8} {'wrong':>8} {'failed':>8} {'expired':>8}")
    for name, seen in (("with quarantine", guarded), ("twin without", twin)):
        print(f"{name:>20} " + " ".join(f"{seen[kind]:>8,}" for kind in ("right", "wrong", "failed", "expired")))
    return {"wrong_values": guarded["wrong"], "wrong_values_twin": twin["wrong"], "fault_timings": timings}
