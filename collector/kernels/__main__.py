"""Compile the kernels of the modules named as arguments into the cache."""

import importlib
import sys

for name in sys.argv[1:]:
    importlib.import_module(name)
importlib.import_module("collector.kernels._jit").warm(sys.argv[1:])
