import asyncio
import contextlib
import socket
import subprocess
import time
from itertools import count

import aiomqtt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from collector.config_file import Broker, Tls
from collector.errors import ConfigError, PayloadRefused, UplinkError, UplinkLost, UplinkRefused
from collector.mqtt import Message, MqttOptions, MqttSession, options_from, tls_context
from tests.certificates import Authority
from tests.fake_broker import FakeBroker
from tests.waiting import until

BOTH = pytest.mark.parametrize("version", ["5", "3.1.1"])
_names = count()


def to(port: int, **more) -> MqttOptions:
    return MqttOptions(**{"host": "127.0.0.1", "port": port, "client_id": f"test-{next(_names)}", **more})


def plain_v5(port: int) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, timeout=0.5)


async def outcome(future) -> object:
    try:
        return await future
    except UplinkError as error:
        return type(error)


# ---- what the broker says at connect


@pytest.mark.parametrize(("theirs", "ours", "window"), [(8, 64, 8), (100, 64, 64), (None, 64, 64)])
async def test_the_window_is_the_smaller_of_ours_and_the_servers(theirs, ours, window):
    async with (
        FakeBroker(receive_maximum=theirs) as broker,
        MqttSession(to(broker.port, receive_maximum=ours)) as session,
    ):
        assert session.window == window


async def test_no_more_than_the_window_is_ever_unacknowledged():
    async with FakeBroker(receive_maximum=3, puback=lambda _: None) as broker, MqttSession(to(broker.port)) as session:
        futures = [session.publish("a", b"%d" % i) for i in range(10)]
        await until(lambda: len(broker.published) == 3)
        await asyncio.sleep(0.1)
        assert len(broker.published) == 3
        for acked in range(10):
            await until(lambda n=acked: len(broker.published) > n)
            assert len(broker.published) <= acked + 3
            broker.send_puback(broker.published[acked].mid)
        assert await asyncio.gather(*futures) == [0] * 10


async def test_twin_plain_aiomqtt_overruns_the_servers_receive_maximum():
    async with FakeBroker(receive_maximum=3, puback=lambda _: None) as broker, plain_v5(broker.port) as plain:
        tasks = [asyncio.ensure_future(plain.publish("a", b"x", qos=1)) for _ in range(10)]
        await until(lambda: len(broker.published) > 3)
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_payload_above_the_servers_packet_size_is_refused_here_and_never_sent():
    async with FakeBroker(maximum_packet=2048) as broker:
        async with MqttSession(to(broker.port)) as session:
            assert session.max_payload == 2048 - 512
            with pytest.raises(PayloadRefused, match="2040 bytes are too large"):
                await session.publish("a/b", b"x" * 2040)
            assert await session.publish("a/b", b"x" * session.max_payload) == 0
        assert [len(p.payload) for p in broker.published] == [1536]


@BOTH
@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        ({"5": 0x86, "3.1.1": 4}, UplinkRefused),
        ({"5": 0x87, "3.1.1": 5}, UplinkRefused),
        ({"5": 0x8A, "3.1.1": 2}, UplinkRefused),
        ({"5": 0x88, "3.1.1": 3}, UplinkLost),
        ({"5": 0x89, "3.1.1": 3}, UplinkLost),
    ],
)
async def test_a_negative_connack_is_refused_or_lost_by_its_code(version, codes, kind):
    async with FakeBroker(connack=codes[version]) as broker:
        with pytest.raises(UplinkError, match="CONNACK") as found:
            await MqttSession(to(broker.port, version=version)).__aenter__()
        assert type(found.value) is kind
        broker.connack = 0
        async with MqttSession(to(broker.port, version=version)) as session:
            assert await session.publish("a", b"x") == 0


async def test_a_broker_that_never_answers_connect_is_lost_after_the_timeout():
    async with FakeBroker(connack=None) as broker:
        with pytest.raises(UplinkLost, match=r"no answer of the broker within 0\.2 s"):
            await MqttSession(to(broker.port, connect_timeout_s=0.2)).__aenter__()


