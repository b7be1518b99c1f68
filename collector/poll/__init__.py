"""Poll: asks every device on every bus, one owner per bus.

`plan` is what it must be told, `poller` the one sweep that serves all buses, `surroundings` what these share, `bus` the
owner of one line, `agenda` what is to be read on it and what becomes of a read that fails, `schedule` which goes next,
`express` the lines on which all is well, `listening` what is heard without being asked, `unit` what is believed of a
device, `probing` how one that is down is asked whether it is back, `intake` where answers wait for the next tick.
"""

from collector.poll.plan import LinkFactory
from collector.poll.poller import Poller

__all__ = ["LinkFactory", "Poller"]
