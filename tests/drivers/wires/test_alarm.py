"""Alarms on a real event loop, with the clock in the test's hand where their order matters."""

import asyncio
import time

from drivers.wires.alarm import LONGEST_LEAD_S, NEVER, WAKE_UPS, Alarms
from tests.waiting import until


async def test_an_alarm_rings_once_and_never_early():
    alarms, rung = Alarms(time.monotonic), []
    alarm = alarms.alarm(lambda: rung.append(time.monotonic()))
    at = time.monotonic() + 0.003
    alarm.set(at)
    await until(lambda: rung)
    await asyncio.sleep(0.01)
    assert len(rung) == 1
    assert rung[0] >= at
    assert alarm.at == NEVER
    alarms.close()


async def test_alarms_ring_in_the_order_of_their_times():
    alarms, rung = Alarms(time.monotonic), []
    now = time.monotonic()
    for wait in (0.006, 0.002, 0.004):
        alarms.alarm(lambda wait=wait: rung.append(wait)).set(now + wait)
    await until(lambda: len(rung) == 3)
    assert rung == [0.002, 0.004, 0.006]
    alarms.close()


async def test_only_the_last_time_of_an_alarm_counts():
    alarms, rung = Alarms(time.monotonic), []
    alarm, cancelled = alarms.alarm(lambda: rung.append("a")), alarms.alarm(lambda: rung.append("b"))
    now = time.monotonic()
    alarm.set(now + 0.002)
    alarm.set(now + 0.02)
    cancelled.set(now + 0.002)
    cancelled.cancel()
    await asyncio.sleep(0.01)
    assert rung == []
    await until(lambda: rung)
    assert rung == ["a"]
    alarms.close()


async def test_an_alarm_may_be_set_from_its_own_ring_also_to_a_time_already_past():
    """The rest of the loop gets its turn in between: an alarm that is always due must not lock it out."""
    alarms, rung, turns = Alarms(time.monotonic), [], []
    loop = asyncio.get_running_loop()

    def ring() -> None:
        rung.append(len(turns))
        loop.call_soon(turns.append, 1)
        if len(rung) < 50:
            alarm.set(0.0)

    alarm = alarms.alarm(ring)
    alarm.set(0.0)
    await until(lambda: len(rung) == 50)
    assert rung[-1] >= 48
    alarms.close()


async def test_an_alarm_that_is_set_anew_over_and_over_is_not_remembered_for_ever():
    """As a line does that is answered long before its silence would be judged: 20 requests a second, for an hour."""
    now = [0.0]
    alarms = Alarms(lambda: now[0])
    alarm = alarms.alarm(lambda: None)
    for _ in range(72_000):
        now[0] += 0.05
        alarm.set(now[0] + 0.054)
        alarms._rang()
    assert len(alarms._waiting) <= 3
    alarms.close()


async def test_a_closed_clock_rings_no_more_and_starts_again_when_it_is_used():
    alarms, rung = Alarms(time.monotonic), []
    alarm = alarms.alarm(lambda: rung.append(1))
    alarm.set(time.monotonic() + 0.002)
    alarms.close()
    await asyncio.sleep(0.01)
    assert rung == []
    alarms.alarm(lambda: rung.append(2)).set(time.monotonic())
    await until(lambda: rung)
    assert rung == [2]
    alarms.close()
    alarms.close()


async def test_the_lateness_of_the_machine_is_learned_and_no_alarm_rings_early_for_it():
    alarms, early = Alarms(time.monotonic), []

    def ring() -> None:
        early.append(max(0.0, at[0] - time.monotonic()))
        if len(early) < 2 * WAKE_UPS:
            at[0] = time.monotonic() + 0.0005
            alarm.set(at[0])

    at = [time.monotonic()]
    alarm = alarms.alarm(ring)
    alarm.set(at[0])
    await until(lambda: len(early) == 2 * WAKE_UPS)
    assert 0.0 < alarms.least_late_s <= alarms.lead_s <= LONGEST_LEAD_S
    assert max(early) == 0.0
    alarms.close()


async def test_alarms_that_were_overdue_when_they_were_set_teach_nothing_of_the_machine():
    """What makes them late is our own work, and to wait awake for that would only make more of it."""
    alarms, rung = Alarms(time.monotonic), []

    def ring() -> None:
        rung.append(1)
        alarm.set(time.monotonic() - 0.05)

    alarm = alarms.alarm(ring)
    alarm.set(time.monotonic() - 0.05)
    await until(lambda: len(rung) > WAKE_UPS)
    alarm.cancel()
    assert alarms.lead_s == alarms.least_late_s == 0.0
    alarms.close()


async def test_what_one_alarm_raises_does_not_silence_the_others():
    alarms, rung, told = Alarms(time.monotonic), [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))

    def fail() -> None:
        raise RuntimeError("a bug in one line")

    now = time.monotonic()
    alarms.alarm(fail).set(now)
    alarms.alarm(lambda: rung.append("due with it")).set(now)
    alarms.alarm(lambda: rung.append("later")).set(now + 0.005)
    await until(lambda: len(rung) == 2)
    assert rung == ["due with it", "later"]
    assert [str(error) for error in told] == ["a bug in one line"]
    alarms.close()


async def test_nobody_is_woken_for_a_time_that_no_longer_counts():
    """As each answer does: the silence after it would have been judged long after the next question."""
    alarms, rung, wakes = Alarms(time.monotonic), [], []
    real = alarms._rang
    alarms._rang = lambda: (wakes.append(1), real())
    alarm = alarms.alarm(lambda: rung.append(1))
    now = time.monotonic()
    alarm.set(now + 0.01)
    alarm.set(now + 0.002)
    await until(lambda: rung)
    alarm.set(now + 0.03)
    await until(lambda: len(rung) == 2)
    assert len(wakes) == 2
    alarms.close()
