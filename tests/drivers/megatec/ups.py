"""A UPS on a pseudo-terminal that says what a test gives it, also what no profile describes."""

import asyncio
import os
import tty
from contextlib import contextmanager

from drivers.megatec.frame import seal

#: What devices answered: a Santak C1K (G7), and the examples of the Megatec protocol and of Voltronic's.
LINE_INTERACTIVE = {
    b"Q1": b"(226.0 195.0 226.0 014 49.0 27.5 30.0 00001000",
    b"F": b"#220.0 000 024.0 50.0",
    b"I": b"#-------------   ------     VT12046Q  ",
}
CASTLE = {
    b"Q1": b"(225.8 225.8 226.3 014 49.9 2.25 26.5 00000001",
    b"Q6": b"(225.4 ---.- ---.- 49.9 226.3 ---.- ---.- 49.9 013 --- --- 027.1 ---.- 26.5 02293 100 82 00000000"
    b" 00000000 11",
    b"WA": b"(000.1 ---.- ---.- 000.1 ---.- ---.- 000.1 000.1 000.6 ---.- ---.- 014 00000001",
}


class Ups:
    """`answers` by question, without CR; to others it says `refusal`, None: nothing. `asked` is every line it got."""

    def __init__(self, answers, refusal=b"(NAK", *, crc=False):
        self.answers = dict(answers)
        self.refusal = refusal
        self.crc = crc
        self.asked = []
        self.powered = True  #: what the control lines of the port make of it
        self._buffer = b""

    def hear(self, data):
        """The bytes it answers."""
        *questions, self._buffer = (self._buffer + data).split(b"\r")
        said = b""
        for question in questions:
            self.asked.append(question)
            known = question[:-2] if self.crc else question
            sound = not self.crc or seal(known, crc=True)[:-1] == question
            answer = self.answers.get(known, self.refusal) if self.powered and sound else None
            if answer is not None:
                said += seal(answer, crc=self.crc)
        return said


@contextmanager
def on_a_port(ups, path):
    """`ups` at `path`; inside a running event loop."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    path.symlink_to(os.ttyname(slave))
    loop = asyncio.get_running_loop()
    loop.add_reader(master, lambda: os.write(master, ups.hear(os.read(master, 4096))))
    try:
        yield f"serial://{path}?baud=115200"
    finally:
        loop.remove_reader(master)
        os.close(master)
        os.close(slave)
