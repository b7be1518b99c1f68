"""The smallest dialect there is, for tests: `2V?` asks unit 2 for V, `2=17;` says 17, `2!` that it will not say."""

import struct

from drivers.errors import AskAgain, BadFrame, OtherUnit, Refused
from drivers.text.command import Command
from drivers.text.framing import Delimited

FRAMING = Delimited(end=b";", longest=16)


def ask(unit=1, name="V", *, names_unit=True, echo_is_answer=False, listens=False):
    """The command; its image is the number in four registers."""

    def read(frame):
        if frame == question:
            raise Refused(4, "unknown", retryable=False)
        said = frame.decode("ascii", "replace").rstrip(";")
        who, separator, what = said.partition("=")
        if said.endswith("!"):
            raise Refused(4, "unknown", retryable=False)
        if said.endswith("^"):
            raise AskAgain(1, "another version", said[:-1].encode() + b"??;" if len(said) > 1 else None)
        if names_unit and who.isdecimal() and int(who) != unit:
            raise OtherUnit(int(who), unit)
        if not separator or not what.isdecimal() or (names_unit and not who.isdecimal()):
            raise BadFrame(f"nonsense: {said!r}")
        return struct.pack(">d", float(what))

    question = b"" if listens else f"{unit}{name}?;".encode()
    return Command(
        unit,
        name,
        question,
        line_bytes=len(question) + 6,
        framing=FRAMING,
        read=read,
        names_unit=names_unit,
        echo_is_answer=echo_is_answer,
    )


def number(outcome):
    """What an image says."""
    return struct.unpack(">d", outcome)[0]
