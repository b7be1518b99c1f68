"""Whom to connect to and as whom, and the aiomqtt client made of it."""

import logging
import socket
import ssl
from dataclasses import dataclass, field
from typing import Any, Literal

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import SecretStr

from collector.config_file import Broker, Tls
from collector.mqtt.tls import tls_context

#: Largest packet taken and sent when the server sets no limit of its own: 16 rows of 64 KiB.
MAX_PACKET = 1 << 20

# mosquitto answers a payload above its message_size_limit with PUBACK 0x95. MQTT 5 does not list that code for PUBACK,
# and paho, which knows the codes of each packet from this table, would take it for a broken packet and hang up.
getattr(ReasonCode, "names", {}).get(0x95, {}).get("Packet too large", []).append(PacketTypes.PUBACK)


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message to send as last will, or one that arrived; `mid` is 0 where there is none."""

    topic: str
    payload: bytes = field(repr=False)
    mid: int = 0
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """How to reach a broker and as whom. `tls` None is plain text."""

    host: str
    port: int
    client_id: str
    version: Literal["5", "3.1.1"] = "5"
    tls: Tls | None = None
    username: str | None = None
    password: SecretStr | None = None
    keepalive_s: int = 30
    clean_start: bool = True
    session_expiry_s: int = 0  #: how long the broker keeps the session; on 3.1.1 for ever unless clean_start
    receive_maximum: int = 64  #: messages in flight each way; mosquitto exceeds it towards us once acks flow
    manual_ack: bool = False
    will: Message | None = None
    connect_timeout_s: float = 5.0  #: each of TCP per address, TLS, CONNACK, SUBACK

    @property
    def url(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


def options_from(broker: Broker, client_id: str, **more: Any) -> MqttOptions:
    """The options of a configured broker; `client_id` is used where it names none, `more` are other options.

    Reads the secret and checks the TLS files: call it before the loop runs or off it. Raises ConfigError.
    """
    tls = broker.tls if isinstance(broker.tls, Tls) else None
    if tls is not None:
        tls_context(tls)
    return MqttOptions(
        host=broker.host,
        port=broker.port,
        client_id=broker.client_id or client_id,
        version=broker.version,
        tls=tls,
        username=broker.username,
        password=broker.password.read() if broker.password else None,
        keepalive_s=broker.keepalive_s,
        **more,
    )


class LastWords(logging.Handler):
    """Keeps the OSError that paho only logs; a logger of one connection, printing nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.error: OSError | None = None
        self.logger = logging.Logger("paho", logging.ERROR)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args and isinstance(record.args[0], OSError):
            self.error = record.args[0]


def new_client(options: MqttOptions, tls: ssl.SSLContext | None, logger: logging.Logger) -> aiomqtt.Client:
    """A client for one connection. Entering it a second time would re-send what it still holds in memory."""
    v5 = options.version == "5"
    properties = Properties(PacketTypes.CONNECT) if v5 else None  # type: ignore[no-untyped-call]  # paho's is untyped
    if properties is not None:
        properties.SessionExpiryInterval = options.session_expiry_s
        properties.ReceiveMaximum = options.receive_maximum
        properties.MaximumPacketSize = MAX_PACKET
    will = options.will
    session: dict[str, Any] = {"clean_start" if v5 else "clean_session": options.clean_start}
    return aiomqtt.Client(
        options.host,
        options.port,
        identifier=options.client_id,
        username=options.username,
        password=options.password.get_secret_value() if options.password else None,
        protocol=aiomqtt.ProtocolVersion.V5 if v5 else aiomqtt.ProtocolVersion.V311,
        will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain) if will else None,
        keepalive=options.keepalive_s,
        properties=properties,
        tls_context=tls,
        timeout=options.connect_timeout_s,
        logger=logger,
        # Small packets wait for nobody; a peer that is gone is noticed while bytes are on their way to it.
        socket_options=[
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, options.keepalive_s * 1000),
        ],
        **session,
    )
