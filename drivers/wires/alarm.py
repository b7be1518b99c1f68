"""Alarms that ring within a tenth of a millisecond: one timerfd for all lines of an event loop.

asyncio rounds its own timers up to whole milliseconds: more than half of the silence between two frames at 19,200
baud, and one more loss for each request. The kernel wakes a process late as well, by a time that depends on the
machine: the timer is set earlier by what is usual, and what is then left is waited for awake.
"""

import asyncio
import ctypes
import heapq
import os
from collections.abc import Callable
from contextlib import suppress

NEVER = float("inf")
_CLOCK_MONOTONIC = 1
#: An alarm in the past still needs a time: all zeros would switch the timer off.
_AT_ONCE_NS = 1
_NS = 1_000_000_000
#: The median lateness of so many wake-ups is the head start of the next ones.
WAKE_UPS = 128
#: A machine that is always later than this is overloaded; to be early by more would only be to wait in vain.
LONGEST_LEAD_S = 0.000_1


class _Timespec(ctypes.Structure):
    _fields_ = (("s", ctypes.c_long), ("ns", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)
# Python has os.timerfd_create only from 3.13 on
_timerfd_settime = _libc.timerfd_settime
_timerfd_settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.POINTER(_Itimerspec), ctypes.c_void_p)


class Alarm:
    """Calls `ring` from the event loop once the time it was set to has come; may be set again and again."""

    __slots__ = ("_alarms", "at", "ring")

    def __init__(self, alarms: "Alarms", ring: Callable[[], None]) -> None:
        self._alarms = alarms
        self.ring = ring
        self.at = NEVER  #: monotonic seconds; NEVER: not set

    def set(self, at: float) -> None:
        """Ring at `at` and at no other time."""
        if at != self.at:
            self._alarms.put(self, at)

    def cancel(self) -> None:
        self.at = NEVER


class Alarms:
    """All alarms of one event loop, which runs from the first `set` on. `mono` is the monotonic clock, in seconds."""

    def __init__(self, mono: Callable[[], float]) -> None:
        self._mono = mono
        self._waiting: list[tuple[float, int, Alarm]] = []  # entries of alarms that were set anew are stale
        self._order = 0
        self._fd = -1
        self._programmed = NEVER
        self._in_time = False  # the timer was set for a time still to come
        self.lead_s = 0.0  #: so late the process is usually woken; the timer is set so much earlier
        self.least_late_s = 0.0  #: so late it is always woken
        self._late_s: list[float] = []  # of the latest wake-ups
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spec = _Itimerspec()

    def alarm(self, ring: Callable[[], None]) -> Alarm:
        """A new alarm, not set."""
        return Alarm(self, ring)

    def put(self, alarm: Alarm, at: float) -> None:
        """Set `alarm` to `at`; its earlier time is void."""
        alarm.at = at
        self._order += 1
        heapq.heappush(self._waiting, (at, self._order, alarm))
        if at < self._programmed:
            self._program(at)

    def wait_until(self, at: float) -> None:
        """Wait awake, in a ring, for a time so close that going to sleep again would hardly pay."""
        while self._mono() < at:
            pass

    def close(self) -> None:
        """Ring no more and give the descriptor back."""
        self._waiting.clear()
        if self._fd >= 0:
            assert self._loop is not None
            with suppress(RuntimeError):  # the loop is already closed
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
        self._fd, self._programmed, self._loop = -1, NEVER, None

    def _program(self, at: float) -> None:
        if self._fd < 0:
            self._start()
        left_ns = 0 if at == NEVER else max(_AT_ONCE_NS, int((at - self.lead_s - self._mono()) * _NS))
        self._in_time = left_ns > _AT_ONCE_NS
        self._spec.value.s, self._spec.value.ns = divmod(left_ns, _NS)
        if _timerfd_settime(self._fd, 0, self._spec, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_settime: {os.strerror(number)}")
        self._programmed = at

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        fd = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, f"timerfd_create: {os.strerror(number)}")
        loop.add_reader(fd, self._rang)
        self._fd, self._loop = fd, loop

    def _rang(self) -> None:
        """Ring what is due; what the rung set to a time already past rings in the next round of the loop."""
        waiting, now = self._waiting, self._mono()
        self._learn(now - (self._programmed - self.lead_s))
        if 0.0 < (at := self._first()) - now <= self.lead_s:  # woken quicker than usual
            self.wait_until(at)
            now = self._mono()
        self._programmed = -NEVER  # set only once, below
        due = []
        while waiting and waiting[0][0] <= now:
            due.append(heapq.heappop(waiting))
        due.reverse()
        try:
            while due:
                at, _, alarm = due.pop()
                if alarm.at == at:
                    alarm.at = NEVER
                    alarm.ring()
        finally:  # what one line raises must not silence the others
            if self._fd >= 0:
                for entry in due:
                    heapq.heappush(waiting, entry)
                self._program(self._first())  # also makes the descriptor unreadable

    def _first(self) -> float:
        """When the next alarm is to ring; forgets those before it that were set anew."""
        waiting = self._waiting
        while waiting and waiting[0][2].at != waiting[0][0]:
            heapq.heappop(waiting)
        return waiting[0][0] if waiting else NEVER

    def _learn(self, late_s: float) -> None:
        if late_s <= 0.0 or not self._in_time:
            return  # the timer was set anew between its ringing and now, or too late: that tells nothing of the machine
        self._late_s.append(late_s)
        if len(self._late_s) == WAKE_UPS:
            self.lead_s = min(sorted(self._late_s)[WAKE_UPS // 2], LONGEST_LEAD_S)
            self.least_late_s = min(*self._late_s, LONGEST_LEAD_S)
            self._late_s.clear()
