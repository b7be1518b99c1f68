"""What an answer of a serial device costs that only its profile describes, and what the worst text costs a pattern.

    .venv/bin/python benchmarks/bench_ascii.py

An answer: found in the bytes, checked, taken apart, packed as a register image; the median in microseconds of CPU time.
A pattern: one search in a text of the greatest length, made so that it fails as late as it can, in milliseconds.
"""

import json
import statistics
import time
from functools import partial
from pathlib import Path

from drivers.ascii.framing import MAX_BYTES
from drivers.ascii.layout import compiled
from drivers.ascii.pattern import slow_parts
from drivers.ascii.profile import AsciiProfile
from drivers.profile import load_profile, profile_names

CALLS = 3000
RESULTS = Path(__file__).parent / "results" / "ascii.json"
#: Allowed patterns and the characters that keep each of them busy.
WORST = {
    r"[^,]*,[^,]*,(?P<v>[^,]*)": "a",
    r"(?:\d+,)+;": "1,",
    r"\d+\.\d+C": "1",
    r" *(?P<t>[+-]?\d+) *;": " ",
}


def median(call, times):
    """Seconds of CPU time of one `call`."""
    taken = []
    for _ in range(times):
        begin = time.process_time_ns()
        call()
        taken.append(time.process_time_ns() - begin)
    return statistics.median(taken) / 1e9


def answers():
    """(profile and command, points, microseconds of an answer)"""
    for name in profile_names():
        profile = load_profile(name)
        if not isinstance(profile, AsciiProfile):
            continue
        for command in profile.command:
            asked = profile.ask(command.name, 1)
            frame = profile.answer(command, 1, profile.known[command.name][0][0])

            def found_and_read(asked=asked, frame=frame):
                begin, end = asked.framing.find(frame, silent=False)
                asked.read(frame[begin:end])

            yield f"{name} {command.name}", len(profile.points_of(command.name)), 1e6 * median(found_and_read, CALLS)


def main():
    rows = [{"answer": what, "points": points, "us": round(us, 1)} for what, points, us in answers()]
    print(f"{'an answer':<34}{'points':>8}{'µs':>8}")
    for row in rows:
        print(f"{row['answer']:<34}{row['points']:>8}{row['us']:>8.1f}")
    worst = []
    print(f"\n{f'the worst text of {MAX_BYTES} characters for':<42}{'ms':>8}")
    for pattern, busy in WORST.items():
        assert not slow_parts(pattern), pattern
        text = (busy * MAX_BYTES)[:MAX_BYTES]
        seconds = median(partial(compiled(pattern).search, text), 20)
        worst.append({"pattern": pattern, "ms": round(1e3 * seconds, 2)})
        print(f"{pattern:<42}{worst[-1]['ms']:>8.2f}")
    RESULTS.write_text(json.dumps({"answers": rows, "patterns": worst}, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
