"""One RTU line as a state machine without clock, timer or port: every method is told the time (monotonic seconds).

RTU answers carry no transaction id, so an answer that comes after its deadline looks like the answer to the next
request of the same unit. Two rules keep it from becoming a wrong value:

- a unit whose answer is outstanding is in quarantine: it is not asked again before that answer has come, or cannot
  come any more (`late_s`). Other units may be asked at once, because an answer names its unit;
- what was received before a request is transmitted is never taken for its answer.

An answer that a faulty repeater sends twice, the second time during a later request to the same unit, cannot be told
from a true one; nobody can on this protocol.

Every byte that wakes the process costs more than all the work on its frame. `look_at` says how long nothing can come
that is worth it: until the answer is all but complete. That is a matter of cost only: what is received earlier is taken
just the same, and what comes later is waited for.
"""

from drivers.base import Request
from drivers.errors import BadFrame, DeviceException
from drivers.modbus.rtu import (
    EXCEPTION_BYTES,
    MAX_BUFFER,
    QUESTION_BYTES,
    RtuReceiver,
    answer_length,
    encode,
    read_answer,
)
from drivers.modbus.turnaround import Turnarounds
from drivers.wires.line import Outcome

#: Bytes of one frame may come this far apart: an FTDI adapter holds them for up to 16 ms, a serial server for longer.
QUIET_S = 0.05
#: The first look is this much before the answer can be complete, so that its last byte is seen when it comes and the
#: next request leaves t3.5 after it: half a character, and never less than the process may be woken late.
EARLY_CHARACTERS = 0.5
EARLY_S = 0.000_15
#: An answer that takes longer than this is not slept through at a stretch: a refusal would be over long before.
#: The look for it comes so many characters later that the head of a good answer is there too.
LONG_ANSWER_S = 0.1
REFUSAL_CHARACTERS = 2
#: When an answer is complete at the first look, the next look is earlier by this share of what the unit was thought to
#: need: too early costs one more look, too late costs time of the line.
TOO_LATE_SHARE = 0.25
#: While nobody is asked, what comes is late or babble: it is looked at this often, or each byte of it would wake us.
IDLE_LOOK_S = 0.02
#: A shorter sleep saves nothing: the byte in between costs one wake-up, and so does the look after it.
SHORTEST_SLEEP_CHARACTERS = 2
#: Serial line V1.02, 2.5.1.1: a character is 11 bits; above 19,200 baud t3.5 is fixed.
CHARACTER_BITS = 11
FAST_BAUD = 19_200
FAST_GAP_S = 0.001_75


def gap_s(baud: int) -> float:
    """t3.5: the silence that must precede a frame."""
    return FAST_GAP_S if baud > FAST_BAUD else 3.5 * CHARACTER_BITS / baud


def quiet_s(baud: int) -> float:
    """The silence after which nothing more is coming. Below 600 baud a single character takes most of QUIET_S."""
    return QUIET_S + gap_s(baud)


