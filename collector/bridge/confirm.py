"""Which rows to confirm to which gateway. Pure.

A confirmation may be lost: the gateway sends the row again, it overwrites itself and is confirmed again.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable

from collector import confirmation
from collector.bridge.check import Rejected, Sender

#: Rejected rows remembered to recognise a repetition: more than one window of 64 rows of 100 gateways.
_MAX_REMEMBERED = 8192


def confirmations(senders: Iterable[Sender], centre: str) -> list[tuple[str, bytes]]:
    """Topic and payload of each message to publish: `dc/v1/{city}/{site}/{gateway}/ack/{centre}`, per spool."""
    seqs: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for sender in senders:
        seqs[sender.topic, sender.spool].add(sender.seq)
    return [
        (f"{topic}/ack/{centre}", payload)
        for (topic, spool), numbers in seqs.items()
        for payload in confirmation.encode(spool, numbers)
    ]


class GivenUp:
    """Which rejected rows are confirmed, so that their gateway sends them no more: those that came twice unchanged.

    Not at once: the header is not under its own checksum, and a row damaged on its way is whole when it is sent again.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[Sender, str], None] = OrderedDict()

    def is_final(self, rejected: Rejected) -> bool:
        """Whether to confirm this one. A row without a readable sender never is."""
        if rejected.sender is None:
            return False
        key = (rejected.sender, rejected.crc)
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return False
