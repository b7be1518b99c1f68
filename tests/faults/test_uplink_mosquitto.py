"""An uplink against a real mosquitto that dies, freezes, refuses and changes its mind. The spool is the real one."""

import asyncio
import contextlib
import random
import subprocess
import zlib

import aiomqtt
import pytest
from pydantic import SecretStr

from collector import confirmation
from collector.clock import SystemClock
from collector.config_file import Tls
from collector.errors import UplinkError
from collector.mqtt import MqttOptions, MqttSession
from collector.publish import Uplink, UplinkOptions, backoff
from collector.spool import Spool
from collector.types import Row
from tests.waiting import until

pytestmark = pytest.mark.servers
BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])
PREFIX = "dc/v1/city/site/gw"


class Quick(random.Random):
    """Back-off without its waits: the tests are about what is lost, not about when."""

    def uniform(self, a, b):
        return min(b, 0.2)


@pytest.fixture
def spool(tmp_path):
    made = Spool(
        tmp_path / "spool.db", uplinks=["north"], max_bytes=64 << 20, reserve_bytes=1 << 20, clock=SystemClock()
    )
    made.open()
    yield made
    made.close()


def add(spool, count, category="power", size=2000):
    first = spool.next_seq
    rows = []
    for seq in range(first, first + count):
        payload = f"row {seq} ".encode().ljust(size, b".")
        rows.append(Row(seq, category, seq * 10**9, 1, zlib.crc32(payload), payload))
    spool.append(rows).result(10)
    return [row.seq for row in rows]


def pending(spool):
    return spool.stats().pending["north"]


@contextlib.asynccontextmanager
async def running(spool, mqtt, *, rng=None, **options):
    uplink = Uplink(
        UplinkOptions("north", **options),
        mqtt,
        spool,
        topic_prefix=PREFIX,
        status=dict,
        clock=SystemClock(),
        rng=rng or Quick(),
    )
    loop = asyncio.get_running_loop()
    spool.add_listener(lambda rows: loop.call_soon_threadsafe(uplink.committed, rows))
    task = asyncio.ensure_future(uplink.run())
    try:
        yield uplink
    finally:
        assert not task.done(), task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await uplink.stop(1.0)


class Centre:
    """A durable subscriber that confirms what it has taken down, as the bridge does."""

    def __init__(self, spool, mosquitto, version="5"):
        self.stored: list[int] = []
        self._spool_id = spool.spool_id
        self._options = MqttOptions(
            "127.0.0.1",
            mosquitto.port,
            "centre",
            version=version,
            clean_start=False,
            session_expiry_s=600,
            manual_ack=True,
        )
        self._arrived = []

    async def subscribe_and_leave(self):
        """Leave a session behind that the broker queues for."""
        async with MqttSession(self._options) as session:
            await session.subscribe(f"{PREFIX}/data/#")

    @contextlib.asynccontextmanager
    async def working(self):
        task = asyncio.ensure_future(self._work())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _work(self):
        while True:
            with contextlib.suppress(UplinkError):
                arrived = []
                async with MqttSession(self._options, arrived.append) as session:
                    await session.subscribe(f"{PREFIX}/data/#")
                    closed = asyncio.ensure_future(session.closed())
                    while not closed.done():
                        self._take(session, arrived)
                        await asyncio.wait([closed], timeout=0.02)
                    closed.exception()
            await asyncio.sleep(0.1)

    def _take(self, session, arrived):
        messages, arrived[:] = arrived[:], []
        seqs = [int(m.payload.split()[1]) for m in messages]
        self.stored += seqs
        for message in messages:
            session.ack(message)
        for payload in confirmation.encode(self._spool_id, seqs):
            session.publish(f"{PREFIX}/ack/north", payload).add_done_callback(lambda f: f.exception())


# ---- SIGKILL


@BOTH
async def test_no_row_is_lost_when_mosquitto_is_killed_in_mid_stream(mosquitto, spool, version):
    mqtt = MqttOptions("127.0.0.1", mosquitto.port, "gw", version=version)
    centre = Centre(spool, mosquitto, version)
    async with centre.working(), running(spool, mqtt, confirm_timeout_s=0.5):
        for _ in range(4):
            add(spool, 150)
            reached = len(set(centre.stored)) + 40
            await until(lambda n=reached: len(set(centre.stored)) >= n)
            mosquitto.kill()
            add(spool, 50)
            mosquitto.start()
        await until(lambda: pending(spool) == 0, 20)
    assert set(centre.stored) == set(range(1, 801))