class RtuExchange:
    """At most one request in flight and the units in quarantine, on a line of `baud`.

    start → (when `next_at` is reached) transmit → received … until an outcome, or expire. `character_s` is the time
    that a character really takes with the settings of the line; `pause_s` is silence before a question beyond t3.5.
    An answer may come until `late_s` after `timeout_s`, the owner's longest deadline, however the exchange ended.
    """

    def __init__(
        self,
        baud: int,
        late_s: float,
        character_s: float | None = None,
        pause_s: float = 0.0,
        timeout_s: float = 0.0,
    ) -> None:
        self.late = 0  #: frames thrown away: late, or of a unit that was not asked
        self.strays = 0  #: bytes thrown away that belonged to no frame
        self.look_at: float | None = None  #: nothing that comes before is worth a wake-up; None: every byte may be
        self._timeout_s = timeout_s
        self._late_s = late_s
        self._character_s = CHARACTER_BITS / baud if character_s is None else character_s
        self._early_s = max(EARLY_S, EARLY_CHARACTERS * self._character_s)
        self._turnarounds = Turnarounds()
        self._gap_s = gap_s(baud) + pause_s
        self._quiet_s = quiet_s(baud)
        self._question_s = QUESTION_BYTES * CHARACTER_BITS / baud
        self._expected: dict[int, Request] = {}
        self._receiver = RtuReceiver(self._expected)
        self._quarantine: dict[int, float] = {}
        self.asked: Request | None = None  #: in flight
        self.question = b""  #: its frame
        self._transmitted = False
        self._transmitted_at = float("-inf")
        self._busy_until = float("-inf")  # end of the last activity on the line
        self._received_at: float | None = None  # since then the line was silent; None: nothing to conclude from it
        self._received_bytes = 0
        self._shortest_end = 0.0  # of the answer in flight, if its unit did not think at all
        self._missing = 0  # bytes of the answer in flight when it was last looked at; 0: it had not begun
        self._latest_end = 0.0  # of the answer in flight, by what was missing

    @property
    def waiting(self) -> bool:
        """Whether the request in flight still waits for its gap."""
        return self.asked is not None and not self._transmitted

    def start(self, request: Request) -> None:
        """Take `request`; `next_at` says when to transmit it. Raises ValueError when it cannot be encoded."""
        if self.asked is not None:
            raise RuntimeError(f"unit {request.unit} asked while unit {self.asked.unit} is")
        self.question = encode(request)
        self.asked = request
        self.look_at = None
        self._transmitted = False

    def next_at(self) -> float | None:
        """When to call `transmit` (while `waiting`), `looked` or `silence`; None: only bytes can change anything."""
        if self.waiting:
            return self._busy_until + self._gap_s
        if self.look_at is not None:
            return self.look_at
        if self.asked is not None and self._received_at is not None:
            return self._received_at + self._quiet_s
        return None

    def transmit(self, now: float) -> bytes:
        """The frame to write now, or just written. All that was received before must have been given to `received`."""
        assert self.asked is not None
        self._discard()
        unit = self.asked.unit
        self._quarantine.pop(unit, None)
        self._expected[unit] = self.asked
        self._receiver.begin(self.question)
        self._transmitted = True
        self._transmitted_at = now
        self._received_bytes = 0
        self._received_at = None
        self._busy_until = now + self._question_s
        self._shortest_end = now + (QUESTION_BYTES + answer_length(self.asked)) * self._character_s
        self._missing = 0
        end = self._shortest_end + self._turnarounds.least(unit)
        spared = (answer_length(self.asked) - EXCEPTION_BYTES - REFUSAL_CHARACTERS) * self._character_s
        self._sleep_until(end - spared if spared > LONG_ANSWER_S else end, now)
        return self.question

    def looked(self) -> None:
        """It is `look_at`, and nothing has come since the last time: listen from now on."""
        self.look_at = None

    def received(self, data: bytes, now: float, wake_s: float = 0.0) -> Outcome:
        """Take bytes from the line. Bytes that were listened for came at least `wake_s` before `now`."""
        since = now - wake_s if self.look_at is None else min(now, self.look_at)  # they may have been there
        self.look_at = None
        self._received_at = now
        self._received_bytes += len(data)
        self._receiver.feed(data)
        asked, end = self.asked, now
        outcome = self._search(final=False)
        if isinstance(outcome, memoryview) and asked is not None:
            if len(data) == self._missing:  # they followed at once on what was seen before, if we were not in time
                end = min(now, max(self._latest_end, since))
            turnaround_s = end - self._shortest_end
            if not self._missing:  # complete at the first look: it may have been so for long
                turnaround_s -= max(self._character_s, TOO_LATE_SHARE * turnaround_s)
            self._turnarounds.saw(asked.unit, turnaround_s)
        self._busy_until = max(self._busy_until, end)
        if asked is None:
            self.look_at = now + IDLE_LOOK_S
        if outcome is not None or asked is None or not self._transmitted:
            return outcome
        if self._received_bytes > MAX_BUFFER:
            self._forget(now)
            return BadFrame(
                f"more than {MAX_BUFFER} bytes and no answer of unit {asked.unit} among them: something babbles"
            )
        self._missing = self._receiver.missing
        self._latest_end = now + self._missing * self._character_s
        self._sleep_until(self._latest_end, now)
        return None

    def silence(self, now: float) -> Outcome:
        """Judge what came, the line being silent since. Only what is certain ends the exchange before its deadline."""
        outcome = self._search(final=True)
        self._received_at = None
        if outcome is not None or self.asked is None:
            return outcome
        self._missing = 0
        unit = self.asked.unit
        if unit in self._receiver.corrupt:
            # with another answer outstanding, this may be that one with its unit corrupted: ours may still come
            if any(until > now for until in self._quarantine.values()):
                self._forget(now)
            else:
                self._done()
            return BadFrame(f"unit {unit} answered with a wrong checksum: noise, or two units with this number")
        frame = self._receiver.foreign()
        if frame is None:
            return None
        self._receiver.clear()
        if frame[0] != unit:
            self.late += 1
            return None
        self._done()
        return BadFrame(f"unit {unit} answered something else: {frame.hex(' ')}")

    def expire(self, now: float) -> bool:
        """The deadline passed. False: the request was never transmitted, because the line was never silent."""
        if self.asked is None:
            return True
        transmitted = self._transmitted
        self._forget(now)
        return transmitted

    def ready_at(self, unit: int) -> float:
        """When the quarantine of `unit` ends; 0.0 when there is none."""
        return self._quarantine.get(unit, 0.0)

    def reset(self, now: float) -> None:
        """The line was closed. A device does not know that: what it was asked may still be answered after reopening."""
        if self.asked is not None:
            self._forget(now)
        self.look_at = self._received_at = None
        self._receiver.clear()

    def _search(self, *, final: bool) -> Outcome:
        while (frame := self._receiver.find(final=final)) is not None:
            request = self.asked
            if request is None or not self._transmitted or frame[0] != request.unit:
                self._count_late(frame[0])
                continue
            self._done()
            try:
                return read_answer(request, frame)
            except (BadFrame, DeviceException) as error:
                return error
        return None

    def _discard(self) -> None:
        """Throw away what was received and not asked for, after counting what it was."""
        self._search(final=True)
        if self._receiver.foreign() is not None:
            self.late += 1
        else:
            self.strays += len(self._receiver)
        self._receiver.clear()

    def _count_late(self, unit: int) -> None:
        """The one outstanding answer of `unit` came: its quarantine ends."""
        self.late += 1
        del self._quarantine[unit]
        del self._expected[unit]

    def _done(self) -> None:
        """The unit in flight has said what it had to say."""
        assert self.asked is not None
        del self._expected[self.asked.unit]
        self.asked = self.look_at = None
        self._transmitted = False

    def _sleep_until(self, end: float, now: float) -> None:
        """The answer can be complete at `end`: nothing need be looked at until shortly before."""
        at = end - self._early_s
        self.look_at = at if at - now >= SHORTEST_SLEEP_CHARACTERS * self._character_s else None

    def _forget(self, now: float) -> None:
        """Give the request in flight up; if it was transmitted, its answer may still come."""
        assert self.asked is not None
        if self._transmitted:
            self._quarantine[self.asked.unit] = max(now, self._transmitted_at + self._timeout_s) + self._late_s
        self.asked = self.look_at = None
        self._transmitted = False
