"""Wires: what carries the bytes of a serial protocol, whichever protocol it is."""
