"""Starts bridge processes in milliseconds: everything is imported once, then one fork per start.

Reads lines `{kind} {config}` from stdin, answers each with the process id. Kind "bridge" is the real one; "ack-first"
is its twin without the protection: it acknowledges to the broker when a message arrives.
"""

import os
import signal
import sys
from pathlib import Path

import collector.bridge.influx
import collector.bridge.sqlite_store  # noqa: F401
from collector.bridge import daemon
from collector.bridge.subscribe import Inbox


class AckFirst(Inbox):
    """Acknowledges on arrival."""

    def put(self, message):
        super().put(message)
        self._source.ack(message)


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the killed
    for text in sys.stdin:
        kind, config = text.split()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            if kind == "ack-first":
                daemon.Inbox = AckFirst
            daemon.run(Path(config))
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
