"""Publish: from the spool to one centre's broker, for ever, and free a row only when it may be freed.

`uplink` is the connection to one centre, `delivery` carries the rows, `feed` chooses them (live before backlog),
`flight` keeps those under way, `backoff` the pauses between attempts.
"""

from collector.publish.delivery import UplinkOptions
from collector.publish.uplink import Uplink

__all__ = ["Uplink", "UplinkOptions"]
