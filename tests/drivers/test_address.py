from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.address import BusAddress, TextLine, parse_bus, speaking
from drivers.address_settings import BAUDS, PIPELINES, Rs485, Tls
from drivers.errors import ProfileError
from drivers.profile import load_profile


def test_tcp_has_port_502_unless_given():
    assert parse_bus("tcp://10.1.2.3") == BusAddress("tcp", "10.1.2.3", 502, baud=0)
    assert parse_bus("tcp://meter-7.hall.example:1502/") == BusAddress("tcp", "meter-7.hall.example", 1502, baud=0)


def test_a_serial_port_is_9600_8n1_unless_given():
    assert parse_bus("serial:///dev/ttyUSB0") == BusAddress("rtu", path="/dev/ttyUSB0")
    address = parse_bus("serial:///dev/ttyS1?baud=19200&parity=e&stop=2")
    assert (address.path, address.line) == ("/dev/ttyS1", "19200 8E2")


def test_the_control_lines_of_a_serial_port_are_held_as_written():
    address = parse_bus("serial:///dev/ttyS1?dtr=0&rts=1")
    assert (address.dtr, address.rts) == (False, True)
    assert parse_bus(str(address)) == address
    assert (parse_bus("serial:///dev/ttyS1").dtr, parse_bus("serial:///dev/ttyS1").rts) == (None, None)
    with pytest.raises(ProfileError, match="'on' is not possible — one of 0, 1"):
        parse_bus("serial:///dev/ttyS1?dtr=on")
    with pytest.raises(ProfileError, match="RTS switches the direction, so it cannot be held as well"):
        parse_bus("serial:///dev/ttyS1?rs485=rts&rts=0")


def test_control_lines_in_the_address_go_before_those_of_the_profile():
    profile = load_profile("megatec/q1")
    usual = speaking(parse_bus("serial:///dev/ttyS1?baud=2400"), [profile])
    crossed = speaking(parse_bus("serial:///dev/ttyS1?baud=2400&dtr=0&rts=1"), [profile])
    assert ((usual.dtr, usual.rts), (crossed.dtr, crossed.rts)) == ((True, False), (False, True))
    switched = speaking(parse_bus("serial:///dev/ttyS1?baud=2400&rs485=rts"), [profile])
    assert switched.rts is None, "RTS switches the direction there"
    server = speaking(parse_bus("raw+tcp://10.0.0.9:4001?baud=2400"), [profile])
    assert (server.dtr, server.rts) == (None, None), "a serial server holds its own lines"


def test_a_serial_server_needs_its_port_and_may_name_the_baud_behind_it():
    assert parse_bus("rtu+tcp://10.0.0.9:4001?baud=19200") == BusAddress("rtu+tcp", "10.0.0.9", 4001, baud=19200)


def test_a_gateway_may_name_the_baud_of_the_line_behind_it():
    assert parse_bus("tcp://10.0.0.9?baud=19200") == BusAddress("tcp", "10.0.0.9", 502, baud=19200)
    assert parse_bus("tcp://10.0.0.9?baud=9600&pipeline=4").pipeline == 4
    assert parse_bus("tcp://10.0.0.9").pipeline == 1
    assert parse_bus("tcp://10.0.0.9").baud == 0, "a device of its own, until somebody says otherwise"


def test_a_secure_address_has_port_802_and_names_its_files():
    address = parse_bus("tls+tcp://ups-7.hall?ca=/etc/c/ca.pem&certificate=/etc/c/gw.pem&key=/etc/c/gw.key&name=ups-7")
    assert (address.kind, address.host, address.port, address.baud) == ("tls+tcp", "ups-7.hall", 802, 0)
    assert address.tls == Tls("/etc/c/ca.pem", "/etc/c/gw.pem", "/etc/c/gw.key", "ups-7")
    assert parse_bus("tls+tcp://ups-7.hall:8802").tls == Tls()
    assert not address.is_serial


def test_udp_has_port_502_unless_given_and_no_serial_line():
    assert parse_bus("udp://10.1.2.3") == BusAddress("udp", "10.1.2.3", 502, baud=0)
    assert str(parse_bus("udp://10.1.2.3:1502?baud=9600")) == "udp://10.1.2.3:1502?baud=9600"
    assert not parse_bus("udp://10.1.2.3").is_serial


