"""Poll: asks every device on every bus, one owner per bus.

`poller` is the one sweep that serves all buses, `bus` the owner of one line, `schedule` which of its reads goes next,
`unit` what is believed of a device, `intake` where answers wait for the next tick.
"""

from collector.poll.bus import LinkFactory
from collector.poll.poller import Poller

__all__ = ["LinkFactory", "Poller"]
