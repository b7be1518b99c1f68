"""What can go wrong between us and a device.

    DriverError
    ├── LinkError            nothing behind this link can be reached; open it again
    │   ├── LinkUnavailable  refused, unreachable, no such port, no permission
    │   └── LinkLost         it was open and ended
    ├── DeviceError          one request failed; the link is usable
    │   ├── NoAnswer         silence until the deadline
    │   ├── BadFrame         an answer came but is not one: CRC, unit, function, length
    │   │   └── OtherUnit    a sound answer, but of another unit
    │   │       └── Unasked  a sound frame, but no answer
    │   └── DeviceException  the device answered "no", with a Modbus exception code
    │       └── Refused      the same in a text protocol, with that protocol's own code
    │           └── AskAgain the device wants the question once more, at once
    └── ProfileError         a profile or address string that cannot be used (permanent)

`retryable` tells whether the same request may succeed later.
"""


class DriverError(Exception):
    """Base of the tree."""

    retryable = True


class LinkError(DriverError):
    """The way to the device is closed."""


class LinkUnavailable(LinkError):
    """The link could not be opened."""


class LinkLost(LinkError):
    """The link was open and ended."""


class DeviceError(DriverError):
    """One request failed."""


class NoAnswer(DeviceError):
    """Silence until the deadline."""


class BadFrame(DeviceError):
    """An answer that is not one."""


class OtherUnit(BadFrame):
    """A sound answer of another unit than the one that was asked."""

    def __init__(self, unit: int, asked: int) -> None:
        self.unit = unit
        super().__init__(f"asked unit {asked}, answered unit {unit}")


class Unasked(OtherUnit):
    """A sound frame that a device sent by itself while an answer was awaited: it answers nothing."""

    def __init__(self) -> None:
        self.unit = -1
        BadFrame.__init__(self, "is sent by the device itself, not the answer")


#: Modbus application protocol V1.1b3, section 7
EXCEPTION_NAMES = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge, still working",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target failed to respond",
}

#: Some register of the read does not exist, or the device does not read so many at once.
HOLE_EXCEPTIONS = frozenset({2, 3})
#: The device has begun with it and needs long: asking again at once would only find it at work.
STILL_WORKING = 5
#: The request itself is wrong for this device: asking again is useless.
PERMANENT_EXCEPTIONS = frozenset({1, 2, 3})
#: A gateway speaks for a silent unit: the connection is fine, the unit is not.
GATEWAY_EXCEPTIONS = frozenset({10, 11})


class DeviceException(DeviceError):
    """The device answered with an exception code.

    `hole`: a part of what was asked may exist, so asking for less may succeed. `gateway`: not the unit said it.
    `pending`: only later, not at once, may the same question succeed.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        self.retryable = code not in PERMANENT_EXCEPTIONS
        self.hole = code in HOLE_EXCEPTIONS
        self.pending = code == STILL_WORKING
        self.gateway = code in GATEWAY_EXCEPTIONS
        super().__init__(f"exception {code} ({EXCEPTION_NAMES.get(code, 'unknown code')})")


class Refused(DeviceException):
    """The device answered "no" in a text protocol. `retryable`: False when the same command will never be answered."""

    hole = gateway = pending = False

    def __init__(self, code: int, reason: str, *, retryable: bool) -> None:
        self.code = code
        self.retryable = retryable
        DeviceError.__init__(self, reason)


class AskAgain(Refused):
    """The device wants the question once more, at once: as it was (`question` None), or another one from now on."""

    def __init__(self, code: int, reason: str, question: bytes | None) -> None:
        self.question = question
        super().__init__(code, reason, retryable=True)


#: Of a profile or an address: the key at fault, the reason, and a hint what to do.
Mistake = tuple[str, str, str]


class ProfileError(DriverError):
    """A profile or an address that cannot be used. `findings` holds (key, reason, hint) of every mistake.

    An empty key: the whole of it.
    """

    retryable = False

    def __init__(self, subject: str, findings: list[Mistake]) -> None:
        self.subject = subject
        self.findings = findings
        lines = [
            (f"{key}: " if key else "") + reason + (f" — {hint}" if hint else "") for key, reason, hint in findings
        ]
        whole = len(findings) == 1 and not findings[0][0]
        super().__init__(f"{subject}: {lines[0]}" if whole else "\n  ".join([f"{subject}:", *lines]))
