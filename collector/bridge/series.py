"""A cap on how many series one gateway may make: a database dies of too many before it dies of too much."""

from collections import OrderedDict
from dataclasses import replace

from collector.bridge.check import BadLine, Checked, Reason
from collector.bridge.lines import field_count, heads

#: Gateways remembered, the ones heard longest ago are forgotten: at 20,000 series each this is the memory's bound.
MAX_GATEWAYS = 10_000
#: Hashes kept over all gateways, about 64 bytes each.
MAX_SERIES = 4_000_000


class SeriesCap:
    """Which series (measurement and tags) each gateway has written since start, as hashes."""

    def __init__(self, per_gateway: int) -> None:
        self._per_gateway = per_gateway
        self._known: OrderedDict[str, set[int]] = OrderedDict()
        self._total = 0

    def admit(self, message: Checked) -> Checked:
        """The message without the lines that would make more series than its gateway may have."""
        topic = message.sender.topic
        known = self._known.setdefault(topic, set())
        self._known.move_to_end(topic)
        found = heads(message.body)
        new = set(map(hash, found)) - known
        if len(known) + len(new) > self._per_gateway:
            message, new = self._cut(message, known)
        known |= new
        self._total += len(new)
        while len(self._known) > MAX_GATEWAYS or (self._total > MAX_SERIES and len(self._known) > 1):
            _, forgotten = self._known.popitem(last=False)
            self._total -= len(forgotten)
        return message

    def _cut(self, message: Checked, known: set[int]) -> tuple[Checked, set[int]]:
        """Let in new series in order of appearance until the cap."""
        new: set[int] = set()
        good: list[bytes] = []
        bad: list[BadLine] = []
        for line, head in zip(message.body.splitlines(keepends=True), heads(message.body), strict=True):
            key = hash(head)
            if key not in known and key not in new:
                if len(known) + len(new) >= self._per_gateway:
                    bad.append(BadLine(Reason.SERIES, line[:-1]))
                    continue
                new.add(key)
            good.append(line)
        points = message.points - sum(field_count(b.line) for b in bad)
        kept = replace(message, points=max(points, 0), lines=len(good), body=b"".join(good), bad=(*message.bad, *bad))
        return kept, new
