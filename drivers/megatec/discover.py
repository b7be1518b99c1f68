"""Which of the family's questions a UPS answers, and which profile fits.

For the UPS that stays silent and for the one nobody knows. Only questions are asked, never more than the protocol has.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from drivers.address import BusAddress, TextLine
from drivers.codec import Status, decode_answer
from drivers.errors import DeviceError, Refused
from drivers.megatec.frame import AnswerLine, Query, encode
from drivers.megatec.profile import MegatecLimits, MegatecProfile
from drivers.megatec.replies import read_answer, write_answer
from drivers.session import Session
from drivers.text.command import Command
from drivers.text.discovery import Discovery, converse, profiles_of
from drivers.wires.base import Trace

#: Each UPS of the family knows one of these, or says that it does not.
FIRST = ((Query.Q1, False), (Query.QGS, False), (Query.Q6, False), (Query.QS, False), (Query.QMOD, True))
#: From opening the port to the first question, and between two.
SETTLE_S = MegatecLimits().settle_s
GAP_S = MegatecLimits().gap_s

_SILENCE = (
    "is the UPS switched on, and its port of the kind that speaks? Many have one with contacts only",
    "use the cable that came with the UPS: with others its interface has no power, or is told to switch off",
    "nobody answers at {line}: nearly all speak at 2400 8N1, a few at 1200 or 9600",
    "DTR and RTS are held at the usual levels; a converter may want them otherwise: &dtr=0&rts=1, only with no load",
)


@dataclass
class UpsDiscovery(Discovery):
    """What a UPS answered, asked with the levels of DTR and RTS in `address`.

    `answers` are whole lines; `errors` say why there is none.
    """

    crc: bool = False  #: it wants Voltronic's checksum
    answers: dict[Query, bytes] = field(default_factory=dict)
    errors: dict[Query, DeviceError] = field(default_factory=dict)

    @property
    def heard(self) -> bool:
        """Whether a UPS is there: it answered, or said that it does not know a question."""
        return bool(self.answers) or bool(self.refused)

    @property
    def refused(self) -> list[Query]:
        """The questions to which it said that it does not know them."""
        return [query for query, error in self.errors.items() if isinstance(error, Refused)]

    def _silence(self) -> list[str]:
        return [line.format(line=self.address.line) for line in _SILENCE]


async def discover(
    address: BusAddress, *, timeout_s: float = 1.0, search: Sequence[Path] = (), trace: Trace | None = None
) -> UpsDiscovery:
    """Ask every question there is. Raises LinkUnavailable.

    DTR and RTS are as `address` says, else as is usual. Others are never tried: where a UPS has contacts instead of a
    protocol, one of these lines is its order to switch off.
    """
    usual = MegatecLimits()
    if address.kind == "rtu":
        dtr = usual.dtr if address.dtr is None else address.dtr
        address = replace(address, dtr=dtr, rts=usual.rts if address.rts is None else address.rts)
    found = UpsDiscovery(replace(address, text=TextLine("megatec", settle_s=SETTLE_S, gap_s=GAP_S)))
    await converse(found, partial(_ask_all, found), timeout_s=timeout_s, trace=trace)
    if found.answers:
        found.profiles = _fitting(found, search)
    return found


async def _ask_all(found: UpsDiscovery, session: Session) -> None:
    for query, crc in FIRST:
        await _ask(session, found, query, crc)
        if found.heard:
            found.crc = crc
            break
    if found.crc:  # what was asked without a checksum says nothing
        found.errors.clear()
    for query in Query if found.heard else ():
        if query not in found.answers and query not in found.errors:
            await _ask(session, found, query, found.crc)


async def _ask(session: Session, found: UpsDiscovery, query: Query, crc: bool) -> None:
    try:
        found.answers[query] = await session.read(_command(query, crc))
    except DeviceError as error:
        found.errors[query] = error
    else:
        found.errors.pop(query, None)


def _command(query: Query, crc: bool) -> Command:
    """A question whose answer, once it is known to be one, is kept as it stood on the line."""

    def read(frame: bytes) -> bytes:
        read_answer(query, frame, crc=crc)
        return frame

    question = encode(query, crc=crc)
    return Command(
        1,
        query,
        question,
        line_bytes=len(question) + len(write_answer(query, {}, crc=crc)),
        framing=AnswerLine(query, crc=crc),
        read=read,
        echo_is_answer=True,
    )


def _fitting(found: UpsDiscovery, search: Sequence[Path]) -> list[str]:
    """Profiles of which the UPS answers every regular question, each value plausible; the fullest first."""
    rated = []
    for name, profile in profiles_of(MegatecProfile, search):
        if profile.megatec.crc == found.crc and _fits(profile, found):
            answered = sum(command.name in found.answers for command in profile.command)
            rated.append((-answered, name))
    return [name for _, name in sorted(rated)]


def _fits(profile: MegatecProfile, found: UpsDiscovery) -> bool:
    for block in profile.blocks(1.0):
        frame = found.answers.get(Query(block.command))
        if frame is None:
            if block.every == 1:
                return False
            continue
        readings = decode_answer(profile, block.command, block.question(1).read(frame))
        judged = [reading.status for reading in readings.values()]
        numbers = [readings[point.name].status for point in profile.points_of(block.command) if point.is_float]
        if Status.OUT_OF_RANGE in judged or (numbers and Status.GOOD not in numbers):
            return False
    return True