async def test_a_late_connack_is_waited_for():
    async with FakeBroker(connack_delay_s=0.3) as broker:
        async with MqttSession(to(broker.port)) as session:
            assert await session.publish("a", b"x") == 0
        assert [p.connection for p in broker.published] == [1]


async def test_a_peer_that_hangs_up_at_connect_is_lost_without_waiting_for_the_timeout():
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
    async with server, asyncio.timeout(10):
        options = to(server.sockets[0].getsockname()[1], connect_timeout_s=3600)
        with pytest.raises(UplinkLost):
            await MqttSession(options).__aenter__()


async def test_a_closed_port_and_an_unknown_name_are_lost():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(UplinkLost, match="refused"):
            await MqttSession(to(free.getsockname()[1])).__aenter__()
    with pytest.raises(UplinkLost, match="name cannot be resolved"):
        await MqttSession(to(1883, host="no-such-host.invalid")).__aenter__()


async def test_a_slow_resolver_does_not_hold_the_loop(monkeypatch):
    def slow(*_args, **_more):
        time.sleep(0.5)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    connecting = asyncio.ensure_future(MqttSession(to(1883, host="slow.invalid")).__aenter__())
    turns = 0
    while not connecting.done():
        await asyncio.sleep(0.005)
        turns += 1
    with pytest.raises(UplinkLost, match="Temporary failure"):
        await connecting
    assert turns > 5


async def test_connecting_can_be_cancelled_while_the_connect_thread_is_at_it():
    async with FakeBroker(connack=None) as broker:
        connecting = asyncio.ensure_future(MqttSession(to(broker.port)).__aenter__())
        await until(lambda: broker.connects)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: not broker._writers)


# ---- PUBACKs


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, 0),
        (16, 16),
        (0x87, UplinkRefused),
        (0x97, UplinkRefused),
        (0x99, PayloadRefused),
        (0x90, PayloadRefused),
        (0x95, PayloadRefused),
    ],
)
async def test_a_pubacks_reason_code_is_told(code, expected):
    async with FakeBroker(puback=lambda _: code) as broker, MqttSession(to(broker.port)) as session:
        assert await outcome(session.publish("a", b"x")) == expected
        broker.puback = lambda _: 0
        assert await session.publish("a", b"x") == 0


async def test_twin_plain_aiomqtt_reports_success_for_a_refused_publish():
    async with FakeBroker(puback=lambda _: 0x87) as broker, plain_v5(broker.port) as plain:
        assert await plain.publish("a", b"x", qos=1) is None


async def test_duplicate_and_unknown_pubacks_change_nothing():
    async with FakeBroker(puback=lambda _: None) as broker, MqttSession(to(broker.port)) as session:
        first, second = session.publish("a", b"1"), session.publish("a", b"2")
        await until(lambda: len(broker.published) == 2)
        for mid in (broker.published[0].mid, broker.published[0].mid, 4711):
            broker.send_puback(mid)
        assert await first == 0
        assert not second.done()
        broker.send_puback(broker.published[1].mid)
        assert await second == 0
        assert session.in_flight == 0


async def test_an_impossible_topic_is_refused_and_the_connection_goes_on():
    async with FakeBroker() as broker, MqttSession(to(broker.port)) as session:
        with pytest.raises(PayloadRefused):
            await session.publish("a/#", b"x")
        assert await session.publish("a", b"x") == 0


# ---- the end of a link


@BOTH
async def test_the_end_of_the_link_fails_what_is_under_way_at_once(version):
    async with FakeBroker(puback=lambda _: None) as broker:
        session = MqttSession(to(broker.port, version=version))
        async with session:
            futures = [session.publish("a", b"x") for _ in range(3)]
            await until(lambda: len(broker.published) == 3)
            broker.abort()
            with pytest.raises(UplinkLost, match="connection lost"):
                await session.closed()
            assert all(isinstance(f.exception(), UplinkLost) for f in futures)
            with pytest.raises(UplinkLost):
                await session.publish("a", b"x")
            with pytest.raises(UplinkLost):
                await session.subscribe("a")


