import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import drivers
from drivers.base import Request
from drivers.errors import BadFrame, DeviceException
from drivers.modbus.pdu import answer_data, encode_read

ROOT = Path(drivers.__file__).parents[1]


@pytest.mark.parametrize(
    ("request_", "pdu"),
    [
        (Request(1, 1, 0x0013, 0x0013), "01 0013 0013"),  # 6.1: coils 20-38
        (Request(1, 2, 0x00C4, 0x0016), "02 00C4 0016"),  # 6.2: inputs 197-218
        (Request(1, 3, 0x006B, 0x0003), "03 006B 0003"),  # 6.3: registers 108-110
        (Request(1, 4, 0x0008, 0x0001), "04 0008 0001"),  # 6.4: input register 9
    ],
)
def test_reads_are_encoded_as_in_the_application_protocol(request_, pdu):
    assert encode_read(request_) == bytes.fromhex(pdu)


@pytest.mark.parametrize(
    ("request_", "pdu", "data"),
    [
        (Request(1, 1, 0x0013, 0x0013), "01 03 CD6B05", "CD6B05"),
        (Request(1, 2, 0x00C4, 0x0016), "02 03 ACDB35", "ACDB35"),
        (Request(1, 3, 0x006B, 0x0003), "03 06 022B00000064", "022B00000064"),
        (Request(1, 4, 0x0008, 0x0001), "04 02 000A", "000A"),
    ],
)
def test_answers_of_the_application_protocol_give_their_data(request_, pdu, data):
    assert answer_data(request_, memoryview(bytes.fromhex(pdu))) == bytes.fromhex(data)


@pytest.mark.parametrize("function", [f for f in range(-1, 257) if f not in (1, 2, 3, 4)])
def test_nothing_but_a_read_can_be_encoded(function):
    with pytest.raises(ValueError, match="not a read"):
        encode_read(Request(1, function, 0, 1))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request(1, 3, 0, 0), "count 0"),
        (Request(1, 3, 0, 126), "count 126"),
        (Request(1, 1, 0, 2001), "count 2001"),
        (Request(1, 3, 0xFFFF, 2), "outside 0..65535"),
        (Request(1, 3, -1, 2), "outside 0..65535"),
        (Request(256, 3, 0, 1), "unit 256"),
        (Request(-1, 3, 0, 1), "unit -1"),
    ],
)
def test_a_read_outside_the_limits_is_refused(request_, reason):
    with pytest.raises(ValueError, match=reason):
        encode_read(request_)


@pytest.mark.parametrize("code", range(1, 12))
def test_an_exception_answer_keeps_its_code(code):
    with pytest.raises(DeviceException) as error:
        answer_data(Request(1, 3, 0, 1), memoryview(bytes((0x83, code))))
    assert error.value.code == code
    assert error.value.retryable == (code > 3)


@pytest.mark.parametrize(
    "pdu", ["", "03", "0302", "030200", "0304000A", "030400000000", "0402000A", "8302FF", "4302000A"]
)
def test_what_is_no_answer_is_a_bad_frame(pdu):
    with pytest.raises(BadFrame):
        answer_data(Request(1, 3, 0, 1), memoryview(bytes.fromhex(pdu)))


@given(st.binary(max_size=300), st.sampled_from((1, 2, 3, 4)), st.integers(1, 125))
def test_any_bytes_are_data_of_the_asked_length_or_a_device_error(pdu, function, count):
    request = Request(1, function, 0, count)
    try:
        data = answer_data(request, memoryview(pdu))
    except (BadFrame, DeviceException):
        return
    assert len(data) == request.answer_bytes


def test_no_source_of_ours_calls_a_write_of_a_modbus_library():
    calls = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.func.attr}"
        for package in ("collector", "drivers")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr.startswith(("write_coil", "write_register", "mask_write", "write_file", "readwrite_"))
    ]
    assert calls == []
