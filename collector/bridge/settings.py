"""The bridge's configuration: strict models of bridge.toml. Defaults live here and nowhere else."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from collector.config_file import Broker, Name, Secret, Strict, load

Seconds = Annotated[float, Field(gt=0, le=3600)]


def _topic_filter(text: str) -> str:
    parts = text.split("/")
    levels_ok = len(parts) == 7 and parts[:2] == ["dc", "v1"] and parts[5] == "data" and "" not in parts
    wildcards_ok = all("+" not in p or p == "+" for p in parts) and all("#" not in p for p in parts[:-1])
    if not (levels_ok and wildcards_ok and ("#" not in parts[-1] or parts[-1] == "#")):
        raise ValueError("a topic filter is written dc/v1/{city}/{site}/{gateway}/data/#, with + for any one")
    return text


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("a database is written http://host:port or https://host:port, credentials apart")
    return url.rstrip("/")


TopicFilter = Annotated[str, AfterValidator(_topic_filter)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Centre(Strict):
    """Which centre this is: the last level of the topics it confirms on."""

    name: Name = "centre"  #: what the `[[uplink]]` of the gateways call it
    city: Name = "city"  #: whose topics are read


class Subscribe(Strict):
    """What is taken from the broker. Several bridges share the load by site, each with topics of its own."""

    topics: tuple[TopicFilter, ...] = ()  #: empty: everything of the city
    window: Annotated[int, Field(ge=1, le=1000)] = 64  #: messages the broker sends before the first is acked
    session_expiry_s: Annotated[int, Field(ge=60, le=4_294_967_294)] = 604_800  #: the broker queues for us that long


class Batch(Strict):
    """How messages are put together to one write."""

    max_kb: Annotated[int, Field(ge=16, le=16_384)] = 2048  #: of one write
    linger_ms: Annotated[int, Field(ge=0, le=10_000)] = 100  #: from the first message of a batch


class Limits(Strict):
    """What one gateway may send, and how much waits in memory."""

    payload_kb: Annotated[int, Field(ge=1, le=262_144)] = 1024  #: of one message
    lines: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000  #: in one payload
    series_per_gateway: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000  #: distinct measurement and tags
    memory_mb: Annotated[int, Field(ge=4, le=16_384)] = 64  #: payloads waiting; above it the broker is not read


class Sqlite(Strict):
    """The embedded store, for a demo or a small site."""

    path: str = "/var/lib/collector-bridge/store.db"  #: the file
    max_points: Annotated[int, Field(ge=1000, le=10_000_000_000)] = 100_000_000  #: the oldest go, counted, above this


class InfluxV2(Strict):
    """The v2 write API: InfluxDB 2.x, InfluxDB 3 Core, VictoriaMetrics."""

    url: HttpUrl  #: http://host:port or https://host:port
    bucket: str  #: where to write
    org: str = ""  #: empty where the server knows none
    token: Secret | None = None  #: where it is kept
    gzip: bool = False  #: compress each write: for a database on another machine
    ca: str | None = None  #: PEM file of the authorities to trust; None: those that come with certifi
    timeout_s: Seconds = 30.0  #: of one write


class InfluxV1(Strict):
    """The v1 `/write`: InfluxDB 1.x."""

    url: HttpUrl  #: http://host:port or https://host:port
    database: str  #: where to write
    retention: str = ""  #: retention policy; empty: the database's default
    username: str | None = None  #: as the database knows us
    password: Secret | None = None  #: where it is kept
    gzip: bool = False  #: compress each write: for a database on another machine
    ca: str | None = None  #: PEM file of the authorities to trust; None: the system's
    timeout_s: Seconds = 30.0  #: of one write


class Store(Strict):
    """Where the readings go. Exactly one of the three."""

    sqlite: Sqlite | None = None
    influx_v2: InfluxV2 | None = None
    influx_v1: InfluxV1 | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "Store":
        if sum(v is not None for v in (self.sqlite, self.influx_v2, self.influx_v1)) != 1:
            raise ValueError("give exactly one of [store.sqlite], [store.influx_v2], [store.influx_v1]")
        return self


class DeadLetter(Strict):
    """Where what can never be stored is kept for somebody to look at."""

    #: JSON lines; the older half is beside it, with `.1` behind its name
    path: str = "/var/lib/collector-bridge/dead_letter.jsonl"
    max_mb: Annotated[int, Field(ge=1, le=100_000)] = 64  #: two files of half of it; the older one is overwritten


class Health(Strict):
    """What the bridge says of itself."""

    interval_s: Seconds = 10.0  #: how often the status file is written
    status_file: str = "/run/collector-bridge/status.json"  #: empty: none


class Settings(Strict):
    """bridge.toml."""

    centre: Centre = Centre()
    broker: Broker = Broker(tls="off")  #: the centre's own
    subscribe: Subscribe = Subscribe()
    batch: Batch = Batch()
    limits: Limits = Limits()
    store: Store = Store(sqlite=Sqlite())
    dead_letter: DeadLetter = DeadLetter()
    health: Health = Health()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topic filters to subscribe to."""
        return self.subscribe.topics or (f"dc/v1/{self.centre.city}/+/+/data/#",)

    @property
    def client_id(self) -> str:
        """Names the durable session at the broker: it must stay the same over restarts."""
        return self.broker.client_id or f"bridge-{self.centre.name}"


def load_settings(path: Path) -> Settings:
    """Read bridge.toml. Raises ConfigError with every mistake."""
    return load(path, Settings)
