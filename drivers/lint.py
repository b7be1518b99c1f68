"""Lint."""

from typing import NamedTuple

from drivers.profile import Profile


class Finding(NamedTuple):
    """One mistake: where, what, and what to do."""

    key: str
    reason: str
    hint: str


def lint(profile: Profile) -> list[Finding]:
    """Every mistake of content in a profile whose form is right; empty when there is none."""
    return []
