"""The bridge's word to a gateway: these rows are in the database. JSON on `…/ack/{centre}`, both sides of it.

`{"spool": "1f2e3d4c", "seqs": [[1, 7], [9, 9]]}`: ranges, both ends included, of rows of that spool.
"""

import json
from collections.abc import Iterable

#: Ranges in one message; what needs more goes into the next one.
MAX_RANGES = 512
#: A message of MAX_RANGES with 20-digit numbers; anything larger is not ours and is not parsed.
MAX_BYTES = 32 << 10


def ranges(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """The first and the last of each run of consecutive numbers in `seqs`, in order."""
    found: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if found and seq <= found[-1][1] + 1:
            found[-1] = found[-1][0], seq
        else:
            found.append((seq, seq))
    return found


def encode(spool_id: str, seqs: Iterable[int]) -> list[bytes]:
    """The messages that confirm `seqs`, in any order, of one spool."""
    found = ranges(seqs)
    return [
        json.dumps({"spool": spool_id, "seqs": found[i : i + MAX_RANGES]}, separators=(",", ":")).encode()
        for i in range(0, len(found), MAX_RANGES)
    ]


def decode(payload: bytes) -> tuple[str, list[tuple[int, int]]]:
    """The spool's id and the ranges, each first <= last. Raises ValueError for anything else."""
    if len(payload) > MAX_BYTES:
        raise ValueError(f"confirmation of {len(payload)} bytes: at most {MAX_BYTES}")
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"confirmation is not JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("spool"), str) or not isinstance(body.get("seqs"), list):
        raise ValueError("confirmation without spool and seqs")
    if len(body["seqs"]) > MAX_RANGES:
        raise ValueError(f"confirmation with {len(body['seqs'])} ranges: at most {MAX_RANGES}")
    return body["spool"], [_range(item) for item in body["seqs"]]


def _range(item: object) -> tuple[int, int]:
    if isinstance(item, list) and len(item) == 2 and all(type(end) is int for end in item) and 0 < item[0] <= item[1]:
        return item[0], item[1]
    raise ValueError("confirmation with something that is no range [first, last]")
