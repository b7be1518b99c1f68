"""A spool without a disk: the same promises towards its readers, for tests that are not about the disk."""

import zlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from collector.errors import SpoolError
from collector.types import Row


class MemorySpool:
    """Answers from a thread of its own, as the real one does. `broken` makes every call fail.

    Lazy acks wait for one that is not, for ever if need be, while `patient`.
    """

    spool_id = "1f2e3d4c"

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.next_seq = 1
        self.acked: list[int] = []
        self.broken = False
        self.patient = False
        self.lazy: list[tuple[Future, list[int]]] = []  #: acks that wait
        self._thread = ThreadPoolExecutor(1)

    def add(self, count: int, size: int = 100, category: str = "power") -> list[int]:
        """Commit `count` rows of `size` bytes; their seqs."""
        seqs = list(range(self.next_seq, self.next_seq + count))
        for seq in seqs:
            payload = f"row {seq} ".encode().ljust(size, b".")
            self.rows[seq] = Row(seq, category, seq * 10**9, 1, zlib.crc32(payload), payload)
        self.next_seq += count
        return seqs

    def listed(self, seqs: Iterable[int]) -> list[Row]:
        """The rows of these seqs, as the spool tells them to its listeners."""
        return [self.rows[seq] for seq in seqs]

    def fetch(self, uplink: str, *, after_seq: int, limit_bytes: int, before_seq: int | None = None) -> Future:
        return self._thread.submit(self._fetch, after_seq, limit_bytes, before_seq)

    def ack(self, uplink: str, seqs: Iterable[int], *, lazily: bool = False) -> Future:
        if lazily and self.patient:
            self.lazy.append((Future(), list(seqs)))
            return self.lazy[-1][0]
        return self._thread.submit(self._ack, list(seqs))

    def close(self) -> None:
        self._thread.shutdown()

    def _fetch(self, after: int, limit: int, before: int | None) -> list[Row]:
        self._check()
        rows: list[Row] = []
        for seq in sorted(self.rows):
            if after < seq < (self.next_seq if before is None else before):
                if rows and sum(len(r.payload) for r in rows) + len(self.rows[seq].payload) > limit:
                    break
                rows.append(self.rows[seq])
        return rows

    def _ack(self, seqs: list[int]) -> int:
        self._check()
        waiting, self.lazy = self.lazy, []
        for future, others in waiting:
            future.set_result(self._free(others))
        return self._free(seqs)

    def _free(self, seqs: list[int]) -> int:
        self.acked += seqs
        return sum(self.rows.pop(seq, None) is not None for seq in seqs)

    def _check(self) -> None:
        if self.broken:
            raise SpoolError("disk on fire")
