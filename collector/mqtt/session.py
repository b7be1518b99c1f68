"""One MQTT connection, MQTT 5 or 3.1.1. The only place that touches aiomqtt and paho.

aiomqtt makes the client, connects off the loop and subscribes. What must not be left to it is done here: reason
codes of PUBACKs, futures that fail the moment the link does, acknowledgement by hand, back-pressure by not reading,
the server's Receive Maximum and Maximum Packet Size, and a fresh client for every connection, so that nothing is
re-sent behind our back.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import aiomqtt
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from collector.errors import ConfigError, PayloadRefused, UplinkError, UplinkLost, UplinkRefused
from collector.mqtt.options import MAX_PACKET, LastWords, Message, MqttOptions, new_client
from collector.mqtt.refusal import connect_error, loss_error, puback_error, reason_error
from collector.mqtt.tls import tls_context
from collector.mqtt.wire import SocketDriver

T = TypeVar("T")

#: Bytes of a PUBLISH that are not payload, for topics of at most 480 bytes.
OVERHEAD = 512
#: How long a clean DISCONNECT may take before the socket is closed under it, seconds.
GOODBYE_S = 2.0


class MqttSession:
    """One network connection, used as `async with` once. All methods belong to the event loop's thread.

    Entering raises UplinkLost or UplinkRefused. `on_message` is called in the loop for every message; an exception
    out of it ends the connection.
    """

    def __init__(self, options: MqttOptions, on_message: Callable[[Message], None] | None = None) -> None:
        self.options = options
        self.session_present = False  #: the broker still had our session
        self.window = options.receive_maximum  #: publishes in flight at most: min(own, CONNACK Receive Maximum)
        self.max_payload = MAX_PACKET - OVERHEAD  #: bytes, by CONNACK Maximum Packet Size or our own cap
        self.disconnect_code: int | None = None  #: reason code of the broker's DISCONNECT, if it gave one
        self._max_packet = MAX_PACKET
        self._retain_available = True
        self._on_message = on_message
        self._pending: dict[int, asyncio.Future[int]] = {}
        self._unacked: dict[int, Message] = {}
        self._closing = False
        self._said = LastWords()
        self._socket: SocketDriver | None = None

    async def __aenter__(self) -> "MqttSession":
        self._loop = asyncio.get_running_loop()
        self._lost: asyncio.Future[None] = self._loop.create_future()
        try:
            self._aio = new_client(self.options, await self._tls(), self._said.logger)
            self._paho = self._aio._client
            self._socket = SocketDriver(self._paho, self._broken)
            self._hook()
            await self._or_lost(self._aio.__aenter__())
        except BaseException:
            self._end(UplinkLost(f"{self.options.url}: not connected"))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        try:
            if not self._lost.done():
                self._paho.disconnect()
                await asyncio.wait({self._lost}, timeout=GOODBYE_S)
        finally:
            self._end(None)

    async def closed(self) -> None:
        """Wait for the end of the connection. Returns when we ended it, else raises UplinkLost or UplinkRefused."""
        await asyncio.shield(self._lost)

    @property
    def in_flight(self) -> int:
        """Publishes that wait for their PUBACK. Beyond `window` they wait in memory, unsent."""
        return len(self._pending)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> asyncio.Future[int]:
        """Send one message. The future gives PUBACK's reason code: 0, or 16 for "no matching subscribers".

        It fails with PayloadRefused when this message will never be taken, with UplinkRefused when the broker
        says no for another reason, and with UplinkLost the moment the connection ends. On 3.1.1 a broker cannot
        say no. QoS 0 resolves when the bytes are handed to the kernel.
        """
        future: asyncio.Future[int] = self._loop.create_future()
        size = len(payload) + len(topic.encode()) + 12  # fixed header 5, topic length 2, packet id 2, properties 1
        if self._lost.done():
            future.set_exception(self._why_lost())
        elif size > self._max_packet:
            future.set_exception(
                PayloadRefused(f"{topic}: {len(payload)} bytes are too large: the broker takes {self._max_packet}")
            )
        else:
            self._send(future, topic, payload, qos, retain and self._retain_available)
        return future

    async def subscribe(self, topic: str, qos: int = 1) -> None:
        """Raises UplinkRefused when the broker does not grant it."""
        granted = await self._or_lost(self._aio.subscribe(topic, qos=qos))
        code = granted[0]
        if isinstance(code, ReasonCode) and code.is_failure:
            raise UplinkRefused(f"{self.options.url}: subscribe {topic}: {code} (0x{code.value:02x})")

    def ack(self, message: Message) -> None:
        """Acknowledge a message (`manual_ack`). Nothing is sent for one acked before or of another connection.

        The broker sends that one again, and its packet id may already mean another message.
        """
        if self._unacked.get(message.mid) is message and not self._lost.done():
            del self._unacked[message.mid]
            self._paho.ack(message.mid, message.qos)

    def pause(self) -> None:
        """Stop reading the socket: TCP holds the broker back, keep-alive goes on. What is half read may still come."""
        if self._socket is not None and not self._lost.done():
            self._socket.pause()

    def resume(self) -> None:
        """Read on."""
        if self._socket is not None and not self._lost.done():
            self._socket.resume()

    # ---- connecting

    async def _tls(self) -> ssl.SSLContext | None:
        """Made anew for each connection, so that renewed files are used without a restart."""
        if self.options.tls is None:
            return None
        try:
            return await self._loop.run_in_executor(None, tls_context, self.options.tls)
        except ConfigError as error:
            raise UplinkRefused(str(error)) from error

    async def _or_lost(self, work: Awaitable[T]) -> T:
        """Wait for `work` of aiomqtt, but not beyond the end of the link; map its errors to ours."""
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # both may end at once: one is told
        try:
            watched: set[asyncio.Future[Any]] = {task, self._lost}
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            if self._lost.done():
                raise self._why_lost()
            return task.result()
        except aiomqtt.MqttError as error:
            # aiomqtt keeps only the text of the OSError
            cause = error.__context__
            raise connect_error(self.options.url, cause, self.options.connect_timeout_s) from error
        finally:
            task.cancel()

    def _hook(self) -> None:
        paho = self._paho
        paho.on_connect = self._connack
        paho.on_disconnect = self._disconnected
        paho.on_publish = self._puback
        paho.on_message = self._arrived
        paho.connect_timeout = self.options.connect_timeout_s
        paho.manual_ack_set(self.options.manual_ack)

    # ---- paho's callbacks

    def _connack(self, client: Any, _data: Any, flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.is_failure:
            return self._lose(reason_error(f"{self.options.url}: CONNACK", reason.value, str(reason)))
        self.session_present = flags.session_present
        # 3.1.1 has no Receive Maximum; mosquitto's max_inflight_messages, 20, is then the other side's limit
        default = 65535 if self.options.version == "5" else 20
        self.window = min(self.options.receive_maximum, getattr(properties, "ReceiveMaximum", default))
        self._max_packet = min(MAX_PACKET, getattr(properties, "MaximumPacketSize", MAX_PACKET))
        self.max_payload = max(0, self._max_packet - OVERHEAD)
        self._retain_available = bool(getattr(properties, "RetainAvailable", 1))
        client._max_inflight_messages = self.window  # its setter is closed by now; nothing is in flight yet
        if getattr(properties, "MaximumQoS", 2) < 1:
            return self._lose(UplinkRefused(f"{self.options.url}: the broker offers no QoS 1"))
        return self._aio._on_connect(client, _data, flags, reason, properties)

    def _disconnected(self, _client: Any, _data: Any, flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if self._closing:
            return self._lose(None)
        if flags.is_disconnect_packet_from_server:
            self.disconnect_code = reason.value
            return self._lose(reason_error(f"{self.options.url}: DISCONNECT", reason.value, str(reason)))
        if not self._aio._connected.done() and self._said.error is None:
            hint = 'if it speaks only 3.1.1 set version = "3.1.1"' if self.options.version == "5" else "see its log"
            return self._lose(UplinkLost(f"{self.options.url}: the broker closed without a CONNACK: {hint}"))
        return self._lose(loss_error(self.options.url, self._said.error, str(reason)))

    def _puback(self, _client: Any, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
        future = self._pending.pop(mid, None)
        if future is None or future.done():
            return
        if reason.is_failure:
            future.set_exception(puback_error(f"{self.options.url}: PUBACK", reason.value, str(reason)))
        else:
            future.set_result(reason.value)

    def _arrived(self, client: Any, _data: Any, packet: Any) -> None:
        try:
            message = Message(packet.topic, packet.payload, packet.mid, packet.qos, packet.retain)
        except UnicodeDecodeError:  # no broker may pass such a topic on (MQTT 5, 1.5.4): nobody's message
            client.ack(packet.mid, packet.qos)
            return
        if self.options.manual_ack and message.qos:
            self._unacked[message.mid] = message
        if self._on_message is not None:
            self._on_message(message)

    def _broken(self, error: Exception) -> None:
        self._lose(UplinkLost(f"{self.options.url}: connection given up: {type(error).__name__}: {error}"))

    def _send(self, future: asyncio.Future[int], topic: str, payload: bytes, qos: int, retain: bool) -> None:
        try:
            info = self._paho.publish(topic, payload, qos, retain)
        except ValueError as error:
            future.set_exception(PayloadRefused(f"{topic}: {error}"))
            return
        if info.rc:
            future.set_exception(UplinkLost(f"{self.options.url}: publish: {aiomqtt.MqttCodeError(info.rc)}"))
        else:
            self._pending[info.mid] = future

    # ---- the end

    def _why_lost(self) -> UplinkError:
        error = self._lost.exception() if self._lost.done() else None
        return error if isinstance(error, UplinkError) else UplinkLost(f"{self.options.url}: closed by us")

    def _lose(self, error: UplinkError | None) -> None:
        if self._lost.done():
            return
        if error is None:
            self._lost.set_result(None)
        else:
            self._lost.set_exception(error)
            self._lost.exception()  # retrieved: nobody has to wait on closed()
        pending, self._pending = self._pending, {}
        self._unacked.clear()
        for future in pending.values():
            if not future.done():
                future.set_exception(self._why_lost())
        if self._socket is not None:
            self._socket.end()

    def _end(self, error: UplinkError | None) -> None:
        self._lose(error)
        if self._socket is not None:
            self._socket.close()
