"""YD/T 1363.3 frames, pure bytes.

    SOI | VER ADR CID1 CID2|RTN LENGTH INFO CHKSUM | EOI

All between SOI (7EH unless a device differs) and EOI (0DH) is text: two hexadecimal digits per byte. LENGTH counts the
characters of INFO, not its bytes. A device that has no value sends the bytes 20H, some the blanks themselves: both
mean the same, and the checksum is always that of the characters as they came.
"""

from dataclasses import dataclass

from drivers.errors import BadFrame

SOI, EOI = 0x7E, b"\r"
#: SOI, VER to LENGTH, CHKSUM, EOI
MIN_FRAME = 18
#: LENID has twelve bits.
MAX_INFO = 4095
MAX_FRAME = MIN_FRAME + MAX_INFO
_HEAD = 12  #: characters of VER, ADR, CID1, CID2 and LENGTH

GET_VERSION, GET_ADDRESS, GET_MAKER = 0x4F, 0x50, 0x51
#: The standard's own commands that only read.
READS = frozenset({0x41, 0x42, 0x43, 0x44, 0x46, 0x47, 0x4D, GET_VERSION, GET_ADDRESS, GET_MAKER})
#: Remote control, set parameters, set clock; 94H and 95H set the limits of batteries.
WRITES = frozenset({0x45, 0x48, 0x49, 0x4E, 0x94, 0x95})
#: The makers' own. What one of them does only its maker knows, so a profile lists those that read.
VENDOR = range(0x80, 0xF0)

_HEX = frozenset(b"0123456789ABCDEFabcdef")
_NO_VALUE = 0x20


class WrongLength(BadFrame):
    """LENGTH contradicts itself or the frame."""


class WrongSum(BadFrame):
    """CHKSUM contradicts the frame."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`code` is CID2 in a question and RTN in an answer; `info` has the characters as they stand on the line."""

    version: int
    address: int
    cid1: int
    code: int
    info: bytes = b""

    @property
    def octets(self) -> bytes:
        """The bytes that INFO stands for. A pair of blanks is 20H. Raises BadFrame for what is neither."""
        info = self.info
        found = bytearray()
        for k in range(0, len(info), 2):
            pair = info[k : k + 2]
            if pair == b"  ":
                found.append(_NO_VALUE)
            elif len(pair) == 2 and _HEX.issuperset(pair):
                found.append(int(pair, 16))
            else:
                raise BadFrame(f"INFO has {pair!r} at character {k}: neither two hexadecimal digits nor two blanks")
        return bytes(found)


def length_field(lenid: int) -> bytes:
    """LENGTH of an INFO of `lenid` characters: the checksum of the digits, then the digits. Raises ValueError."""
    if not 0 <= lenid <= MAX_INFO:
        raise ValueError(f"INFO of {lenid} characters: 0 to {MAX_INFO} are possible")
    check = -((lenid >> 8) + (lenid >> 4 & 0xF) + (lenid & 0xF)) & 0xF
    return b"%04X" % (check << 12 | lenid)


def checksum(characters: bytes) -> int:
    """CHKSUM of all characters from VER to the end of INFO."""
    return -sum(characters) & 0xFFFF


def seal(frame: Frame, soi: int = SOI) -> bytes:
    """The characters of `frame`. Raises ValueError for a byte that is none, or an INFO that is too long."""
    for name in ("version", "address", "cid1", "code"):
        if not 0 <= getattr(frame, name) <= 0xFF:
            raise ValueError(f"{name} {getattr(frame, name)} is no byte")
    head = b"%02X%02X%02X%02X" % (frame.version, frame.address, frame.cid1, frame.code)
    body = head + length_field(len(frame.info)) + frame.info
    return bytes((soi,)) + body + b"%04X" % checksum(body) + EOI


def ask(version: int, address: int, cid1: int, cid2: int, info: bytes = b"", *, soi: int = SOI) -> bytes:
    """The question. Raises ValueError for a command that does not only read, or nobody knows."""
    if cid2 in WRITES or (cid2 not in READS and cid2 not in VENDOR):
        raise ValueError(f"CID2 {cid2:02X}H is no command that only reads")
    return seal(Frame(version, address, cid1, cid2, info), soi)


def unseal(data: bytes, soi: int = SOI) -> Frame:
    """What a whole frame says, from SOI to EOI. Raises WrongLength, WrongSum, and BadFrame for anything else."""
    if len(data) < MIN_FRAME or data[0] != soi or not data.endswith(EOI):
        raise BadFrame(f"is no frame: {_shown(data)}")
    if len(data) > MAX_FRAME:
        raise WrongLength(f"{len(data)} characters, {MAX_FRAME} are possible")
    body, check = data[1:-5], data[-5:-1]
    if not _HEX.issuperset(body[:_HEAD]) or not _HEX.issuperset(check):
        raise BadFrame(f"something else than a hexadecimal digit: {_shown(data)}")
    length, info = int(body[8:12], 16), body[_HEAD:]
    lenid = length & 0xFFF
    if body[8:12].upper() != length_field(lenid):
        raise WrongLength(f"LENGTH {length:04X} has a wrong checksum: {_shown(data)}")
    if lenid != len(info):
        raise WrongLength(f"LENGTH announces {lenid} characters of INFO, {len(info)} came: {_shown(data)}")
    if lenid % 2:
        raise WrongLength(f"INFO of {lenid} characters is no row of bytes")
    if int(check, 16) != checksum(body):
        raise WrongSum(f"CHKSUM {check.decode()} is wrong, {checksum(body):04X} fits: {_shown(data)}")
    version, address, cid1, code = bytes.fromhex(body[:8].decode())
    return Frame(version, address, cid1, code, info)


def _shown(data: bytes) -> str:
    """A frame in a message: its begin is enough to find it in a trace."""
    text = data[:40].decode("latin-1")
    return repr(text + "..." if len(data) > 40 else text)
