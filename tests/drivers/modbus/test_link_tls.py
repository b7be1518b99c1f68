"""Modbus/TCP Security on real sockets, with certificates made by openssl. Each fault is followed by a good answer."""

import asyncio
import re
import socket
import ssl
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import urlencode

import pytest
from pymodbus.server import ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.address import parse_bus
from drivers.base import Request
from drivers.errors import BadFrame, DeviceException, LinkLost, LinkUnavailable
from drivers.links import Links
from drivers.modbus.link_tls import TlsLink
from drivers.session import Session
from tests.certificates import Authority
from tests.drivers.modbus.line import Recorder, answer_perfectly, data_of, mbap, perfect_pdu, question

ASK = Request(3, 3, 1000, 60)
OTHER = Request(3, 3, 2000, 60)


@pytest.fixture(scope="module")
def pki(authority):
    """(device's files, ours): both signed by the authority, the device for 127.0.0.1."""
    return authority.issue("device", "IP:127.0.0.1"), authority.issue("collector")


def server_context(certificate, key, ca):
    """A device that wants our certificate, as the standard asks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def url_to(port, ca, ours=None, **more):
    files = {"ca": ca} | ({"certificate": ours[0], "key": ours[1]} if ours else {})
    return f"tls+tcp://127.0.0.1:{port}?{urlencode({**files, **more})}"


@asynccontextmanager
async def device(context, serve=answer_perfectly, port=0):
    """The port of a scripted device behind TLS; connections are served by `serve`."""
    tasks = set()

    async def accept(reader, writer):
        tasks.add(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, OSError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # the transports say good-bye in the next rounds of the loop


@contextmanager
def link_to(url):
    sink, links = Recorder(), Links()
    link = links.create(parse_bus(url), sink, timeout_s=1.0)
    assert isinstance(link, TlsLink)
    try:
        yield link, sink
    finally:
        link.close()
        links.close()


async def succeeds(link, sink, request=OTHER):
    """Opens if need be, asks and gets what a perfect device says."""
    if link._stream is None:
        link.open()
        assert await sink.next() == "opened"
    link.send(request)
    assert await sink.next() == data_of(request)


async def refused(link, sink):
    """Why the link did not open, or was lost as soon as it had."""
    link.open()
    event = await sink.next()
    return event if event != "opened" else await sink.next()


async def test_a_read_over_mutual_tls_gives_the_data_bytes(authority, pki):
    mine, ours = pki
    async with device(server_context(*mine, authority.ca)) as port:
        with link_to(url_to(port, authority.ca, ours)) as (link, sink):
            for request in (ASK, Request(1, 1, 0, 2000), Request(247, 4, 65411, 125)):
                await succeeds(link, sink, request)


async def test_pymodbus_serves_what_we_ask_over_tls(authority, pki):
    """Another implementation of the standard: the frame inside TLS is the one of Modbus TCP, with its header."""
    mine, ours = pki
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    registers = SimDevice(1, simdata=[SimData(0, values=list(range(200)), datatype=DataType.REGISTERS)])
    server = ModbusTlsServer(registers, address=("127.0.0.1", port), sslctx=server_context(*mine, authority.ca))
    await server.serve_forever(background=True)
    try:
        async with await Session.open(url_to(port, authority.ca, ours)) as session:
            assert await session.read(Request(1, 3, 40, 3)) == bytes((0, 40, 0, 41, 0, 42))
            with pytest.raises(DeviceException, match="exception 2"):
                await session.read(Request(1, 3, 190, 20))
    finally:
        await server.shutdown()


async def test_the_name_in_the_certificate_may_be_another_than_the_address(authority, pki):
    named = authority.issue("ups-7", "DNS:ups-7.plant.example")
    async with device(server_context(*named, authority.ca)) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            assert "IP address mismatch" in str(await refused(link, sink))
        with link_to(url_to(port, authority.ca, pki[1], name="ups-7.plant.example")) as (link, sink):
            await succeeds(link, sink)


@pytest.mark.parametrize(
    ("names", "days", "reason"),
    [
        (("IP:127.0.0.1",), -1, "certificate has expired — renew it in the device"),
        (("DNS:elsewhere.example",), 30, "IP address mismatch.*set name="),
        (("IP:127.0.0.2",), 30, "IP address mismatch.*set name="),
    ],
    ids=["expired", "another name", "another address"],
)
async def test_a_bad_certificate_is_refused_with_its_reason_and_a_good_one_then_works(
    authority, pki, names, days, reason
):
    questions = []

    async def serve(reader, writer):
        questions.append(await reader.read(1))

    async with device(server_context(*authority.issue("bad", *names, days=days), authority.ca), serve) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            error = await refused(link, sink)
            assert isinstance(error, LinkUnavailable)
            assert error.args[0].startswith(f"tls+tcp://127.0.0.1:{port}: ")
            assert re.search(reason, str(error))
    assert b"".join(questions) == b"", "nothing was asked"
    async with device(server_context(*pki[0], authority.ca)) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            await succeeds(link, sink)


async def test_the_same_link_recovers_when_the_device_gets_a_good_certificate(authority, pki):
    mine, ours = pki
    expired = server_context(*authority.issue("late", "IP:127.0.0.1", days=-1), authority.ca)
    async with device(expired) as port:
        with link_to(url_to(port, authority.ca, ours)) as (link, sink):
            assert isinstance(await refused(link, sink), LinkUnavailable)
    async with device(server_context(*mine, authority.ca), port=port):
        await succeeds(link, sink)
        link.close()


async def test_our_own_files_are_read_anew_for_each_connection(authority, pki, tmp_path):
    """A renewed certificate needs no restart; until then the reason names the file."""
    mine, ours = pki
    mine_now = tmp_path / "now.pem"
    async with device(server_context(*mine, authority.ca)) as port:
        with link_to(url_to(port, authority.ca, (mine_now, ours[1]))) as (link, sink):
            assert f"certificate = {mine_now}: cannot be used: No such file" in str(await refused(link, sink))
            mine_now.write_bytes(ours[0].read_bytes())
            await succeeds(link, sink)


async def test_a_device_of_an_unknown_authority_is_refused(authority, pki, tmp_path):
    async with device(server_context(*pki[0], authority.ca)) as port:
        with link_to(url_to(port, Authority(tmp_path).ca, pki[1])) as (link, sink):
            assert "self-signed certificate in certificate chain — set ca=" in str(await refused(link, sink))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("stranger", [False, True], ids=["without a certificate", "with a stranger's"])
async def test_a_device_that_rejects_us_says_so_and_takes_our_certificate(authority, pki, tmp_path, version, stranger):
    """With TLS 1.3 its refusal comes when our side of the handshake is done already."""
    context = server_context(*pki[0], authority.ca)
    context.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        wrong = Authority(tmp_path).issue("collector") if stranger else None
        with link_to(url_to(port, authority.ca, wrong)) as (link, sink):
            server = asyncio.get_running_loop().run_in_executor(None, one_handshake, listener, context)
            error = await refused(link, sink)
            assert isinstance(error, LinkUnavailable | LinkLost)
            assert re.search(r"the device rejected us \(.*ALERT.*\) — see certificate=", str(error))
            assert await server is ssl.SSLError
    async with device(context) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            await succeeds(link, sink)


def one_handshake(listener, context):
    """What came of serving one connection, as a device with a stack of its own does: alerts are sent."""
    sock, _ = listener.accept()
    sock.settimeout(5)
    try:
        with context.wrap_socket(sock, server_side=True) as served:
            served.recv(1)
    except ssl.SSLError:
        return ssl.SSLError
    finally:
        sock.close()


async def test_a_connection_that_ends_before_a_word_points_to_the_certificate(authority, pki):
    async def serve(reader, writer):
        """Not one."""

    async with device(server_context(*pki[0], authority.ca), serve) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            assert "before it said anything — does the device accept our certificate" in str(await refused(link, sink))


async def test_a_plain_device_is_refused_and_hears_no_question_in_plain_text(authority, pki):
    heard = []

    async def plain(reader, writer):
        heard.append(await reader.read(1000))
        writer.write(mbap(1, 1, b"\x83\x01"))
        await writer.drain()

    async with device(None, plain) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            assert "does not speak TLS" in str(await refused(link, sink))
    assert heard[0].startswith(b"\x16\x03\x01"), "a TLS record: ClientHello"
    assert len(heard) == 1, "and no second try without"


async def test_a_peer_that_stalls_or_ends_the_handshake_is_unavailable(authority, pki):
    async def stall(reader, writer):
        await reader.read()

    async def end(reader, writer):
        await reader.read(1)

    for serve in (stall, end):
        async with device(None, serve) as port:
            sink = Recorder()
            link = TlsLink(parse_bus(url_to(port, authority.ca, pki[1])), sink, user_timeout_s=1.0, handshake_s=0.3)
            assert "ended or stalled the handshake" in str(await refused(link, sink))
            link.close()


async def test_nothing_listening_is_unavailable_with_a_hint(authority, pki):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
        assert "nothing listens there" in str(await refused(link, sink))


@pytest.mark.parametrize("name", [".ups", "u" * 64 + ".example"])
async def test_a_name_that_none_can_have_is_unavailable(authority, pki, name):
    async with device(server_context(*pki[0], authority.ca)) as port:
        with link_to(url_to(port, authority.ca, pki[1], name=name)) as (link, sink):
            error = await refused(link, sink)
            assert isinstance(error, LinkUnavailable)
            assert "give name= as it stands in the certificate" in str(error)


async def test_a_name_that_dns_does_not_know_is_unavailable(monkeypatch):
    async def fails(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fails)
    with link_to("tls+tcp://ups-7.plant.example") as (link, sink):
        assert "cannot be resolved" in str(await refused(link, sink))


async def test_a_late_answer_is_thrown_away_and_counted(authority, pki):
    async def serve(reader, writer):
        first, unit, pdu = await question(reader)
        second, _, other = await question(reader)
        writer.write(mbap(first, unit, perfect_pdu(pdu, unit)) + mbap(second, unit, perfect_pdu(other, unit)))
        await answer_perfectly(reader, writer)

    async with device(server_context(*pki[0], authority.ca), serve) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            link.open()
            assert await sink.next() == "opened"
            link.send(ASK)
            link.expire()
            link.send(OTHER)
            assert await sink.next() == data_of(OTHER)
            assert link.late == 1
            await succeeds(link, sink)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda t, u, pdu: mbap(t, u + 1, perfect_pdu(pdu, u)), BadFrame),
        (lambda t, u, pdu: mbap(t, u, perfect_pdu(pdu, u)[:-2]), BadFrame),
        (lambda t, u, pdu: mbap(t, u, bytes((pdu[0] | 0x80, 6))), DeviceException),
        (lambda t, u, pdu: b"\xff" * 40, LinkLost),
        (lambda t, u, pdu: None, LinkLost),
    ],
    ids=["wrong unit", "short", "exception", "garbage", "end"],
)
async def test_a_wrong_answer_is_a_typed_error_and_the_next_succeeds(authority, pki, answer, error):
    first = []

    async def serve(reader, writer):
        if not first:
            first.append(1)
            data = answer(*await question(reader))
            if data is None:
                return
            writer.write(data)
        await answer_perfectly(reader, writer)

    async with device(server_context(*pki[0], authority.ca), serve) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            link.open()
            assert await sink.next() == "opened"
            link.send(ASK)
            assert isinstance(await sink.next(), error)
            await succeeds(link, sink)


async def test_answers_in_pieces_are_put_together_and_two_at_once_are_told_apart(authority, pki):
    async def serve(reader, writer):
        while True:
            transaction, unit, pdu = await question(reader)
            frame = mbap(transaction, unit, perfect_pdu(pdu, unit))
            for piece in (frame[:3], frame[3:9], frame[9:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.005)

    async with device(server_context(*pki[0], authority.ca), serve) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            await succeeds(link, sink)
            await succeeds(link, sink, ASK)


async def test_a_closed_link_reports_nothing_more(authority, pki):
    async with device(server_context(*pki[0], authority.ca)) as port:
        with link_to(url_to(port, authority.ca, pki[1])) as (link, sink):
            link.open()
            link.close()
            await asyncio.sleep(0.1)
            assert sink.events == []
            await succeeds(link, sink)
            link.send(ASK)
            link.close()
            await asyncio.sleep(0.1)
            assert sink.events == []
            with pytest.raises(RuntimeError, match="closed"):
                link.send(ASK)


async def test_the_plain_frames_can_be_traced(authority, pki):
    seen = []
    async with device(server_context(*pki[0], authority.ca)) as port:
        url = url_to(port, authority.ca, pki[1])
        async with await Session.open(url, trace=lambda way, data: seen.append((way, data))) as session:
            await session.read(Request(1, 3, 0, 1))
    assert [way for way, _ in seen] == ["tx", "rx"]
    assert seen[0][1] == bytes.fromhex("0001 0000 0006 01 03 0000 0001")
