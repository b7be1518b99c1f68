"""The bridge with its central rule taken out: what it has received counts as stored, whatever the database says."""

from contextlib import suppress

from collector.bridge.influx import InfluxV1Store
from collector.cli import main
from collector.errors import StoreError

write = InfluxV1Store.write


def acknowledge_anyway(self: InfluxV1Store, body: bytes) -> None:
    with suppress(StoreError):
        write(self, body)


InfluxV1Store.write = acknowledge_anyway
main()
