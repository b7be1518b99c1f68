"""Ask one unit until it is clear whether it is there, how fast it is and what it says. For technicians."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.address import BusAddress
from drivers.base import READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS, Question, Request
from drivers.codec import decode_point
from drivers.errors import DeviceError, DeviceException, DriverError, LinkLost, LinkUnavailable
from drivers.identify import identify
from drivers.meaning import AnyProfile
from drivers.plan import AnyBlock, link_cost, parts_of, plan_any
from drivers.session import Session, Statistics
from drivers.text.command import Command
from drivers.text.profile import TextProfile
from drivers.wires.base import Trace

#: Questions without any answer, after which a unit counts as silent.
SILENT_AFTER = 3
#: What nearly every device either has or refuses; a refusal proves as well that it is there.
TRIALS = ((READ_HOLDING_REGISTERS, 0, 1), (READ_INPUT_REGISTERS, 0, 1))


@dataclass(slots=True)
class Report:
    """What came of a probe."""

    address: BusAddress
    unit: int
    statistics: Statistics = field(default_factory=Statistics)
    data: dict[Question, bytes] = field(default_factory=dict)  #: the last good answer to each read
    errors: dict[Question, DriverError] = field(default_factory=dict)  #: why the last try gave none
    blocks: dict[Question, AnyBlock] = field(default_factory=dict)  #: of a profile's reads
    identity: dict[str, str] = field(default_factory=dict)
    gateway_refusals: int = 0  #: exceptions 10 and 11: a gateway says that it cannot reach the unit
    late: int = 0
    strays: int = 0
    lost: str = ""  #: the link ended and could not be opened again

    @property
    def present(self) -> bool:
        """Whether the unit answered at all; an exception is an answer, unless a gateway speaks for a silent unit."""
        return self.statistics.ok + self.statistics.exceptions > self.gateway_refusals

    @property
    def advice(self) -> list[str]:
        """What to try next when something is wrong."""
        lines = list(_suspicions(self))
        late = self.late and not self.address.is_serial  # then it is not silent
        if not (self.present or self.lost or self.gateway_refusals or self.statistics.bad_frames or late):
            lines += _silence(self)
            if self.address.text is not None and self.address.text.protocol in _DISCOVERED:
                lines.append(_DISCOVERED[self.address.text.protocol])
        others = " or ".join(f"--unit {number}" for number in _USUAL_UNITS if number != self.unit)
        where = {"line": self.address.line, "path": self.address.path}
        return [line.format(unit=self.unit, others=others, **where) for line in lines]


#: Protocols whose every question `--protocol` asks.
_DISCOVERED = {
    "megatec": "--protocol megatec instead of --profile asks every question of the family",
    "ydt1363": "--protocol ydt1363 instead of --profile asks for every kind of device under this address",
}

#: Numbers under which a Modbus TCP device without units behind it answers.
_USUAL_UNITS = (1, 255, 0)

_SILENCE = {
    "tcp": [
        "the connection stands, but unit {unit} is silent: try {others}",
        "behind a gateway: is the unit wired, powered and set to this number?",
        "a firewall may let the connection through and not the data; many devices serve only one to four connections",
    ],
    "udp": [
        "nothing came back: is Modbus over UDP switched on in the device, and the port right? Most speak only tcp://",
        "try {others}; behind a gateway: is the unit wired, powered and set to this number?",
        "a firewall may drop datagrams, and an answer from another address than the one that was asked is not taken",
    ],
    "rtu": [
        "nobody answers at {line}: try other line settings, e.g. ?baud=19200 or ?parity=E",
        "swap A and B; check termination (120 Ω at both ends), bias, common ground and power",
        "is the unit set to number {unit}, and is this port the one that is wired ({path})?",
        "not Modbus? Small UPSs answer to --protocol megatec, power plants and batteries to --protocol ydt1363",
    ],
    "rtu+tcp": [
        "the serial server is connected, but unit {unit} is silent: do its line settings match the device's?",
        "is the server in raw TCP mode? If it is a Modbus gateway, write tcp:// instead",
        "swap A and B; check termination (120 Ω at both ends), bias, common ground and power",
    ],
    "ascii+serial": [
        "nobody answers at {line}: try other line settings, e.g. ?baud=19200, or ?data=8&parity=N",
        "swap A and B; check termination (120 Ω at both ends), bias, common ground and power",
        "is the unit set to number {unit}, and to ASCII? Most devices speak RTU: serial://{path}",
    ],
    "ascii+tcp": [
        "the serial server is connected, but unit {unit} is silent: do its line settings match the device's?",
        "is the device set to ASCII? Most speak RTU: write rtu+tcp:// then",
        "swap A and B; check termination (120 Ω at both ends), bias, common ground and power",
    ],
    "tls+tcp": [
        "the secure connection stands, but unit {unit} is silent: try {others}",
        "may the role in our certificate read it? ask whoever set up the device's rights",
    ],
}


_TEXT_SILENCE = [
    "nobody answers at {line}: is this the device's speed, and unit {unit} its address?",
    "RS-232: is the cable crossed, or straight, as this device wants it? RS-485: swap A and B",
    "some devices are powered by the port's control lines, or answer only to their own edition of the protocol",
]


#: Of a device that is only listened to.
_NOTHING_HEARD = [
    "nothing was heard that the profile knows: `collector probe URL --listen 30` shows whatever comes",
    "is the device set to send by itself? A printer speaks only when something happens: --timeout waits longer",
]


def _silence(report: Report) -> list[str]:
    if report.address.text is None:
        return _SILENCE[report.address.kind]
    return _NOTHING_HEARD if report.errors and all(map(listens, report.errors)) else _TEXT_SILENCE


def _suspicions(report: Report) -> list[str]:
    lines = []
    if report.gateway_refusals:
        lines.append("a gateway is there and says that unit {unit} is not: is it wired, powered, set to this number?")
    if report.blocks and report.present and not (report.data or report.lost) and report.address.text is None:
        lines.append("it answers, but refuses all that the profile reads: is it another model, or another unit?")
    if report.strays:
        lines.append(
            f"bytes came that are no frame ({report.strays}): wrong baud or parity, noise, or two units with one number"
        )
    if report.late and not report.address.is_serial:
        doubled = ", or the network doubles datagrams" if report.address.kind == "udp" else ""
        lines.append(
            f"answers carried another transaction id ({report.late}): the device answers after the timeout "
            f"(--timeout), or does not repeat the id{doubled}"
        )
    elif report.late:
        lines.append(f"answers came late or from another unit ({report.late}): raise --timeout, check the unit numbers")
    if report.statistics.bad_frames and not report.address.is_serial:
        spoken = "over UDP" if report.address.kind == "udp" else "TCP"
        lines.append(f"what answers there does not speak Modbus {spoken}: is the port right? (502 is usual)")
    elif report.statistics.bad_frames:
        lines.append(f"answers were damaged ({report.statistics.bad_frames}): noise, or two units with one number")
    return lines


async def probe(
    address: BusAddress,
    unit: int,
    requests: Sequence[Request] = (),
    profile: AnyProfile | None = None,
    *,
    count: int = 5,
    timeout_s: float = 1.0,
    trace: Trace | None = None,
) -> Report:
    """Read `requests` and what `profile` names, `count` times; without both, ask only whether somebody is there.

    Raises LinkUnavailable when the port or host cannot be opened.
    """
    report = Report(address, unit)
    session = await Session.open(str(address), timeout_s=timeout_s, trace=trace, profile=profile)
    report.address = session.address
    report.statistics = session.statistics
    async with session:
        reads = await _first_pass(session, report, requests, profile)
        again = [request for _ in range(count - 1) for request in reads if not listens(request)]
        for request in again:
            if _useless(report):
                break
            await _ask(session, report, request)
        report.late, report.strays = session.late, session.strays
    if isinstance(profile, TextProfile):
        report.identity = _texts(report, profile)
    elif report.present and not report.lost:
        report.identity = await _identity(address, unit, timeout_s)
    return report


def _texts(report: Report, profile: TextProfile) -> dict[str, str]:
    """What a device with a text protocol says of itself: the texts among its answers."""
    said = {}
    for question, data in report.data.items():
        block = report.blocks[question]
        for name, offset in zip(block.points, block.offsets, strict=True):
            point = profile.named(name)
            if point.is_text and (reading := decode_point(profile, point, data, offset)).value is not None:
                said[name] = str(reading.value)
    return said


def listens(question: Question) -> bool:
    """Whether nothing is asked: the device says it by itself."""
    return isinstance(question, Command) and question.unasked


def _useless(report: Report) -> bool:
    """Whether to ask on would only cost time."""
    return bool(report.lost) or (not report.present and report.statistics.reads >= SILENT_AFTER)


async def _ask(session: Session, report: Report, request: Question) -> None:
    """Read once and note what came of it."""
    try:
        report.data[request] = await session.read(request)
        report.errors.pop(request, None)
    except DeviceError as error:
        report.errors[request] = error
        if isinstance(error, DeviceException) and error.gateway:
            report.gateway_refusals += 1
    except LinkUnavailable as error:  # over UDP only the first question tells
        if not report.present:
            raise
        report.lost = str(error)
    except LinkLost as error:
        report.errors[request] = error
        try:
            await session.reopen()
        except LinkUnavailable as closed:
            report.lost = str(closed)


async def _first_pass(
    session: Session, report: Report, requests: Sequence[Request], profile: AnyProfile | None
) -> list[Question]:
    """Ask everything once; the reads worth repeating."""
    for request in requests:
        if not _useless(report):
            await _ask(session, report, request)
    if profile is not None:
        return [*requests, *await _blocks(session, report, profile)]
    if requests:
        return list(requests)
    for trial in TRIALS:
        request = Request(report.unit, *trial)
        await _ask(session, report, request)
        if report.present:
            return [request]
    return [Request(report.unit, *trial) for trial in TRIALS]


async def _blocks(session: Session, report: Report, profile: AnyProfile) -> list[Question]:
    """Read every block of the profile; what the device refuses as illegal address is split as far as it goes."""
    address = report.address
    waiting = plan_any(profile, 1.0, link_cost(address, profile.limits.turnaround_s))
    reads: list[Question] = []
    while waiting and not _useless(report):
        block = waiting.pop(0)
        question = block.question(report.unit)
        await _ask(session, report, question)
        refusal = report.errors.get(question)
        if isinstance(refusal, DeviceException) and refusal.hole:
            parts = parts_of(block, profile)
            if len(parts) > 1:
                del report.errors[question]
                waiting = parts + waiting
                continue
        report.blocks[question] = block
        reads.append(question)
    return reads


async def _identity(address: BusAddress, unit: int, timeout_s: float) -> dict[str, str]:
    try:
        return await identify(address, unit, timeout_s)
    except LinkUnavailable:  # a device may refuse a second connection right after the first
        return {}
