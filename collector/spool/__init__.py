"""Spool: the durability promise. What it accepted is fsynced, and leaves only when every uplink has confirmed it.

`Spool` is the thread and its API, `file` the SQLite file, `ledger` the books, `repair` what happens to a damaged
file, `disk` what is asked of the file system.
"""

from collector.spool.ledger import SpoolStats
from collector.spool.repair import read_only_rows
from collector.spool.thread import Spool

__all__ = ["Spool", "SpoolStats", "read_only_rows"]