async def test_twin_plain_aiomqtt_leaves_publishes_hanging_after_the_end():
    async with FakeBroker(puback=lambda _: None) as broker:
        with contextlib.suppress(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", broker.port, timeout=2) as plain:
                task = asyncio.ensure_future(plain.publish("a", b"x", qos=1))
                await until(lambda: broker.published)
                broker.abort()
                with pytest.raises(aiomqtt.MqttError, match="Disconnected"):
                    await anext(plain.messages)
                assert not task.done()
                await asyncio.gather(task, return_exceptions=True)


async def test_a_new_connection_sends_nothing_of_the_old_one():
    async with FakeBroker(puback=lambda _: None) as broker:
        options = to(broker.port)
        async with MqttSession(options) as session:
            lost = session.publish("a", b"old")
            await until(lambda: broker.published)
            broker.abort()
            assert await outcome(lost) is UplinkLost
        broker.puback = lambda _: 0
        async with MqttSession(options) as session:
            assert await session.publish("a", b"new") == 0
        assert [(p.payload, p.dup) for p in broker.published] == [(b"old", False), (b"new", False)]


async def test_twin_a_re_entered_aiomqtt_client_sends_the_old_one_again():
    async with FakeBroker(puback=lambda _: None) as broker:
        plain = aiomqtt.Client("127.0.0.1", broker.port, timeout=0.5)
        with contextlib.suppress(aiomqtt.MqttError):
            async with plain:
                task = asyncio.ensure_future(plain.publish("a", b"old", qos=1))
                await until(lambda: broker.published)
                broker.abort()
                await asyncio.gather(task, return_exceptions=True)
        async with plain:
            await until(lambda: len(broker.published) == 2)
            broker.send_puback(broker.published[1].mid)
        assert broker.published[1].dup


@pytest.mark.parametrize(("code", "kind"), [(0x8E, UplinkRefused), (0x87, UplinkRefused), (0x8B, UplinkLost)])
async def test_the_brokers_disconnect_gives_its_reason(code, kind):
    async with FakeBroker() as broker, MqttSession(to(broker.port)) as session:
        broker.disconnect(code)
        with pytest.raises(UplinkError, match=f"0x{code:02x}") as found:
            await session.closed()
        assert type(found.value) is kind
        assert session.disconnect_code == code


async def test_leaving_says_goodbye_and_closed_returns():
    async with FakeBroker() as broker:
        async with MqttSession(to(broker.port)) as session:
            waiting = asyncio.ensure_future(session.closed())
            await asyncio.sleep(0)
        await waiting
        await until(lambda: broker.said_goodbye == 1)


async def test_an_exception_of_the_receiver_ends_the_connection_with_its_text():
    def receive(_message):
        raise KeyError("boom")

    async with FakeBroker() as broker, MqttSession(to(broker.port), receive) as session:
        broker.deliver("a", b"x")
        with pytest.raises(UplinkLost, match="KeyError: 'boom'"):
            await session.closed()


# ---- receiving


@BOTH
async def test_messages_are_acknowledged_by_hand_once_and_in_any_order(version):
    got = []
    async with FakeBroker() as broker, MqttSession(to(broker.port, version=version, manual_ack=True), got.append) as s:
        for mid in (11, 12, 13):
            broker.deliver("a", b"m%d" % mid, mid)
        await until(lambda: len(got) == 3)
        await asyncio.sleep(0.05)
        assert broker.pubacks == []
        for message in (got[2], got[0], got[2]):
            s.ack(message)
        await until(lambda: len(broker.pubacks) == 2)
        await asyncio.sleep(0.05)
        assert broker.pubacks == [13, 11]
        assert [(m.payload, m.mid, m.qos) for m in got] == [(b"m11", 11, 1), (b"m12", 12, 1), (b"m13", 13, 1)]


async def test_a_message_of_another_connection_is_never_acknowledged():
    got = []
    async with FakeBroker() as broker:
        options = to(broker.port, manual_ack=True)
        async with MqttSession(options, got.append):
            broker.deliver("a", b"old", 7)
            await until(lambda: got)
        async with MqttSession(options, got.append) as session:
            broker.deliver("a", b"new", 7)
            await until(lambda: len(got) == 2)
            session.ack(got[0])
            await asyncio.sleep(0.05)
            assert broker.pubacks == []
            session.ack(got[1])
            await until(lambda: broker.pubacks == [7])


async def test_a_topic_that_is_not_utf8_is_acknowledged_and_passed_over():
    got = []
    async with FakeBroker() as broker, MqttSession(to(broker.port, manual_ack=True), got.append) as session:
        broker.send(b"\x32", b"\x00\x02\xff\xfe\x00\x05\x00bad")
        broker.deliver("a", b"good", 6)
        await until(lambda: got)
        session.ack(got[0])
        await until(lambda: broker.pubacks == [5, 6])


async def test_pause_stops_reading_and_resume_loses_nothing():
    got = []
    async with FakeBroker() as broker, MqttSession(to(broker.port, manual_ack=True), got.append) as session:
        session.pause()
        for mid in range(1, 2001):
            broker.deliver("a", b"x" * 4000, mid)
        await asyncio.sleep(0.2)
        assert got == []
        session.resume()
        await until(lambda: len(got) >= 100)
        session.pause()
        seen = len(got)
        await asyncio.sleep(0.1)
        assert len(got) <= seen + 1
        session.resume()
        await until(lambda: len(got) == 2000)
        assert [m.mid for m in got] == list(range(1, 2001))


async def test_a_paused_connection_outlives_its_keep_alive():
    """The twin stops reading without telling the driver: it takes the missing PINGRESP for a dead broker."""
    async with (
        FakeBroker() as broker,
        MqttSession(to(broker.port, keepalive_s=1)) as paused,
        MqttSession(to(broker.port, keepalive_s=1)) as twin,
    ):
        paused.pause()
        asyncio.get_running_loop().remove_reader(twin._paho.socket().fileno())
        with pytest.raises(UplinkLost, match="Keep alive"):
            await twin.closed()
        await until(lambda: broker.pings >= 4)
        paused.resume()
        assert await paused.publish("a", b"x") == 0


@pytest.fixture(scope="module")
def broker_loop():
    """One loop and one broker for all examples of a fuzz test."""
    loop = asyncio.new_event_loop()
    broker = FakeBroker()
    loop.run_until_complete(broker.__aenter__())
    yield loop, broker
    loop.run_until_complete(broker.__aexit__())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


PACKETS = st.builds(
    lambda kind, flags, body: bytes([kind << 4 | flags, len(body)]) + body,
    st.integers(2, 15),
    st.integers(0, 15),
    st.binary(max_size=60),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=PACKETS | st.binary(min_size=1, max_size=80), whole=st.booleans())
def test_any_bytes_from_the_peer_end_the_connection_or_not_and_the_next_one_works(broker_loop, noise, whole):
    loop, broker = broker_loop

    async def scenario():
        async with MqttSession(to(broker.port, manual_ack=True), lambda _m: None) as session:
            pending = session.publish("a", b"x")
            for writer in list(broker._writers):
                for piece in [noise] if whole else [noise[i : i + 1] for i in range(len(noise))]:
                    writer.write(piece)
                    await asyncio.sleep(0)
            broker.abort()
            with pytest.raises(UplinkError):
                await session.closed()
            await outcome(pending)
        async with MqttSession(to(broker.port)) as session:
            assert await session.publish("a", b"x") == 0

    loop.run_until_complete(scenario())


# ---- real mosquitto


@BOTH
async def test_mosquitto_carries_messages_both_ways(mosquitto, version):
    got = []
    async with MqttSession(to(mosquitto.port, version=version, receive_maximum=10), got.append) as session:
        await session.subscribe("t/#")
        codes = await asyncio.gather(*(session.publish(f"t/{i}", b"x" * 10_000) for i in range(300)))
        assert codes == [0] * 300
        await until(lambda: len(got) == 300)
        assert sorted(int(m.topic[2:]) for m in got) == list(range(300))
        assert session.window == 10
        assert await session.publish("nobody/listens", b"x") == (16 if version == "5" else 0)


@BOTH
async def test_unacknowledged_messages_come_again_on_the_next_connection(mosquitto, version):
    got = []
    durable = to(
        mosquitto.port, version=version, clean_start=False, session_expiry_s=60, manual_ack=True, receive_maximum=8
    )
    async with MqttSession(durable, got.append) as session:
        assert not session.session_present
        await session.subscribe("t")
    async with MqttSession(to(mosquitto.port)) as publisher:
        await asyncio.gather(*(publisher.publish("t", b"%d" % i) for i in range(20)))
    async with MqttSession(durable, got.append) as session:
        assert session.session_present
        await until(lambda: len(got) >= 8)
        for message in got[:3]:
            session.ack(message)
        assert await session.publish("settled", b"") in (0, 16)
    first, got[:] = [m.payload for m in got[:3]], []
    async with MqttSession(durable, got.append) as session:
        await until(lambda: [session.ack(m) for m in got] and len(got) >= 17)
    assert sorted(first + [m.payload for m in got], key=int) == [b"%d" % i for i in range(20)]


@BOTH
async def test_mosquitto_refuses_a_wrong_password(new_mosquitto, tmp_path, version):
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "gw", "secret"], check=True)
    passwords.chmod(0o600)
    server = new_mosquitto(f"password_file {passwords}", anonymous=False).start()
    known = {"version": version, "username": "gw"}
    with pytest.raises(UplinkRefused, match=r"CONNACK.*(0x86|0x87)"):
        await MqttSession(to(server.port, password=SecretStr("wrong"), **known)).__aenter__()
    async with MqttSession(to(server.port, password=SecretStr("secret"), **known)) as session:
        assert await session.publish("a", b"x") in (0, 16)