def test_a_port_with_modbus_ascii_is_9600_7e1_unless_given():
    """Modbus over serial line V1.02, 2.5.2: 7 data bits, even parity, one stop bit: 10 bits."""
    address = parse_bus("ascii+serial:///dev/ttyUSB0")
    assert (address.path, address.line, address.character_bits) == ("/dev/ttyUSB0", "9600 7E1", 10)
    assert (address.is_serial, address.is_port, address.is_ascii) == (True, True, True)
    assert str(address) == "ascii+serial:///dev/ttyUSB0?baud=9600&parity=E&stop=1&data=7"
    assert parse_bus("ascii+serial:///dev/ttyUSB0?data=8&parity=n").line == "9600 8N1"
    assert parse_bus("ascii+serial:///dev/ttyUSB0?rs485=rts&dtr=1").rs485 == Rs485()


def test_modbus_ascii_through_a_serial_server_needs_its_port():
    address = parse_bus("ascii+tcp://10.0.0.9:4001")
    assert (address.place, address.baud, address.character_bits) == ("10.0.0.9:4001", 9600, 10)
    assert (address.is_serial, address.is_port, address.is_ascii) == (True, False, True)


def test_whatever_is_spoken_there_a_port_is_one_place():
    assert parse_bus("ascii+serial:///dev/ttyS0").place == parse_bus("serial:///dev/ttyS0").place


def test_a_line_may_need_more_silence_than_the_protocol_asks():
    assert parse_bus("serial:///dev/ttyS1?pause_ms=10").pause_s == 0.01
    assert str(parse_bus("rtu+tcp://h:4001?pause_ms=10")) == "rtu+tcp://h:4001?pause_ms=10"


def test_the_driver_of_a_port_may_be_told_to_switch_the_direction():
    address = parse_bus("serial:///dev/ttyS1?rs485=rts-low&rs485_before_ms=1&rs485_after_ms=2")
    assert address.rs485 == Rs485(sending=False, before_ms=1, after_ms=2)
    assert parse_bus("serial:///dev/ttyS1?rs485=rts").rs485 == Rs485()
    assert parse_bus("serial:///dev/ttyS1").rs485 is None
    assert parse_bus(str(address)) == address


def test_an_ipv6_address_is_written_in_brackets_and_printed_so():
    address = parse_bus("tcp://[FE80::1]:1502")
    assert (address.host, address.port, str(address)) == ("fe80::1", 1502, "tcp://[fe80::1]:1502")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tcp://10.0.0.1", "tcp://10.0.0.1:502/"),
        ("serial:///dev/ttyS0", "serial:///dev/ttyS0?stop=1&parity=n&baud=9600"),
        ("rtu+tcp://PLC:4001", "rtu+tcp://plc:4001?baud=9600"),
    ],
)
def test_equal_buses_have_equal_strings(one, other):
    assert str(parse_bus(one)) == str(parse_bus(other))


@pytest.mark.parametrize(
    ("url", "character_bits"),
    [("serial:///dev/x?baud=9600", 10), ("serial:///dev/x?parity=E", 11), ("serial:///dev/x?data=7&stop=2", 10)],
)
def test_a_character_takes_start_data_parity_and_stop_bits(url, character_bits):
    assert parse_bus(url).character_s == character_bits / 9600


