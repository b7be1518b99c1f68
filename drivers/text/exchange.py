"""One line with a text protocol as a state machine: every method is told the time (monotonic seconds).

Answers carry no transaction id, most do not even repeat the command, so an answer that comes after its deadline looks
like the answer to the next question. Three rules keep it from becoming a wrong value:

- a unit whose answer is outstanding is in quarantine: it is not asked again before that answer has come, or cannot
  come any more (`late_s`). Where answers do not name their unit the quarantine holds for the whole line;
- what was received before a question is transmitted is never taken for its answer;
- after a damaged frame its unit is in quarantine too: the damage may have been noise before the true answer.
"""

from drivers.errors import AskAgain, BadFrame, DeviceException, OtherUnit, Unasked
from drivers.text.command import Command
from drivers.wires.line import Outcome

#: What nobody asked for is held up to this, to tell a late answer from noise.
MAX_UNASKED = 4096


class TextExchange:
    """At most one question in flight and the units in quarantine.

    start → (when `next_at` is reached) transmit → received … until an outcome, or expire. `gap_s`: silence that the
    devices want before a question. An answer may come until `late_s` after `timeout_s`, the owner's longest deadline,
    or after the moment the question was given up, whichever is later.
    """

    def __init__(self, *, gap_s: float, timeout_s: float, late_s: float, character_s: float) -> None:
        self.late = 0  #: frames thrown away: late, or of a unit that was not asked
        self.strays = 0  #: bytes thrown away that belonged to no frame
        self.asked: Command | None = None  #: in flight
        self._gap_s = gap_s
        self._timeout_s = timeout_s
        self._late_s = late_s
        self._character_s = character_s
        self._transmitted = False
        self._transmitted_at = 0.0
        self._repeated = False  # the question in flight was asked a second time
        self._revised: dict[Command, bytes] = {}  # what a unit wants to be asked instead
        self._overdue: dict[int, tuple[float, Command]] = {}  # unit → end of its quarantine, what it was asked
        self._buffer = bytearray()
        self._echo = b""  # of the question; what is left of it to be expected
        self._damage: BadFrame | None = None
        self._received_bytes = 0
        self._received_at: float | None = None  # since then the line was silent; None: nothing to conclude from it
        self._busy_until = float("-inf")

    @property
    def waiting(self) -> bool:
        """Whether the question in flight still waits for its gap."""
        return self.asked is not None and not self._transmitted

    def start(self, command: Command) -> None:
        """Take `command`; `next_at` says when to transmit it."""
        if self.asked is not None:
            raise RuntimeError(f"unit {command.unit} asked while unit {self.asked.unit} is")
        self.asked = command
        self._transmitted = self._repeated = False

    def next_at(self) -> float | None:
        """When to call `transmit` (while `waiting`) or `silence`; None: only bytes can change anything."""
        if self.waiting:
            return self._busy_until + self._gap_s
        if self.asked is not None and self._received_at is not None:
            return self._received_at + self.asked.framing.quiet_s
        return None

    def transmit(self, now: float) -> bytes:
        """The bytes to write now. What was received must have been given to `received`."""
        assert self.asked is not None
        question = self._revised.get(self.asked, self.asked.question)
        self._discard()
        self._busy_until = now + len(question) * self._character_s
        self._overdue.pop(self.asked.unit, None)
        self._echo = b"" if self.asked.echo_is_answer else question
        self._transmitted = True
        self._transmitted_at = now
        self._damage = None
        self._received_bytes = 0
        self._received_at = None
        return question

    def received(self, data: bytes, now: float) -> Outcome:
        """Take bytes from the line."""
        self._busy_until = max(self._busy_until, now)
        self._received_at = now
        self._received_bytes += len(data)
        self._buffer += data
        outcome = self._search(now, silent=False)
        if outcome is not None or self.asked is None or not self._transmitted:
            self._bound(MAX_UNASKED)
            return outcome
        most = 2 * self.asked.framing.longest + len(self.asked.question)
        if self._received_bytes > most:
            unit = self.asked.unit
            self._forget(now)
            return BadFrame(f"more than {most} bytes and no answer of unit {unit} among them: something babbles")
        self._bound(most)
        return None

    def silence(self, now: float) -> Outcome:
        """Judge what came, the line being silent since."""
        outcome = self._search(now, silent=True)
        self._received_at = None
        if outcome is not None or self.asked is None or self._damage is None:
            return outcome
        self._forget(now)
        return self._damage

    def expire(self, now: float) -> bool:
        """The deadline passed. False: the question was never transmitted, because the line was never silent."""
        if self.asked is None:
            return True
        transmitted = self._transmitted or self._repeated
        self._forget(now)
        return transmitted

    def ready_at(self, unit: int) -> float:
        """When `unit` may be asked again; 0.0 when it may be now."""
        ends = [end for each, (end, asked) in self._overdue.items() if each == unit or not asked.names_unit]
        return max(ends, default=0.0)

    def reset(self, now: float) -> None:
        """The line was closed. A device does not know that: what it was asked may still be answered after reopening."""
        if self.asked is not None:
            self._forget(now)
        self._received_at = None
        self._buffer.clear()

    def _search(self, now: float, *, silent: bool) -> Outcome:
        buffer = self._buffer
        while True:
            command = self.asked if self._transmitted else None
            expected = command or self._outstanding()
            if expected is None or (command is not None and self._may_be_echo() and not silent):
                return None
            place = expected.framing.find(bytes(buffer), silent=silent)
            if place is None:
                return None
            begin, end = place
            frame = bytes(buffer[begin:end])
            del buffer[:end]
            self.strays += begin
            if command is None:
                self._late_frame(frame)
            elif frame != self._echo:
                outcome = self._judge(command, frame, now)
                if outcome is not None:
                    return outcome

    def _judge(self, command: Command, frame: bytes, now: float) -> Outcome:
        try:
            image = command.read(frame)
        except OtherUnit as other:
            if not isinstance(other, Unasked):
                self._late_frame(frame)
        except BadFrame as error:
            self._damage = error
        except AskAgain as refusal:
            if self._repeated:
                self._done()
                return refusal
            if refusal.question is not None:
                self._revised[command] = refusal.question
            self._repeated, self._transmitted = True, False
        except DeviceException as error:
            self._done()
            return error
        else:
            self._done()
            return memoryview(image)
        return None

    def _may_be_echo(self) -> bool:
        """Drop the question where it begins what came. True: what is left may be the begin of an echo."""
        if self._buffer.startswith(self._echo):
            del self._buffer[: len(self._echo)]
        return 0 < len(self._buffer) < len(self._echo) and self._echo.startswith(self._buffer)

    def _outstanding(self) -> Command | None:
        """What may be answered while nothing is asked."""
        return next((command for _, command in self._overdue.values()), None)

    def _late_frame(self, frame: bytes) -> None:
        """A frame nobody waits for any more: it ends the quarantine of the unit whose answer it is."""
        self.late += 1
        for unit, (_, command) in self._overdue.items():
            try:
                command.read(frame)
            except DeviceException:
                pass
            except BadFrame:
                continue
            del self._overdue[unit]
            return

    def _discard(self) -> None:
        """Throw away what was received and not asked for, after counting what it was."""
        self._search(0.0, silent=True)
        self.strays += len(self._buffer)
        self._buffer.clear()

    def _bound(self, most: int) -> None:
        surplus = len(self._buffer) - most
        if surplus > 0:
            self.strays += surplus
            del self._buffer[:surplus]

    def _done(self) -> None:
        """The unit in flight has said what it had to say."""
        self.asked = None
        self._transmitted = False

    def _forget(self, now: float) -> None:
        """Give the question in flight up; if it was transmitted, its answer may still come."""
        assert self.asked is not None
        if self._transmitted:
            until = max(now, self._transmitted_at + self._timeout_s) + self._late_s
            self._overdue[self.asked.unit] = until, self.asked
        self._done()