async def test_mosquitto_says_no_to_a_publish_its_access_list_denies(new_mosquitto, tmp_path):
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite open/#\n")
    server = new_mosquitto(f"acl_file {acl}").start()
    async with MqttSession(to(server.port)) as session:
        with pytest.raises(UplinkRefused, match=r"PUBACK: Not authorized \(0x87\)"):
            await session.publish("closed/a", b"x")
        assert await session.publish("open/a", b"x") == 16
    async with plain_v5(server.port) as plain:
        assert await plain.publish("closed/a", b"x", qos=1) is None  # the twin: lost without a word


async def test_the_older_of_two_clients_with_one_id_loses_its_connection(mosquitto):
    """mosquitto 2.0.11 hangs up without a reason code; what keeps two such gateways apart is their back-off."""
    options = to(mosquitto.port)
    async with MqttSession(options) as older, MqttSession(options):
        with pytest.raises(UplinkLost):
            await older.closed()


@BOTH
async def test_the_will_is_published_when_the_connection_breaks_and_not_when_we_leave(mosquitto, version):
    got = []
    will = Message("status", b"gone", retain=True)
    async with MqttSession(to(mosquitto.port), got.append) as watcher:
        await watcher.subscribe("status")
        async with MqttSession(to(mosquitto.port, version=version, will=will)):
            pass
        async with MqttSession(to(mosquitto.port, version=version, will=will)) as breaking:
            breaking._paho.socket().shutdown(socket.SHUT_RDWR)
            with pytest.raises(UplinkLost):
                await breaking.closed()
            await until(lambda: got)
    assert [m.payload for m in got] == [b"gone"]