@pytest.mark.parametrize(
    ("url", "key", "hint"),
    [
        ("tpc://10.0.0.1", "scheme", "did you mean tcp://?"),
        ("modbus://10.0.0.1", "scheme", "did you mean tcp://?"),
        ("rtu:///dev/ttyS0", "scheme", "did you mean serial://?"),
        ("/dev/ttyUSB0", "scheme", "write serial:///dev/ttyUSB0"),
        ("10.0.0.1:502", "scheme", "write tcp://192.0.2.7:502"),
        ("", "scheme", "write tcp://192.0.2.7:502"),
        ("serial://dev/ttyUSB0", "path", "three slashes: serial:///dev/ttyUSB0"),
        ("serial://", "path", "write serial:///dev/ttyUSB0"),
        ("serial:///dev/x?buad=9600", "buad", "did you mean baud?"),
        ("serial:///dev/x?colour=red", "colour", "known: baud, parity, stop, data"),
        ("serial:///dev/x?pause_ms=1001", "pause_ms", "from 0 to 1000"),
        ("serial:///dev/x?pause_ms=-1", "pause_ms", "from 0 to 1000"),
        ("serial:///dev/x?rs485=yes", "rs485", "one of rts, rts-low"),
        ("serial:///dev/x?rs485=rts&rs485_before_ms=101", "rs485_before_ms", "from 0 to 100"),
        ("serial:///dev/x?rs485_after_ms=5", "rs485", "add rs485=rts"),
        ("rtu+tcp://h:4001?rs485=rts", "rs485", "known: baud, pause_ms"),
        ("serial:///dev/x?baud=9601", "baud", "one of 300"),
        ("serial:///dev/x?baud=-1", "baud", "one of 300"),
        ("serial:///dev/x?baud=²", "baud", "one of 300"),
        ("serial:///dev/x?stop=3", "stop", "one of 1, 2"),
        ("serial:///dev/x?parity=even", "parity", "N (none), E (even) or O (odd)"),
        ("serial:///dev/x?baud=9600&baud=19200", "baud", "keep one"),
        ("serial:///dev/x?9600", "9600", "known"),
        ("tcp://10.0.0.1?parity=E", "parity", "known: baud"),
        ("tcp://10.0.0.1?baud=0", "baud", "one of 300"),
        ("tcp://10.0.0.1?pipeline=17", "pipeline", "one of 1, 2"),
        ("rtu+tcp://10.0.0.1:4001?pipeline=4", "pipeline", "known: baud"),
        ("tcp://10.0.0.1:99999", "port", "[ ]"),
        ("tcp://10.0.0.1:http", "port", "[ ]"),
        ("tcp://:502", "host", "write tcp://"),
        ("tcp://10.0.0.1/unit/3", "path", "write tcp://host:port"),
        ("tcp://me:secret@10.0.0.1", "user", "remove"),
        ("tcp://10.0.0.1#a", "address", "remove"),
        ("tcp://[::1", "address", "write tcp://"),
        ("rtu+tcp://10.0.0.1", "port", "manual"),
        ("tls+tcp://h?key=/k", "key", "certificate="),
        ("tls+tcp://h?ca=", "ca", "leave it out"),
        ("tls+tcp://h?verify=no", "verify", "known: ca"),
        ("tcp://h?ca=/c", "ca", "known: baud"),
        ("tls://h", "scheme", "did you mean tls+tcp://?"),
        ("ascii:///dev/x", "scheme", "did you mean ascii+serial://?"),
        ("ascii+serial://dev/x", "path", "three slashes: ascii+serial:///dev/x"),
        ("ascii+serial:///dev/x?bits=7", "bits", "known: baud, parity, stop, data"),
        ("ascii+tcp://10.0.0.1", "port", "manual"),
        ("ascii+tcp://10.0.0.1:4001?parity=E", "parity", "known: baud, pause_ms"),
        ("udp://10.0.0.1?pipeline=4", "pipeline", "known: baud"),
    ],
)
def test_a_mistake_is_named_with_a_hint(url, key, hint):
    with pytest.raises(ProfileError) as error:
        parse_bus(url)
    assert [finding[0] for finding in error.value.findings] == [key]
    assert hint in error.value.findings[0][2]


def test_all_mistakes_are_listed_at_once():
    with pytest.raises(ProfileError) as error:
        parse_bus("serial://dev/ttyUSB0?buad=9600&parity=X&stop=5")
    assert [finding[0] for finding in error.value.findings] == ["path", "buad", "parity", "stop"]


