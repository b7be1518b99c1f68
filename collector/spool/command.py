"""What the spool's thread is asked to do."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from collector.spool.file import SpoolFile
from collector.types import Row

Kind = Literal["append", "ack", "fetch", "quarantine"]


@dataclass(frozen=True, slots=True)
class Command:
    """Work on the file and the future of its result. All but a fetch write."""

    kind: Kind
    run: Callable[[SpoolFile], Any]
    future: "Future[Any]"
    rows: Sequence[Row] = ()  #: what it appends
    hold_s: float = 0.0  #: how long it may wait for others to share their commit

    def resolve(self, result: Any) -> None:
        """Answer: with a value, or by failing with an exception."""
        if isinstance(result, Exception):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


def transact(file: SpoolFile, commands: list[Command]) -> list[Any]:
    """Run all in one transaction. Returns their results; a ValueError is its own caller's and fails nobody else."""
    with file.transaction():
        return [_outcome(command, file) for command in commands]


def _outcome(command: Command, file: SpoolFile) -> Any:
    try:
        return command.run(file)
    except ValueError as error:  # raised before any change
        return error