# ---- TLS


def tls_lines(certificate, key, *more):
    return (f"certfile {certificate}", f"keyfile {key}", *more)


@BOTH
async def test_tls_with_our_own_authority_works(new_mosquitto, authority, version):
    server = new_mosquitto(*tls_lines(*authority.issue("good", "IP:127.0.0.1", "DNS:localhost"))).start()
    got = []
    async with MqttSession(to(server.port, version=version, tls=Tls(ca=str(authority.ca))), got.append) as session:
        await session.subscribe("t")
        await asyncio.gather(*(session.publish("t", b"x" * 20_000) for _ in range(100)))
        await until(lambda: len(got) == 100)


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (("IP:127.0.0.1",), -1, "has expired: renew it"),
        (("DNS:elsewhere.example",), 30, "is for another"),
    ],
)
async def test_a_bad_certificate_is_refused_with_its_reason_and_a_good_one_then_works(
    new_mosquitto, authority, names, days, reason
):
    server = new_mosquitto(*tls_lines(*authority.issue("bad", *names, days=days))).start()
    options = to(server.port, tls=Tls(ca=str(authority.ca)))
    with pytest.raises(UplinkRefused, match=reason):
        await MqttSession(options).__aenter__()
    authority.issue("bad", "IP:127.0.0.1")
    server.restart()
    async with MqttSession(options) as session:
        assert await session.publish("a", b"x") == 16


