"""What the bridge writes to: the interface of every database, and the choice of one."""

from typing import Protocol

from collector.bridge.settings import Settings
from collector.clock import Clock


class Store(Protocol):
    """A database. Called from one worker thread; may block for as long as its timeout."""

    name: str  #: for messages: kind and place, no secret

    def write(self, body: bytes) -> None:
        """Store every line of `body`; returns only when they are durable as far as this database can say.

        Writing the same lines again changes nothing. Raises LinesRejected, StoreTooLarge, StoreBusy or StoreRefused.
        """

    def close(self) -> None:
        """Give up connections and files."""


def open_store(settings: Settings, clock: Clock) -> Store:
    """The configured database. Opens files, but no connection: a database that is down is `StoreBusy` at write.

    Raises StoreRefused (a file that cannot be used) or ConfigError (a secret that cannot be had).
    """
    store = settings.store
    if store.sqlite is not None:
        from collector.bridge.sqlite_store import SqliteStore  # one of three: each is loaded only where it is used

        return SqliteStore.open(store.sqlite)
    from collector.bridge.influx import InfluxV1Store, InfluxV2Store

    if store.influx_v2 is not None:
        return InfluxV2Store(store.influx_v2, clock)
    assert store.influx_v1 is not None  # the model takes exactly one
    return InfluxV1Store(store.influx_v1, clock)
