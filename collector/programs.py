"""The programs of derived points, packed for the decode kernel."""

from collections.abc import Mapping, Sequence

import numpy as np

from collector.kernels import decode as kernels

#: drivers.formula's operators → the kernel's.
_CODES = {"+": kernels.ADD_UP, "-": kernels.SUBTRACT, "*": kernels.MULTIPLY, "/": kernels.DIVIDE, "~": kernels.NEGATE}
Program = tuple[float | int | str, ...]


class Programs:
    """What each block computes, block by block; blocks of one layout share their programs.

    After `pack`: block b owns `computed[first[b]:first[b + 1]]`, each with its member of the block and its
    `operations`, whose numbers are in `constants`.
    """

    def __init__(self) -> None:
        self.first = np.zeros(1, np.int64)
        self.computed = np.empty((0, kernels.COMPUTED_COLUMNS), np.int32)
        self.operations = np.empty((0, kernels.OPERATION_COLUMNS), np.int32)
        self.constants = np.empty(0, np.float64)
        self._counts: list[int] = []
        self._computed: list[tuple[int, int, int]] = []
        self._operations: list[tuple[int, int]] = []
        self._constants: dict[float, int] = {}
        self._known: dict[tuple[tuple[int, int], ...], tuple[int, int]] = {}

    def add(self, computed: Sequence[tuple[int, Program]], member_of: Mapping[int, int]) -> None:
        """The next block's programs as (member, program); `member_of` tells the member of each of the block's points.

        Raises ValueError for a program that computes with a text.
        """
        for member, program in computed:
            operations = tuple(self._operation(token, member_of) for token in program)
            if operations not in self._known:
                begin = len(self._operations)
                self._operations += operations
                self._known[operations] = (begin, len(self._operations))
            self._computed.append((member, *self._known[operations]))
        self._counts.append(len(computed))

    def pack(self) -> None:
        """Make the arrays anew."""
        self.first = np.cumsum([0, *self._counts], dtype=np.int64)
        self.computed = np.array(self._computed, np.int32).reshape(-1, kernels.COMPUTED_COLUMNS)
        self.operations = np.array(self._operations, np.int32).reshape(-1, kernels.OPERATION_COLUMNS)
        self.constants = np.array([*self._constants], np.float64)

    def _operation(self, token: float | int | str, member_of: Mapping[int, int]) -> tuple[int, int]:
        if isinstance(token, str):
            return _CODES[token], 0
        if isinstance(token, float):
            return kernels.CONSTANT, self._constants.setdefault(token, len(self._constants))
        if token not in member_of:
            raise ValueError("a derived point computes with a text")
        return kernels.MEMBER, member_of[token]
