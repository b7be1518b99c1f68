"""What a bridge's status file says, as `collector status` shows it."""

from collections.abc import Iterator, Mapping
from typing import Any

from collector.wording import counted


def is_well(status: Mapping[str, Any]) -> bool:
    """Whether the bridge has its broker and its database."""
    return bool(status["broker"]["connected"]) and not status["store"]["error"]


def report(status: Mapping[str, Any], warning: str) -> Iterator[str]:
    """Lines of rich markup; `warning` ends the first. Raises LookupError or TypeError where the status is strange."""
    from rich.markup import escape

    messages, lines, points = status["messages"], status["lines"], status["points"]
    broker, store = status["broker"], status["store"]
    centre = escape(str(status["centre"]))
    yield f"[bold]bridge {centre}[/] up {status['uptime_s']:.0f} s, version {status['version']}{warning}"
    if broker["connected"]:
        yield f"broker {escape(broker['url'])}: connected"
    else:
        why = escape(broker["error"] or "no answer yet")
        yield f"[red]broker {escape(broker['url'])}: not connected for {broker['down_s']:.0f} s: {why}[/]"
    if store["error"]:
        yield f"[red]store {escape(store['name'])}: down for {store['down_s']:.0f} s: {escape(store['error'])}[/]"
    else:
        yield f"store {escape(store['name'])}: well"
    yield (
        f"messages received {messages['received']}, stored {messages['stored']}, "
        f"rejected {_reasons(messages['rejected'])}, waiting {messages['held']} ({status['held_bytes'] / 1e6:.1f} MB)"
    )
    yield f"lines written {lines['written']}, dropped {_reasons(lines['dropped'])}"
    yield f"points written {points['written']}, dropped {points['dropped']}"
    yield (
        f"writes {status['requests']}, tried again {status['retries']}; rows confirmed {status['confirmed']}, "
        f"confirmations failed {status['confirmations_failed']}"
    )
    if status["dead_letters"] or status["dead_letters_lost"]:
        lost = status["dead_letters_lost"]
        more = f"; [red]{lost} more could not even be kept[/]" if lost else ""
        yield f"[yellow]{counted(status['dead_letters'], 'dead letter')}: look into dead_letter.path[/]{more}"


def _reasons(counts: Mapping[str, int]) -> str:
    told = ", ".join(f"{number} {reason}" for reason, number in counts.items() if number)
    return told or "nothing"
