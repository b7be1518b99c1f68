import signal
import subprocess
import sys

import pytest

from drivers.ascii.pattern import MAX_PATTERN, slow_parts


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(?P<t>[+-]?\d+(?:\.\d+)?)C,(?P<h>\d{3}\.\d)%$",
        r"(?P<date>\d{4}-\d{2}-\d{2}) +(?P<loop>\d{1,3})-(?P<addr>\d{1,3}) +(?P<what>火警|故障|恢复|火灾)(?P<rest>.*)",
        r"(?:ab|ac|b)x",
        r"(?:a|ab)c",  # Python itself reads it as ab?c
        r"[^,]*,[^,]*,(?P<v>[^,]*)",
        r"[\u4e00-\u9fff]+[0-9]+",
        r"(?P<a>x)?y",
        r"x\s*$",
        r"(?:\d+,)+;",
        r"\d*+\d",  # possessive: never goes back, so it never matches, but that quickly
    ],
)
def test_a_pattern_that_knows_its_way_is_allowed(pattern):
    assert slow_parts(pattern) == []


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a+)+b", "begin like what follows"),
        (r"(?:a|a)*b", "begin alike"),
        (r"(?:a|ab)b", "begin alike"),
        (r"(?:a|b|ab)c", "begin alike"),
        (r".*,", "begin like what follows"),
        (r".*?,", "begin like what follows"),
        (r"\d+\.?\d*", "begin like what follows"),
        (r"(?:\d+,)*\d+;", "begin like what follows"),
        (r"\w+[é]", "begin like what follows"),
        (r"[一-龥]+温", "begin like what follows"),
        (r"\s*\W", "begin like what follows"),
        (r"(?:x*)*y", "may be empty"),
        (r"(?:a?b?)+c", "may be empty"),
        (r"(?=a)b", "looks around"),
        (r"(?<!a)b", "looks around"),
        (r"(?P<a>x)(?P=a)", "looks around"),
        (r"(?P<a>x)?(?(a)y|z)", "looks around"),
        (r"(?i)abc", "flags"),
        (r"(?i:abc)", "flags"),
        (r"(?P<a>", "no regular expression"),
        (r"x{1000000000000}", "no regular expression"),
        ("x" * (MAX_PATTERN + 1), "characters long"),
    ],
)
def test_a_pattern_that_may_lose_its_way_is_refused_with_a_reason(pattern, reason):
    found = slow_parts(pattern)
    assert any(reason in said for said, _ in found), found
    assert all(hint for _, hint in found)


#: Looks for a pattern in fifty a and a c, within a second of CPU time.
SEARCH = """
import re, resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (1, 3))
print(re.search(sys.argv[1], "a" * 50 + "c"))
"""


@pytest.mark.parametrize(("pattern", "end"), [(r"a*+b", 0), (r"(?:a+)b", 0), (r"(a+)+b", -signal.SIGXCPU)])
def test_what_is_refused_would_really_not_end(pattern, end):
    """The twin: what is allowed is done at once, the other one is ended by the kernel."""
    assert bool(slow_parts(pattern)) == bool(end)
    done = subprocess.run([sys.executable, "-c", SEARCH, pattern], capture_output=True, check=False)
    assert done.returncode == end
