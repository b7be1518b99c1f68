"""What a receiver makes of bytes that were sent at another speed than its own."""

import termios

#: Bits per second by the number that termios knows them by.
SPEEDS = {getattr(termios, name): int(name[1:]) for name in dir(termios) if name.startswith("B") and name[1:].isdigit()}


def speed_of(port: int) -> int:
    """Bits per second that the client of a pseudo-terminal has set, seen from either end; 0: none that is usual."""
    return SPEEDS.get(termios.tcgetattr(port)[5], 0)


def heard(data: bytes, sent_baud: int, heard_baud: int) -> bytes:
    """`data`, sent without a pause as 8N1 at one speed and sampled at another.

    A character begins with a falling edge and is sampled in the middle of each bit. One without its stop bit is read
    as zero, as Linux does unless it is told otherwise (termios(3), IGNPAR and PARMRK).
    """
    line = [bit for byte in data for bit in (0, *((byte >> k) & 1 for k in range(8)), 1)]
    step = sent_baud / heard_baud  # bits on the line per bit of the receiver
    found = bytearray()
    free_at = 0.0
    for edge, bit in enumerate(line):
        if bit or edge < free_at or (edge and not line[edge - 1]):
            continue
        begins, *bits, ends = (_level(line, edge + (k + 0.5) * step) for k in range(10))
        if begins == 0:
            found.append(sum(bit << k for k, bit in enumerate(bits)) if ends else 0)
            free_at = edge + 9.5 * step
    return bytes(found)


def _level(line: list[int], at: float) -> int:
    """Behind its end the line rests, which is a one."""
    return line[int(at)] if at < len(line) else 1
