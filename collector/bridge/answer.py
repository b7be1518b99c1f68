"""What an answer to a write means. Pure: status, headers and text in, one of our errors out.

The servers differ in what they did with the good lines of a rejected body, and say so only in words (InfluxDB 1.x,
2.x, 3; VictoriaMetrics): this is the table of those words.
"""

import json
import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from collector.errors import LinesRejected, StoreBusy, StoreError, StoreRefused, StoreTooLarge

#: A server may ask for any pause; longer than this and its recovery would go unnoticed.
MAX_RETRY_AFTER_S = 300.0
#: Of what a server says, this much goes to logs and dead letters.
MAX_TEXT = 300

#: 408 deadline, 429 quota, 499 client gone (a proxy's word): later. All of 5xx too: OSS 2.x says 500 to overload.
_BUSY = frozenset({408, 429, 499})
_PARTIAL_RE = re.compile(r"partial write|\bdropped\b", re.IGNORECASE)
_ABOUT_LINES_RE = re.compile(
    r"unable to parse|parsing error|parse error|field type conflict|beyond retention|invalid field|max key length",
    re.IGNORECASE,
)
_QUOTED_RE = re.compile(r"unable to parse '(.*?)': ")
_DROPPED_RE = re.compile(r"dropped[ =](\d{1,9})\b")


def error_of(name: str, status: int, headers: Mapping[str, str], text: str, now_ns: int) -> StoreError | None:
    """None when the body was stored, else the error to raise. Only 204 means stored: a proxy also says 200.

    `name` is the database, for the message.
    """
    if status == 204:
        return None
    data = _json(text)
    words = _words(data, text)
    said = f"{name}: HTTP {status}: {words[:MAX_TEXT]}"
    if status == 413:
        return StoreTooLarge(said)
    if status in _BUSY or status >= 500:
        return StoreBusy(said, retry_after_s(headers.get("Retry-After"), now_ns))
    if status in (400, 422):
        partial = _PARTIAL_RE.search(words) is not None
        dropped = _DROPPED_RE.search(words)
        return LinesRejected(
            said,
            others_written=partial,
            lines=_named(data, words),
            dropped=int(dropped[1]) if dropped else None,
        )
    return StoreRefused(said)


def is_about_lines(error: LinesRejected) -> bool:
    """Whether the server's words blame lines; a 400 can as well blame the request ("database is required")."""
    return error.others_written or bool(error.lines) or _ABOUT_LINES_RE.search(str(error)) is not None


def retry_after_s(value: str | None, now_ns: int) -> float | None:
    """Seconds that `Retry-After` asks for, 0 to MAX_RETRY_AFTER_S; None when it asks for nothing that makes sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now_ns / 1e9
        except (ValueError, TypeError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _words(data: dict[str, Any], text: str) -> str:
    """The human part: `error` in 1.x and 3, `message` in 2.x, all of it from a proxy."""
    for key in ("message", "error"):
        if isinstance(data.get(key), str):
            return str(data[key])
    return text


def _named(data: dict[str, Any], words: str) -> tuple[bytes, ...]:
    """Lines the server names as bad: quoted in 1.x and 2.x, as data in 3."""
    named = _QUOTED_RE.findall(words)
    details = data.get("data")
    for detail in details if isinstance(details, list) else [details]:
        if isinstance(detail, dict) and isinstance(detail.get("original_line"), str):
            named.append(detail["original_line"])
    return tuple(line.encode(errors="surrogateescape") for line in named)
