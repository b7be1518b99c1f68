import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.ascii.checksum import Check
from drivers.ascii.framing import Framing, SizeField
from tests.fuzzing import hostile

LINE = Framing(end="\r\n")
MARKED = Framing(start="(", end="\r")
DCON = Framing(start=">", end="\r", check=Check(kind="sum8", digits=True, skip_first=0))
BCC = Framing(start=r"\x02", end=r"\x03", check=Check(kind="xor8", behind_end=True))
CRC_LINE = Framing(start="(", end="\r", check=Check(kind="crc16-xmodem"))
FLAGS = Framing(start="~", end="~")
FIXED = Framing(start=r"\xAA\x55", length=8, check=Check(kind="sum8"))
SIZED = Framing(
    start="h", size=SizeField(at=1, width=1, add=4), end=r"\x16", check=Check(kind="crc16-modbus"), max_bytes=64
)
YDN = Framing(
    start="~",
    end="\r",
    size=SizeField(at=9, width=4, format="hex", mask=0x0FFF, add=18),
    check=Check(kind="sum16-neg", digits=True),
)
PAUSE = Framing(idle_s=0.05)
PRINTER = Framing(end="\n", idle_s=0.2)
ALL = {
    "a line": LINE,
    "start and end": MARKED,
    "checksum in digits": DCON,
    "checksum behind the end": BCC,
    "checksum that may hold the end": CRC_LINE,
    "one flag at both ends": FLAGS,
    "fixed length": FIXED,
    "length inside": SIZED,
    "length in hex digits": YDN,
    "silence": PAUSE,
    "line or silence": PRINTER,
}
each_framing = pytest.mark.parametrize("framing", ALL.values(), ids=ALL.keys())


def good(framing, body=b"+023.4"):
    """A whole frame around about this body."""
    if framing.length:
        return framing.seal(body.ljust(framing.length - 3, b"x")[: framing.length - 3])
    if framing is YDN:
        digits = body.hex().upper().encode()
        return framing.seal(b"20014000" + b"%04X" % len(digits) + digits)
    if framing.size:
        return framing.seal(bytes([len(body) + 1]) + body)
    return framing.seal(body)


def frames_of(framing, data, *, one_by_one=False):
    """What a line of these bytes, and a silence behind them, gives."""
    held, found = b"", []
    for piece in [data[i : i + 1] for i in range(len(data))] if one_by_one else [data]:
        held += piece
        while (place := framing.find(held, silent=False)) is not None:
            found.append(held[place[0] : place[1]])
            held = held[place[1] :]
    while (place := framing.find(held, silent=True)) is not None:
        found.append(held[place[0] : place[1]])
        held = held[place[1] :]
    return found


def sound_of(framing, data, *, one_by_one=False):
    return [f for f in frames_of(framing, data, one_by_one=one_by_one) if framing.sound(framing.whole(f))]


@each_framing
@pytest.mark.parametrize("one_by_one", [False, True], ids=["in one piece", "byte by byte"])
def test_a_frame_is_found_whole_and_gives_its_body_back(framing, one_by_one):
    frame = good(framing)
    assert frames_of(framing, frame, one_by_one=one_by_one) == [frame]
    assert framing.sound(frame)
    assert framing.seal(framing.body(frame)) == frame


@each_framing
def test_two_frames_in_one_piece_are_two_unless_only_silence_ends_them(framing):
    first, second = good(framing, b"+023.4"), good(framing, b"-001.5")
    expected = [first + second] if framing is PAUSE else [first, second]
    assert frames_of(framing, first + second) == expected


