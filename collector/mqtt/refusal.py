"""What a failure of an MQTT connection means: refused until somebody acts, or lost and worth another try."""

import socket
import ssl

from collector.errors import PayloadRefused, UplinkError, UplinkLost, UplinkRefused
from collector.mqtt.tls import handshake_error

#: Reason code for a packet above the broker's limit, given with DISCONNECT (MQTT 5, 3.14.2.1) or, by mosquitto, PUBACK.
PACKET_TOO_LARGE = 0x95
#: Reason codes (MQTT 5, 2.4) that stay until somebody acts; every other failure may pass by itself.
_REFUSED = frozenset({0x81, 0x82, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x90, 0x98, 0x9A, 0x9B, 0x9C, 0x9D})
#: PUBACK codes that mean this message, however often it is sent.
_THIS_MESSAGE = frozenset({0x90, PACKET_TOO_LARGE, 0x99})
_HINTS = {
    0x84: "set version to what the broker speaks",
    0x85: "set another client_id",
    0x86: "check username and password",
    0x87: "check username, password and the broker's access list",
    0x8E: "another client uses the same client_id: give each gateway its own",
}


def reason_error(what: str, code: int, name: str) -> UplinkError:
    """A negative CONNACK, SUBACK or DISCONNECT; `what` is broker and packet."""
    kind = UplinkRefused if code in _REFUSED else UplinkLost
    return kind(_text(what, code, name))


def puback_error(what: str, code: int, name: str) -> UplinkError:
    """A negative PUBACK: PayloadRefused when it is about this message, else UplinkRefused."""
    kind = PayloadRefused if code in _THIS_MESSAGE else UplinkRefused
    return kind(_text(what, code, name))


def connect_error(url: str, cause: BaseException | None, timeout_s: float) -> UplinkError:
    """A connection that was not made; `cause` is the OSError or None when the answer did not come."""
    in_handshake = isinstance(cause, TimeoutError) and "handshake" in str(cause)
    hung_up = isinstance(cause, ConnectionResetError) and url.startswith("mqtts:")
    if isinstance(cause, ssl.SSLError) or (isinstance(cause, OSError) and (in_handshake or hung_up)):
        return handshake_error(url, cause)
    if isinstance(cause, socket.gaierror):
        return UplinkLost(f"{url}: connect: the name cannot be resolved ({cause.strerror})")
    if isinstance(cause, OSError) and cause.args:  # a bare TimeoutError is asyncio's: connected, but no CONNACK came
        return UplinkLost(f"{url}: connect: {cause.strerror or cause}")
    return UplinkLost(f"{url}: no answer of the broker within {timeout_s:g} s")


def loss_error(url: str, cause: OSError | None, name: str) -> UplinkError:
    """A link that ended without a word of the broker; `name` is what the client makes of it."""
    if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""):
        return handshake_error(url, cause)  # TLS 1.3 rejects a client certificate only after the handshake
    if cause is not None:
        return UplinkLost(f"{url}: connection lost: {cause.strerror or cause}")
    return UplinkLost(f"{url}: connection lost: {'closed by the peer' if name == 'Unspecified error' else name}")


def _text(what: str, code: int, name: str) -> str:
    hint = _HINTS.get(code)
    return f"{what}: {name} (0x{code:02x})" + (f": {hint}" if hint else "")