async def killed_while_it_holds_what_it_has_pubacked(mosquitto, spool, confirm):
    """The rows that reach the centre when mosquitto dies with all of them PUBACKed and none passed on."""
    centre = Centre(spool, mosquitto)
    await centre.subscribe_and_leave()
    rows = add(spool, 30)
    mqtt = MqttOptions("127.0.0.1", mosquitto.port, "gw")
    async with running(spool, mqtt, confirm=confirm, confirm_timeout_s=0.5) as uplink:
        await until(lambda: uplink.snapshot()["puback_ok"] >= 30)
        mosquitto.kill()
        await until(lambda: uplink.snapshot()["state"] == "connecting")
        mosquitto.start()
        async with centre.working():
            last = add(spool, 1)[0]
            await until(lambda: last in centre.stored and pending(spool) == 0)
    return set(rows) & set(centre.stored), rows


async def test_with_confirm_bridge_what_a_killed_broker_had_pubacked_is_not_lost(mosquitto, spool):
    arrived, rows = await killed_while_it_holds_what_it_has_pubacked(mosquitto, spool, "bridge")
    assert arrived == set(rows)


async def test_twin_with_confirm_broker_it_is_lost(mosquitto, spool):
    arrived, _ = await killed_while_it_holds_what_it_has_pubacked(mosquitto, spool, "broker")
    assert arrived == set()


# ---- SIGSTOP


async def test_a_frozen_mosquitto_bounds_what_is_under_way_and_loses_nothing(mosquitto, spool):
    mqtt = MqttOptions("127.0.0.1", mosquitto.port, "gw", keepalive_s=1, connect_timeout_s=0.5)
    centre = Centre(spool, mosquitto)
    async with running(spool, mqtt, window_rows=16, confirm_timeout_s=0.5) as uplink:
        await until(lambda: uplink.snapshot()["state"] == "connected")
        mosquitto.freeze()
        add(spool, 400)
        await until(lambda: uplink.snapshot()["published"] > 0)
        assert uplink.snapshot()["in_flight"] <= 16
        await until(lambda: uplink.snapshot()["state"] == "connecting")
        assert uplink.snapshot()["in_flight"] == 0
        assert uplink.snapshot()["published"] <= 16
        assert pending(spool) == 400
        mosquitto.thaw()
        async with centre.working():
            await until(lambda: pending(spool) == 0, 20)
    assert set(centre.stored) == set(range(1, 401))


# ---- refused


async def test_a_wrong_password_is_shown_and_the_uplink_recovers_when_it_is_set_right(new_mosquitto, spool, tmp_path):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "gw", "old"], check=True)
    server = new_mosquitto(f"password_file {passwords}", anonymous=False).start()
    mqtt = MqttOptions("127.0.0.1", server.port, "gw", username="gw", password=SecretStr("new"))
    add(spool, 5)
    async with running(spool, mqtt, confirm="broker") as uplink:
        await until(lambda: uplink.snapshot()["state"] == "refused")
        assert "CONNACK: Not authorized" in uplink.snapshot()["last_error"]
        assert pending(spool) == 5
        subprocess.run(["mosquitto_passwd", "-b", passwords, "gw", "new"], check=True)
        server.reload()
        await until(lambda: pending(spool) == 0)