hosts = st.one_of(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), st.ip_addresses().map(str))
ports = st.integers(1, 65535)
files = st.just("") | st.text(min_size=1, max_size=20).filter(str.isprintable)
addresses = st.one_of(
    st.builds(
        BusAddress,
        st.just("tcp"),
        hosts,
        ports,
        baud=st.sampled_from((0, *BAUDS)),
        pipeline=st.sampled_from(PIPELINES),
    ),
    st.builds(BusAddress, st.just("rtu+tcp"), hosts, ports, baud=st.sampled_from(BAUDS)),
    st.builds(BusAddress, st.just("udp"), hosts, ports, baud=st.sampled_from((0, *BAUDS))),
    st.builds(
        BusAddress,
        st.just("ascii+tcp"),
        hosts,
        ports,
        baud=st.sampled_from(BAUDS),
        parity=st.just("E"),
        data_bits=st.just(7),
    ),
    st.builds(
        BusAddress,
        st.just("tls+tcp"),
        hosts,
        ports,
        baud=st.sampled_from((0, *BAUDS)),
        tls=st.builds(Tls, ca=files, certificate=st.just("/c&=?+ %.pem"), key=files, name=files),
    ),
    st.builds(
        BusAddress,
        st.sampled_from(("rtu", "ascii+serial")),
        path=st.from_regex(r"/dev/[A-Za-z0-9._/-]{1,30}", fullmatch=True),
        baud=st.sampled_from(BAUDS),
        parity=st.sampled_from("NEO"),
        stop_bits=st.sampled_from((1, 2)),
        data_bits=st.sampled_from((7, 8)),
    ),
)


@given(addresses)
def test_the_canonical_string_is_read_back(address):
    assert parse_bus(str(address)) == address


@given(st.text(max_size=60) | st.text(max_size=40).map(lambda rest: f"serial://{rest}"))
def test_any_text_is_an_address_or_one_profile_error(text):
    with suppress(ProfileError):
        address = parse_bus(text)
        assert parse_bus(str(address)) == address


PANEL, UPS, METER = (load_profile(name) for name in ("generic/ydn23_ac_panel", "megatec/q1", "eastron/sdm630"))


@pytest.mark.parametrize(
    ("url", "profiles", "reason", "hint"),
    [
        ("serial:///dev/ttyS1", [PANEL, METER], "its devices speak modbus and ydt1363", "a bus of its own"),
        ("serial:///dev/ttyS1", [PANEL, UPS], "its devices speak megatec and ydt1363", "a bus of its own"),
        ("tcp://10.0.0.9", [PANEL], "tcp carries Modbus, not ydt1363", "raw+tcp://10.0.0.9:502"),
        ("rtu+tcp://10.0.0.9:4001", [UPS], "rtu+tcp carries Modbus, not megatec", "raw+tcp://10.0.0.9:4001"),
        ("udp://10.0.0.9", [PANEL], "udp carries Modbus, not ydt1363", "raw+tcp://10.0.0.9:502"),
        (
            "ascii+tcp://10.0.0.9:4001",
            [PANEL],
            "ascii+tcp carries Modbus ASCII, not ydt1363",
            "raw+tcp://10.0.0.9:4001",
        ),
        ("ascii+serial:///dev/ttyS1", [UPS], "ascii+serial carries Modbus ASCII, not megatec", "serial:///dev/ttyS1:"),
        ("raw+tcp://10.0.0.9:4001", [METER], "raw+tcp carries text protocols, not Modbus", "rtu+tcp://10.0.0.9:4001"),
        ("raw+tcp://10.0.0.9:4001", [], "no device's profile says which", "rtu+tcp://10.0.0.9:4001"),
    ],
)
def test_what_a_line_cannot_carry_is_told_with_the_address_that_can(url, profiles, reason, hint):
    with pytest.raises(ProfileError) as caught:
        speaking(parse_bus(url), profiles)
    ((_, said, advice),) = caught.value.findings
    assert reason in said
    assert hint in advice


def test_a_line_for_several_models_of_one_protocol_is_as_slow_as_the_slowest_wants_it():
    slow = PANEL.model_copy(update={"limits": PANEL.limits.model_copy(update={"gap_s": 0.5, "settle_s": 2.0})})
    line = speaking(parse_bus("raw+tcp://10.0.0.9:4001"), [PANEL, slow]).text
    assert line == TextLine("ydt1363", settle_s=2.0, gap_s=0.5)


def test_modbus_needs_no_word_about_it():
    assert speaking(parse_bus("serial:///dev/ttyS1"), [METER]).text is None
