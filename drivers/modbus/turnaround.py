"""How long each unit thinks at least before it answers, as it was seen lately."""

#: The smallest of this many answers counts, and of as many before them: a unit may get slower.
ANSWERS = 64
#: A unit that was never heard may answer at once.
UNKNOWN_S = 0.0


class Turnarounds:
    """The smallest turnaround of each unit over the last ANSWERS to 2 * ANSWERS answers; seconds."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float, int]] = {}  # unit → smallest before, smallest now, answers now

    def least(self, unit: int) -> float:
        """An answer of `unit` will hardly begin sooner after the end of the question."""
        before, now, _ = self._seen.get(unit, (UNKNOWN_S, UNKNOWN_S, 0))
        return min(before, now)

    def saw(self, unit: int, turnaround_s: float) -> None:
        """`unit` needed `turnaround_s`, or at most that."""
        turnaround_s = max(0.0, turnaround_s)
        before, now, answers = self._seen.get(unit, (turnaround_s, turnaround_s, 0))
        now = min(now, turnaround_s)
        if answers < ANSWERS:
            self._seen[unit] = before, now, answers + 1
        else:
            self._seen[unit] = now, turnaround_s, 1