async def test_an_unknown_authority_is_refused(new_mosquitto, authority, tmp_path):
    server = new_mosquitto(*tls_lines(*authority.issue("good", "IP:127.0.0.1"))).start()
    with pytest.raises(UplinkRefused, match=r"unknown authority|not trusted"):
        await MqttSession(to(server.port, tls=Tls(ca=str(Authority(tmp_path).ca)))).__aenter__()
    with pytest.raises(UplinkRefused, match=r"unknown authority|not trusted"):
        await MqttSession(to(server.port, tls=Tls())).__aenter__()


async def test_a_client_certificate_is_sent_and_its_absence_is_refused(new_mosquitto, authority):
    lines = tls_lines(*authority.issue("good", "IP:127.0.0.1"), f"cafile {authority.ca}", "require_certificate true")
    server = new_mosquitto(*lines).start()
    certificate, key = authority.issue("gateway")
    ours = Tls(ca=str(authority.ca), certificate=str(certificate), key=str(key))
    async with MqttSession(to(server.port, tls=ours)) as session:
        assert await session.publish("a", b"x") == 16
    with pytest.raises(UplinkError, match=r"rejected us|connection lost|ended"):
        await MqttSession(to(server.port, tls=Tls(ca=str(authority.ca)))).__aenter__()


async def test_a_plain_text_peer_is_refused_and_never_spoken_to_in_plain_text(authority, mosquitto):
    heard = []

    async def answer(reader, writer):
        heard.append(await reader.read(3))
        writer.write(b"HTTP/1.1 400 Bad Request")
        await writer.drain()
        writer.close()

    secret = {"tls": Tls(ca=str(authority.ca)), "username": "gw", "password": SecretStr("secret")}
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(UplinkRefused, match="does not speak TLS"):
            await MqttSession(to(server.sockets[0].getsockname()[1], **secret)).__aenter__()
    assert heard == [b"\x16\x03\x01"]  # a TLS record: ClientHello
    with pytest.raises(UplinkError, match="is it the TLS port"):
        await MqttSession(to(mosquitto.port, **secret)).__aenter__()


async def test_a_peer_that_stalls_the_handshake_is_lost(authority):
    async with FakeBroker() as broker:
        with pytest.raises(UplinkLost, match="handshake"):
            await MqttSession(to(broker.port, tls=Tls(ca=str(authority.ca)), connect_timeout_s=0.3)).__aenter__()


def test_tls_files_that_cannot_be_used_are_named(authority, tmp_path):
    certificate, key = authority.issue("gateway")
    _, other_key = authority.issue("other")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no certificate")
    for tls, fault in [
        (Tls(ca=str(tmp_path / "missing.pem")), r"ca = .*missing\.pem.*No such file"),
        (Tls(ca=str(rubbish)), r"ca = .*rubbish\.pem"),
        (Tls(certificate=str(certificate), key=str(other_key)), r"certificate = .*(?i:mismatch)"),
        (Tls(key=str(key)), "key = .*stands alone"),
    ]:
        with pytest.raises(ConfigError, match=fault):
            tls_context(tls)


def test_options_come_from_the_configured_broker(tmp_path):
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    secret.chmod(0o600)
    broker = Broker.model_validate(
        {"url": "mqtt://b.example", "tls": "off", "username": "u", "password": {"file": str(secret)}}
    )
    options = options_from(broker, "gw-1", manual_ack=True)
    assert (options.url, options.client_id, options.manual_ack) == ("mqtt://b.example:1883", "gw-1", True)
    assert options.password.get_secret_value() == "geheim"
    assert "geheim" not in repr(options)
    with pytest.raises(ConfigError, match="No such file"):
        options_from(Broker(url="mqtts://b.example", tls=Tls(ca="/no/such/ca.pem")), "gw-1")