async def test_rows_of_a_denied_category_stay_and_the_others_pass(new_mosquitto, spool, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {PREFIX}/data/power\ntopic write {PREFIX}/status\n")
    server = new_mosquitto(f"acl_file {acl}").start()
    add(spool, 3, "cooling")
    add(spool, 50, "power")
    async with running(spool, MqttOptions("127.0.0.1", server.port, "gw"), confirm="broker") as uplink:
        await until(lambda: pending(spool) == 3)
        assert uplink.snapshot()["denied"] == 3
        assert "Not authorized" in uplink.snapshot()["last_error"]
        acl.write_text(f"topic write {PREFIX}/#\n")
        server.restart()
        await until(lambda: pending(spool) == 0)


async def test_twin_a_publisher_that_trusts_the_return_of_aiomqtt_loses_the_denied_rows(new_mosquitto, spool, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {PREFIX}/data/power\n")
    server = new_mosquitto(f"acl_file {acl}").start()
    rows = add(spool, 3, "cooling")
    async with aiomqtt.Client("127.0.0.1", server.port, protocol=aiomqtt.ProtocolVersion.V5) as plain:
        for row in spool.fetch("north", after_seq=0, limit_bytes=1 << 20).result(10):
            await plain.publish(f"{PREFIX}/data/{row.category}", row.payload, qos=1)
            spool.ack("north", [row.seq]).result(10)
    assert len(rows) == 3
    assert pending(spool) == 0  # gone, and no broker ever passed them on


async def test_on_3_1_1_where_a_broker_cannot_say_no_the_confirmation_keeps_the_denied_rows(
    new_mosquitto, spool, tmp_path
):
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {PREFIX}/data/power\ntopic read {PREFIX}/#\ntopic write {PREFIX}/ack/north\n")
    server = new_mosquitto(f"acl_file {acl}").start()
    add(spool, 3, "cooling")
    add(spool, 20, "power")
    mqtt = MqttOptions("127.0.0.1", server.port, "gw", version="3.1.1")
    centre = Centre(spool, server, "3.1.1")
    async with centre.working(), running(spool, mqtt, confirm_timeout_s=0.5) as uplink:
        await until(lambda: pending(spool) == 3)
        assert uplink.snapshot()["puback_ok"] >= 23
        acl.write_text("topic readwrite #\n")
        server.restart()
        await until(lambda: pending(spool) == 0, 20)
    assert set(centre.stored) == set(range(1, 24))


async def test_a_payload_above_mosquittos_size_limit_is_given_up_and_blocks_nothing(new_mosquitto, spool):
    server = new_mosquitto("message_size_limit 4000").start()
    add(spool, 5)
    add(spool, 1, size=8000)
    add(spool, 5)
    async with running(spool, MqttOptions("127.0.0.1", server.port, "gw"), confirm="broker") as uplink:
        await until(lambda: pending(spool) == 0)
        assert uplink.snapshot()["refused"] == 1
        assert uplink.snapshot()["connects"] == 1


async def test_on_3_1_1_such_a_payload_is_kept_since_nobody_says_that_it_was_dropped(new_mosquitto, spool):
    server = new_mosquitto("message_size_limit 4000").start()
    add(spool, 5)
    (large,) = add(spool, 1, size=8000)
    mqtt = MqttOptions("127.0.0.1", server.port, "gw", version="3.1.1")
    centre = Centre(spool, server, "3.1.1")
    async with centre.working(), running(spool, mqtt, confirm_timeout_s=0.5):
        add(spool, 5)
        await until(lambda: pending(spool) == 1)
    assert large not in centre.stored
    assert [r.seq for r in spool.fetch("north", after_seq=0, limit_bytes=1).result(10)] == [large]


async def test_an_expired_certificate_is_shown_and_a_renewed_one_is_used_without_a_restart(
    new_mosquitto, spool, authority
):
    certificate, key = authority.issue("renewed", "IP:127.0.0.1", days=-1)
    server = new_mosquitto(f"certfile {certificate}", f"keyfile {key}").start()
    add(spool, 5)
    mqtt = MqttOptions("127.0.0.1", server.port, "gw", tls=Tls(ca=str(authority.ca)))
    async with running(spool, mqtt, confirm="broker") as uplink:
        await until(lambda: uplink.snapshot()["state"] == "refused")
        assert "has expired: renew it" in uplink.snapshot()["last_error"]
        authority.issue("renewed", "IP:127.0.0.1")
        server.restart()
        await until(lambda: pending(spool) == 0)


# ---- pushed out


async def connects_of_two_with_one_id(mosquitto, spool, rng):
    mqtt = MqttOptions("127.0.0.1", mosquitto.port, "same-id")
    async with running(spool, mqtt, rng=rng) as one, running(spool, mqtt, rng=rng) as other:
        await until(lambda: one.snapshot()["connects"] + other.snapshot()["connects"] >= 2)
        await asyncio.sleep(3)
        return one.snapshot()["connects"] + other.snapshot()["connects"]


async def test_two_clients_with_one_id_do_not_push_each_other_out_in_a_circle(mosquitto, spool):
    assert await connects_of_two_with_one_id(mosquitto, spool, random.Random(1)) <= 12


async def test_twin_when_every_connect_resets_the_back_off_they_do(mosquitto, spool, monkeypatch):
    monkeypatch.setattr(backoff, "STABLE_S", 0.0)

    class Hasty(random.Random):
        def uniform(self, a, b):
            return 0.02 * b

    assert await connects_of_two_with_one_id(mosquitto, spool, Hasty()) > 24
