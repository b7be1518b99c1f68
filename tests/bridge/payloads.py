"""Payloads as a gateway writes them."""

from zlib import crc32

#: 2026-09-21, a whole millisecond: VictoriaMetrics keeps no more.
TS_NS = 1_790_000_000_000_000_000


def line(field: str = "u=1.5", *, gateway="gw1", device="m1", category="power", ts_ns=TS_NS, site="s1") -> bytes:
    return f"{category},city=c,site={site},gateway={gateway},device={device} {field} {ts_ns}\n".encode()


def payload(body: bytes, *, gateway="gw1", spool="0000beef", seq=1, points=None, crc=None) -> bytes:
    points = body.count(b"\n") if points is None else points
    crc = crc32(body) if crc is None else crc
    return (
        f"#dc1 gateway={gateway} boot=12345678 spool={spool} seq={seq} points={points} crc={crc:08x}\n".encode() + body
    )


def topic(gateway="gw1", category="power", site="s1") -> str:
    return f"dc/v1/c/{site}/{gateway}/data/{category}"