NOISE = {
    "a stray byte": b"\x00",
    "the begin of a frame": None,
    "bytes like a start": b"(~>\x02\xaah",
    "300 times noise": b"\xfe" * 300,
    "1000 times a start": b"(" * 1000,
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("framing", [f for f in ALL.values() if f.start and f is not FLAGS])
def test_behind_noise_the_frame_is_found_where_it_begins(framing, noise):
    frame = good(framing)
    before = frame[: len(frame) // 2] if NOISE[noise] is None else NOISE[noise]
    if framing.size and noise == "the begin of a frame":
        before = b"\xfe" + framing.start  # a length that is none
    assert sound_of(framing, before + frame) == [frame]


@pytest.mark.parametrize("framing", [DCON, BCC, CRC_LINE, FIXED, SIZED, YDN])
def test_every_single_flipped_bit_is_noticed_and_the_next_frame_is_found(framing):
    frame = good(framing)
    for bit in range(8 * len(frame)):
        broken = bytearray(frame)
        broken[bit // 8] ^= 1 << bit % 8
        if broken.lower() == frame.lower():
            continue  # a small letter in a checksum of digits is the same digit
        assert frame not in sound_of(framing, bytes(broken))
        assert sound_of(framing, bytes(broken) + b"\xfe" * 70 + frame)[-1:] == [frame]


def test_without_the_checksum_a_flipped_bit_would_have_been_a_frame():
    careless = Framing(start=">", end="\r")
    assert sound_of(careless, b">+023.6XX\r") == [b">+023.6XX\r"]


def test_a_damaged_frame_is_reported_at_once_not_only_when_the_line_is_silent():
    frame = good(DCON).replace(b"4", b"5", 1)
    place = DCON.find(frame, silent=False)
    assert place == (0, len(frame))
    assert not DCON.sound(frame)


def test_a_checksum_that_holds_the_end_does_not_end_the_frame():
    """CRC-16/XMODEM of some body is 0D0DH, 0DxxH or xx0DH: the frame ends behind it."""
    bodies = [b"%05d" % n for n in range(20000) if 0x0D in Check(kind="crc16-xmodem").octets(b"%05d" % n)]
    assert len(bodies) > 50
    for body in bodies:
        frame = CRC_LINE.seal(body)
        assert sound_of(CRC_LINE, frame, one_by_one=True) == [frame]


def test_a_start_in_the_body_belongs_to_it_when_the_checksum_says_so():
    frame = CRC_LINE.seal(b"a (b) (c)")
    assert sound_of(CRC_LINE, b"((" + frame) == [frame]


def test_without_a_checksum_a_start_begins_the_frame_anew():
    assert frames_of(MARKED, b"(226.0 195(226.0 196.0\r") == [b"(226.0 196.0\r"]


def test_what_is_too_long_is_no_frame_and_the_next_one_is():
    short = Framing(end="\r", max_bytes=10)
    assert frames_of(short, b"x" * 40 + b"\r" + b"good\r") == [b"good\r"]


def test_a_length_beyond_the_longest_frame_is_not_waited_for():
    frame = good(SIZED)
    assert frames_of(SIZED, b"h\xff" + frame) == [frame]


@pytest.mark.parametrize("field", [b"+01E", b" 1_0", b"\xb2\xb2\xb2\xb2"])
def test_a_length_in_digits_takes_digits_only(field):
    with pytest.raises(ValueError):
        SizeField(at=0, width=4, format="hex").frame_bytes(field)


def test_a_silence_ends_what_has_no_end_of_its_own():
    assert PAUSE.find(b"+023.4", silent=False) is None
    assert PAUSE.find(b"+023.4", silent=True) == (0, 6)
    assert PRINTER.find(b"one\ntwo", silent=False) == (0, 4)
    assert PRINTER.find(b"two", silent=False) is None
    assert PRINTER.find(b"two", silent=True) == (0, 3)
    assert PRINTER.whole(b"two") == b"two\n"
    assert LINE.find(b"two", silent=True) is None


@each_framing
def test_hostile_bytes_give_places_inside_the_data_and_never_stop_the_next_frame(framing):
    """Whole or byte by byte: nothing is raised, both give the same sound frames where the checksum decides."""
    frame = good(framing)
    for data in hostile([frame, good(framing, b"(\r\n~")], seed=7, longest=3 * len(frame)):
        whole, pieces = sound_of(framing, data), sound_of(framing, data, one_by_one=True)
        assert all(len(found) <= framing.longest for found in whole + pieces)
        if framing not in (PAUSE, PRINTER):
            assert whole == pieces, data
        if framing.start and framing is not FLAGS:
            assert sound_of(framing, data + b"\xfe" * framing.longest + frame)[-1] == frame


@given(st.binary(max_size=60), st.integers(0, 60))
def test_where_a_stream_is_cut_changes_nothing(data, at):
    for framing in (LINE, MARKED, DCON, BCC, CRC_LINE, FLAGS):
        first, second = data[:at], data[at:]
        held, found = b"", []
        for piece in (first, second):
            held += piece
            while (place := framing.find(held, silent=False)) is not None:
                found.append(held[place[0] : place[1]])
                held = held[place[1] :]
        assert found == found_in(framing, data)


def found_in(framing, data):
    found = []
    while (place := framing.find(data, silent=False)) is not None:
        found.append(data[place[0] : place[1]])
        data = data[place[1] :]
    return found
