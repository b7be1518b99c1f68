"""Every error the collector raises, split by who must act.

    CollectorError
    ├── ConfigError        the operator: a setting is wrong; lists every finding at once
    ├── SpoolError         the disk
    │   ├── SpoolFull      (transient) the cap or the disk is full and nothing may be dropped
    │   ├── SpoolLocked    (permanent) another process owns the file
    │   └── SpoolUnusable  (permanent) future schema or not a spool: kept, never overwritten
    ├── UplinkError        the network or the broker
    │   ├── UplinkLost     (transient) the connection ended; try again with back-off
    │   ├── UplinkRefused  (permanent until somebody acts) credentials, ACL, TLS
    │   └── PayloadRefused (permanent for this row) the broker will never take it
    └── StoreError         the database behind the bridge
        ├── StoreBusy      (transient) keep the rows and try again, after `retry_after_s` if given
        ├── StoreRefused   (permanent until somebody acts) 401, 403, 404: keep the rows, raise the alarm
        ├── StoreTooLarge  (permanent for this body) send it in halves
        └── LinesRejected  (permanent for these lines) the rest of the batch may be good

The field's errors are in `drivers.errors`. A message says object, action, reason, numbers and, where known, a hint.
"""

from dataclasses import dataclass

from collector.wording import counted


class CollectorError(Exception):
    """Base of the tree. `retryable` is True where the same call may succeed later without anybody's help."""

    retryable = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake in a configuration: where it stands, what is wrong, what to do. An empty key: the whole file."""

    file: str
    key: str
    value: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        hint = f" — {self.hint}" if self.hint else ""
        where = f"{self.key}{shown}: " if self.key else ""
        return f"{self.file}: {where}{self.reason}{hint}"


class ConfigError(CollectorError):
    """A configuration that cannot be used. `findings` holds every mistake, not the first."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        count = counted(len(findings), "mistake")
        super().__init__("\n".join([f"{count} in the configuration:", *(f"  {f}" for f in findings)]))


class SpoolError(CollectorError):
    """The disk refused."""


class SpoolFull(SpoolError):
    """The cap or the disk is full and nothing may be dropped."""

    retryable = True


class SpoolLocked(SpoolError):
    """Another process owns the spool."""


class SpoolUnusable(SpoolError):
    """The file is not a spool of this version and must not be touched."""


class UplinkError(CollectorError):
    """The broker or the way to it."""


class UplinkLost(UplinkError):
    """The connection ended, or could not be made."""

    retryable = True


class UplinkRefused(UplinkError):
    """The broker knows us and says no."""


class PayloadRefused(UplinkError):
    """One message is not acceptable; the connection is fine."""


class StoreError(CollectorError):
    """The database behind the bridge."""


class StoreBusy(StoreError):
    """Unreachable, overloaded or restarting: keep the rows and try again."""

    retryable = True

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class StoreRefused(StoreError):
    """The database says no until somebody acts."""


class StoreTooLarge(StoreError):
    """The body exceeds the server's limit."""


class LinesRejected(StoreError):
    """Some lines can never be stored. `others_written` tells whether the good ones of the same body were.

    `lines` holds the bad ones and `dropped` their number, as far as the database says.
    """

    def __init__(
        self, message: str, *, others_written: bool, lines: tuple[bytes, ...] = (), dropped: int | None = None
    ) -> None:
        self.others_written = others_written
        self.lines = lines
        self.dropped = dropped
        super().__init__(message)
