"""The daemon's configuration: strict models of collector.toml. Defaults live here and nowhere else."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from collector.config_file import Broker, Name, Strict, parse, read
from collector.errors import ConfigError, Finding
from collector.references import cross_check

FilePath = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Seconds = Annotated[float, Field(gt=0, le=86400)]


class Gateway(Strict):
    """Who we are: the first tags of every line and the topic of every message."""

    city: Name = "city"  #: first level of every topic, and a tag of every line
    site: Name = "site"  #: likewise
    name: Name = "gateway"  #: likewise; no two gateways of a site may share one


class Poll(Strict):
    """How devices are asked, and when one counts as down."""

    #: how often what arrived is committed; also the most that is lost on power failure
    tick_s: Annotated[float, Field(ge=0.1, le=10)] = 0.5
    down_after_failures: Annotated[int, Field(ge=1, le=100)] = 3  #: a unit is down after so many failures in a row ...
    #: ... and so many seconds without an answer; both must be reached
    down_after_s: Annotated[float, Field(ge=0, le=3600)] = 3.0
    probe_min_s: Seconds = 1.0  #: first pause before a unit that is down is asked again; doubles
    #: ... up to this, or longer where others answer on the same line: all probes together take a hundredth of it
    probe_max_s: Seconds = 60.0


class Filter(Strict):
    """What is published of what was read."""

    publish: Literal["changes", "all"] = "changes"  #: what moved by more than the point's deadband, or every reading
    heartbeat_s: Seconds = 60.0  #: an unchanged value is published again after this time, freshly read


class Aggregate(Strict):
    """Windows of statistics, aligned to UTC."""

    #: length of each, in seconds; empty: none
    windows_s: Annotated[tuple[Annotated[int, Field(ge=1, le=86400)], ...], Field(max_length=4)] = (60,)


class Spool(Strict):
    """The disk that everything published waits on until every centre has confirmed it."""

    path: FilePath = "/var/lib/collector/spool.db"  #: the file; on a local disk, never on a network share
    max_mb: Annotated[int, Field(ge=8, le=1_000_000)] = 2048  #: oldest rows are dropped, and counted, above this
    reserve_mb: Annotated[int, Field(ge=12, le=1024)] = 12  #: kept free so that a full disk can be emptied


class Health(Strict):
    """What the collector says of itself."""

    interval_s: Seconds = 10.0  #: how often the collector's own numbers travel with the data
    status_file: str = "/run/collector/status.json"  #: read by `collector status`; empty: none


class Bus(Strict):
    """One serial port or one host:port, with whatever units are behind it."""

    name: Name  #: what devices call it
    #: tcp://host:port (with ?baud=9600 when a gateway has a serial line of that speed behind it, and &pipeline=4 when
    #: four of its units may be asked at the same time),
    #: serial:///dev/ttyUSB0?baud=9600&parity=N, rtu+tcp://host:port?baud=9600, raw+tcp://host:port?baud=9600,
    #: udp://host:port (Modbus over UDP), ascii+serial:///dev/ttyUSB0?baud=9600 (Modbus ASCII; 7E1 unless data= and
    #: parity= say otherwise), ascii+tcp://host:port?baud=9600,
    #: tls+tcp://host:port?ca=FILE&certificate=FILE&key=FILE; a serial line also takes stop=2, data=7, pause_ms=10 (more
    #: silence before each question) and rs485=rts or rts-low (the port's driver switches the direction) with
    #: rs485_before_ms and rs485_after_ms
    url: str
    timeout_s: Seconds | None = None  #: None: the profile's
    late_s: Seconds | None = None  #: how late an answer may come on a line without transaction ids


class Device(Strict):
    """One unit on one bus, read by a profile."""

    name: Name  #: the tag `device`
    bus: Name  #: name of a `[[bus]]`
    #: Modbus unit (slave) number, 1 to 247 on a serial line; or what another protocol calls the address
    unit: Annotated[int, Field(ge=0, le=255)] = 1
    profile: str  #: vendor/model, see `collector profile list`
    #: between two reads; a profile may ask some of its points less often
    interval_s: Annotated[float, Field(ge=0.1, le=86400)] = 1.0
    #: None: all of the profile; what derived ones are computed from comes along
    points: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    timeout_s: Seconds | None = None  #: None: the bus's, else the profile's; the line's own time comes on top
    #: of a read that brought nothing, 2 s apart, before it waits for its interval again
    retries: Annotated[int, Field(ge=0, le=10)] = 3
    turnaround_s: Annotated[float, Field(ge=0, le=5)] | None = None  #: its usual thinking time; None: the profile's
    #: None: the profile's; less where a converter on its way cannot carry a whole answer; Modbus only
    max_registers: Annotated[int, Field(ge=1, le=125)] | None = None
    tags: dict[str, str] = Field(default={})  #: the site's own, such as room, rack or feed


class Uplink(Strict):
    """One centre. Each has its own progress through the spool."""

    centre: Name  #: what its bridge calls itself
    broker: Broker = Broker(tls="off")  #: of that centre
    confirm: Literal["bridge", "broker"] = "bridge"  #: what frees a row: the write, or just the PUBACK
    confirm_timeout_s: Seconds = 30.0  #: a row that is not confirmed by then is sent again
    window_rows: Annotated[int, Field(ge=1, le=1000)] = 64  #: published and not yet confirmed


class Settings(Strict):
    """collector.toml."""

    gateway: Gateway = Gateway()
    poll: Poll = Poll()
    filter: Filter = Filter()
    aggregate: Aggregate = Aggregate()
    spool: Spool = Spool()
    health: Health = Health()
    profile_dirs: tuple[str, ...] = ("/etc/collector/profiles",)  #: searched before the profiles that come with us
    bus: tuple[Bus, ...] = ()
    device: tuple[Device, ...] = ()
    uplink: Annotated[tuple[Uplink, ...], Field(max_length=64)] = ()

    @property
    def profile_search(self) -> tuple[Path, ...]:
        return tuple(Path(d) for d in self.profile_dirs)


def load_settings(path: Path) -> Settings:
    """Read collector.toml. Raises ConfigError with every mistake: of form, of reference and of meaning."""
    data = read(path)
    findings: list[Finding] = []
    settings: Settings | None = None
    try:
        settings = parse(data, Settings, str(path))
    except ConfigError as error:
        findings += error.findings
    known = {(f.file, f.key) for f in findings}
    crossed = cross_check(data, str(path), Settings().profile_dirs)
    findings += [f for f in crossed if (f.file, f.key) not in known]
    if findings or settings is None:
        raise ConfigError(findings)
    return settings
