"""What kind of device answers at an address, in which version of the protocol, and which of our profiles fits.

For the device nobody has papers of. Only commands that read are asked, none of a maker's own but those of our profiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from drivers.address import BusAddress, TextLine
from drivers.codec import Status, decode_answer
from drivers.errors import BadFrame, DeviceError, NoAnswer, OtherUnit
from drivers.session import Session
from drivers.text.command import Command
from drivers.text.discovery import Discovery, converse, profiles_of
from drivers.text.framing import Delimited
from drivers.wires.base import Trace
from drivers.ydt1363.frame import EOI, GET_MAKER, GET_VERSION, MAX_FRAME, READS, SOI, Frame, ask, unseal
from drivers.ydt1363.profile import YdtProfile
from drivers.ydt1363.rtn import OK, reason

#: CID1 of the kinds of devices that are out there, the most usual first.
KINDS = {
    0x2A: "UPS",
    0x40: "AC panel of a power plant",
    0x41: "rectifiers of a power plant",
    0x42: "DC panel of a power plant",
    0x60: "air conditioner",
    0x46: "battery",
    0x4A: "lithium battery",
    0x66: "air conditioner of a base station",
    0x80: "environment",
}
#: Any version may ask for the version.
ASKING_VERSION = 0x20
#: Silence before each question.
GAP_S = 0.1

_SILENCE = (
    "nobody answers at {line} under address {unit}: try --unit; most are set to 1, batteries to 0 or 2",
    "swap A and B; on RS-232 try the other cable",
    "usual speeds are 9600, 4800, 2400 and 1200; batteries also 19200 and 115200",
    "a device may begin its frames with another character than ~: look with --raw or --listen",
)


@dataclass
class YdtDiscovery(Discovery):
    """What a device answered, by CID2; `refused` has the reasons, `silent` what brought nothing."""

    unit: int
    cid1: int | None = None  #: None: nobody answered
    version: int = 0
    answers: dict[int, Frame] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    silent: list[int] = field(default_factory=list)
    others: set[int] = field(default_factory=set)  #: addresses under which somebody answered that was not asked

    @property
    def heard(self) -> bool:
        return self.cid1 is not None

    @property
    def kind(self) -> str:
        return KINDS.get(self.cid1 or 0, "")

    @property
    def advice(self) -> list[str]:
        if self.others and not (self.heard or self.lost):
            return [f"somebody answers as {', '.join(map(str, sorted(self.others)))}: --unit {min(self.others)}"]
        return super().advice

    def _silence(self) -> list[str]:
        return [line.format(line=self.address.line, unit=self.unit) for line in _SILENCE]


async def discover(
    address: BusAddress,
    unit: int,
    *,
    timeout_s: float = 1.0,
    search: Sequence[Path] = (),
    trace: Trace | None = None,
) -> YdtDiscovery:
    """Ask for the version of every kind of device, then what the one that is there knows. Raises LinkUnavailable."""
    found = YdtDiscovery(replace(address, text=TextLine("ydt1363", gap_s=GAP_S)), unit)
    await converse(found, partial(_ask_all, found, search), timeout_s=timeout_s, trace=trace)
    return found


async def _ask_all(found: YdtDiscovery, search: Sequence[Path], session: Session) -> None:
    for cid1 in KINDS:
        await _ask(session, found, cid1, GET_VERSION)
        if not found.heard:
            continue
        for cid2 in sorted(READS - {GET_VERSION}):
            await _ask(session, found, cid1, cid2)
        found.profiles = await _fitting(session, found, search)
        return


async def _ask(session: Session, found: YdtDiscovery, cid1: int, cid2: int) -> None:
    """One question; whoever answers under the address, with whatever code, is there."""
    said: list[Frame] = []

    def read(data: bytes) -> bytes:
        frame = unseal(data)
        if frame.address != found.unit:
            found.others.add(frame.address)
            raise OtherUnit(frame.address, found.unit)
        if frame.cid1 != cid1:
            raise BadFrame(f"asked CID1 {cid1:02X}H, answered CID1 {frame.cid1:02X}H")
        said.append(frame)
        return data

    question = ask(found.version or ASKING_VERSION, found.unit, cid1, cid2)
    framing = Delimited(end=EOI, start=bytes((SOI,)), longest=MAX_FRAME)
    try:
        await session.read(Command(found.unit, f"{cid2:02X}", question, 100, framing, read, names_unit=True))
    except DeviceError:
        if found.heard:
            found.silent.append(cid2)
        return
    (frame,) = said
    found.cid1, found.version = cid1, frame.version
    if frame.code == OK:
        found.answers[cid2] = frame
    else:
        found.refused[cid2] = f"RTN {frame.code:02X}H: {reason(frame.code)}"


async def _fitting(session: Session, found: YdtDiscovery, search: Sequence[Path]) -> list[str]:
    """Profiles of this kind of device of which every regular command is answered and every value plausible."""
    rated = []
    for name, profile in profiles_of(YdtProfile, search):
        if int(profile.ydt1363.cid1, 16) == found.cid1:
            answered = await _answered(session, found.unit, profile)
            if answered:
                rated.append((-answered, name))
    return [name for _, name in sorted(rated)]


async def _answered(session: Session, unit: int, profile: YdtProfile) -> int:
    """How many points of `profile` are answered with a value; 0 when it does not fit."""
    good = 0
    for block in profile.blocks(1.0):
        question = block.question(unit)
        try:
            try:
                image = await session.read(question)
            except (NoAnswer, BadFrame):  # noise is no proof that a profile does not fit
                image = await session.read(question)
        except DeviceError:
            if block.every == 1:
                return 0
            continue
        statuses = [reading.status for reading in decode_answer(profile, block.command, image).values()]
        if Status.OUT_OF_RANGE in statuses:
            return 0
        good += statuses.count(Status.GOOD)
    return good


def maker(found: YdtDiscovery) -> str:
    """What the device calls itself and its maker (51H), on one line; "" when it does not say."""
    frame = found.answers.get(GET_MAKER)
    try:
        octets = frame.octets if frame is not None else b""
    except BadFrame:
        return ""
    texts = (octets[:10], octets[12:]) if len(octets) >= 12 else (octets,)
    words = [part.decode("gb18030", "replace").strip("\0 -") for part in texts]
    return " ".join("".join(sign for sign in word if sign.isprintable()) for word in words if word)
