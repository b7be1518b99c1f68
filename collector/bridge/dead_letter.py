"""What can never be stored, kept for somebody to look at: JSON lines in a file of bounded size."""

import base64
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from collector.bridge.check import BadLine, Reason
from collector.clock import Clock

#: Of one payload or line this much is kept; a hostile one may not push the others out.
MAX_KEPT_BYTES = 65_536


class DeadLetters:
    """Two files: `path` and, when that has grown to half of the cap, `path.1`, which is overwritten."""

    def __init__(self, path: Path, max_bytes: int, clock: Clock) -> None:
        self._path = path
        self._half = max_bytes // 2
        self._clock = clock

    def payload(self, topic: str, reason: Reason, payload: bytes) -> dict[str, Any]:
        """The record of a rejected message."""
        return {"ts_ns": self._clock.now_ns(), "topic": topic, "reason": reason.value} | _text(payload)

    def line(self, topic: str, bad: BadLine) -> dict[str, Any]:
        """The record of one rejected line; `topic` is empty where several messages went into one write."""
        record: dict[str, Any] = {"ts_ns": self._clock.now_ns(), "topic": topic, "reason": bad.reason.value}
        return record | ({"detail": bad.detail} if bad.detail else {}) | _text(bad.line)

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Append and fsync. Blocks. Raises OSError."""
        size = self._path.stat().st_size if self._path.exists() else 0
        pending: list[str] = []
        for record in records:
            text = json.dumps(record) + "\n"
            if size and size + len(text) > self._half:
                self._append(pending)
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                pending, size = [], 0
            pending.append(text)
            size += len(text)
        self._append(pending)

    def _append(self, texts: list[str]) -> None:
        if not texts:
            return
        with self._path.open("a", encoding="ascii") as file:
            file.writelines(texts)
            file.flush()
            os.fsync(file.fileno())


def _text(data: bytes) -> dict[str, Any]:
    """As text where it is printable, else base64; `bytes` is the full length where it was cut."""
    kept = data[:MAX_KEPT_BYTES]
    cut = {"bytes": len(data)} if len(data) > len(kept) else {}
    try:
        return {"text": kept.decode()} | cut
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(kept).decode()} | cut
