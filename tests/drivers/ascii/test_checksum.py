import pytest

from drivers.ascii.checksum import Check

#: The value of the ASCII text "123456789": "check" in the catalogues of checksums; of the sums, added by hand.
OF_123456789 = {
    "none": "",
    "sum8": "DD",
    "sum8-neg": "23",
    "sum16": "01DD",
    "sum16-neg": "FE23",
    "xor8": "31",
    "crc8": "F4",  # CRC-8/SMBUS
    "crc16-modbus": "374B",  # 4B37H, low byte first
    "crc16-xmodem": "31C3",
    "crc16-ccitt-false": "29B1",  # CRC-16/IBM-3740
}


@pytest.mark.parametrize("kind", OF_123456789)
def test_the_published_check_value_comes_out(kind):
    assert Check(kind=kind).octets(b"123456789") == bytes.fromhex(OF_123456789[kind])


@pytest.mark.parametrize("kind", OF_123456789)
def test_as_digits_it_takes_two_characters_per_byte(kind):
    check = Check(kind=kind, digits=True)
    assert check.octets(b"123456789") == OF_123456789[kind].encode()
    assert check.width == len(OF_123456789[kind])


@pytest.mark.parametrize(
    ("kind", "covered", "digits"),
    [
        ("lrc", "010300000001", "FB"),  # the Modbus ASCII frame :010300000001FB (serial line V1.02, 2.5.2.2)
        ("sum16-neg", "20014041E00200", "FD3D"),  # YD/T 1363: the frame ~20014041E00200FD3D
        ("sum16-neg", "21012A500000", "FDA4"),
        ("crc16-xmodem", "QPIGS", "B7A9"),  # Voltronic
        ("crc16-xmodem", "QMOD", "49C1"),
        ("sum8", "#01", "84"),
    ],
)
def test_the_checksums_of_known_frames_come_out(kind, covered, digits):
    assert Check(kind=kind, digits=True).octets(covered.encode()) == digits.encode()


def test_the_bytes_of_a_16_bit_sum_may_stand_the_other_way_round():
    assert Check(kind="crc16-modbus", low_first=False).octets(b"123456789") == bytes.fromhex("4B37")
    assert Check(kind="crc16-xmodem", low_first=True).octets(b"123456789") == bytes.fromhex("C331")


def test_digits_may_come_in_small_letters_and_bytes_may_not_differ():
    assert Check(kind="sum8", digits=True).matches(b"123456789", b"dd")
    assert not Check(kind="sum8").matches(b"123456789", b"\xdc")


@pytest.mark.parametrize("covered", [b"0103 0", b"xy", b"\xff\xff"])
def test_an_lrc_of_what_is_no_hex_matches_nothing(covered):
    assert not Check(kind="lrc", digits=True).matches(covered, b"00")
