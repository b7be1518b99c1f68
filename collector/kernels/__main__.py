"""Compile the kernels of the modules named as arguments into the cache, unless standard input ends before."""

import importlib
import os
import sys
import threading


def _end_with_the_parent() -> None:
    os.read(0, 1)
    os._exit(1)


threading.Thread(target=_end_with_the_parent, daemon=True).start()
for name in sys.argv[1:]:
    importlib.import_module(name)
importlib.import_module("collector.kernels._jit").warm(sys.argv[1:])
