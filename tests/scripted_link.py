"""A line without a wire: each test decides what becomes of a request."""

from drivers.base import LinkCost
from drivers.errors import LinkLost, LinkUnavailable

COST = LinkCost(0.01, 0.0005)


class ScriptedLink:
    """A link in memory that keeps the contract of drivers.base; `answer` decides what each request meets."""

    late = 0
    cost = COST

    def __init__(self, sink, clock):
        self.sink, self.clock = sink, clock
        self.sent, self.in_flight, self.quiet_until = [], None, {}
        self.opens = 0
        self.quarantine_s = 0.0
        self.refuse_open = False

    def open(self):
        self.opens += 1
        if self.refuse_open:
            self.sink.lost(LinkUnavailable("connection refused"))
        else:
            self.sink.opened()

    def send(self, request):
        assert self.in_flight is None, "two requests on one line"
        assert self.clock.mono() >= self.quiet_until.get(request.unit, 0.0)
        self.sent.append((self.clock.mono(), request))
        self.in_flight = request

    def listen(self, commands, heard):
        self.listened, self.heard = commands, heard

    def answer(self, data=None):
        request, self.in_flight = self.in_flight, None
        self.sink.answered(memoryview(bytes(request.answer_bytes) if data is None else data))

    def fail(self, error):
        self.in_flight = None
        self.sink.failed(error)

    def lose(self):
        self.in_flight = None
        self.sink.lost(LinkLost("connection reset"))

    def expire(self):
        self.quiet_until[self.in_flight.unit] = self.clock.mono() + self.quarantine_s
        self.in_flight = None

    def ready_at(self, unit):
        return self.quiet_until.get(unit, 0.0)

    def close(self):
        self.in_flight = None
