"""Asking and answering over many TCP connections in one call: the good case of poll, without an object per request.

A lane is a connection on which all is well; its row in the tables is the number of its bus, a read's row the number of
its block. Whatever is not a whole good answer to the read in flight is left to the caller in `odd`.
"""

import platform

import numpy as np
from numpy.typing import NDArray

from collector.kernels._jit import inlined, kernel, libc

#: Requests or answers per call: the caller reads the clock in between, so that no time is off by a millisecond.
CHUNK = 64
#: Longest Modbus TCP frame (260 bytes) and some of what may follow it.
SPILL_BYTES = 300
#: Columns of `lanes`: descriptor (-1: not ours), read in flight (-1: none), first of its reads, last transaction id.
FD, IN_FLIGHT, FIRST, TRANSACTION, LANE_COLUMNS = 0, 1, 2, 3, 4
#: Columns of `lane_times`, in seconds: when the read in flight was sent, and how long the line was in use.
SENT_AT, BUSY, LANE_TIME_COLUMNS = 0, 1, 2
#: Columns of `reads`: next read of the same lane (-1: none), unit, length of the whole answer.
NEXT, UNIT, WHOLE, READ_COLUMNS = 0, 1, 2, 3
#: Columns of `read_times`, in seconds: when it is due, its interval, how long its answer may take.
DUE, INTERVAL, PATIENCE, READ_TIME_COLUMNS = 0, 1, 2, 3
#: A row of `frames`: the question, and the begin of its good answer; both start with the transaction id.
QUESTION_BYTES, HEAD_BYTES, FRAME_BYTES = 12, 9, 24
#: Columns of `units`.
ASKED, ANSWERED, LAST_NS, SKIPPED, UNIT_COLUMNS = 0, 1, 2, 3, 4
#: Places of `intake`, the state of collector.poll.intake: bytes and records in it, bytes that still fit, counters.
FILL, RECORDS, ROOM, ACCEPTED, DROPPED, INTAKE_PLACES = 0, 1, 2, 3, 4, 5
#: What a record counts for beside its bytes (its number, place, time and outcome): a flood of failures is bounded too.
RECORD_BYTES = 32
#: Columns of `odd`: whose, what happened, and its number.
WHO, WHAT, NUMBER, ODD_COLUMNS = 0, 1, 2, 3
#: What happened: `NUMBER` of the frame's bytes were sent; `NUMBER` bytes came (they are in `spill`); descriptor `WHO`
#: has the events `NUMBER`. A negative number of bytes is minus the errno.
SENT, RECEIVED, EVENT = 0, 1, 2
#: Places of `told`: requests in flight on all lanes; the earliest deadline or due time that was set.
FLYING, SOONEST, TOLD_PLACES = 0, 1, 2

NEVER = np.inf
#: Weight of a new round trip in the running mean.
RTT_WEIGHT = 0.1
OK = 0  # collector.types.Outcome
#: epoll(7): only x86-64 packs the 12 bytes of an event; elsewhere its descriptor stands behind four bytes of nothing.
EVENT_WORDS, EVENT_FD = (3, 1) if platform.machine() in ("x86_64", "AMD64") else (4, 2)
READABLE = 1  # EPOLLIN
NO_SIGNAL = 0x4000  # MSG_NOSIGNAL

_send = libc("send", "int64(int32, uintp, uintp, int32)")
_recv = libc("recv", "int64(int32, uintp, uintp, int32)")
_epoll_wait = libc("epoll_wait", "int32(int32, uintp, int32, int32)")
_errno = libc("__errno_location", "CPointer(int32)()")

_TABLES = (
    "int64[:,::1], float64[:,::1], int64[:,::1], float64[:,::1], uint8[:,::1], int64[:,::1], float64[::1],"
    " float64[::1], float64[::1], float64[::1]"
)


@inlined
def _ask(
    lane: int,
    now: float,
    lanes: NDArray[np.int64],
    lane_times: NDArray[np.float64],
    reads: NDArray[np.int64],
    read_times: NDArray[np.float64],
    frames: NDArray[np.uint8],
    units: NDArray[np.int64],
    deadlines: NDArray[np.float64],
    wakes: NDArray[np.float64],
    told: NDArray[np.float64],
) -> int:
    """Send the due read with the earliest deadline, or note when one is due. The bytes sent, or minus the errno."""
    chosen = np.int64(-1)
    earliest, next_due = NEVER, NEVER
    read = lanes[lane, FIRST]
    while read >= 0:
        due = read_times[read, DUE]
        next_due = min(next_due, due)
        if due <= now and due + read_times[read, INTERVAL] < earliest:
            earliest, chosen = due + read_times[read, INTERVAL], read
        read = reads[read, NEXT]
    lanes[lane, IN_FLIGHT] = chosen
    if chosen < 0:
        deadlines[lane], wakes[lane] = NEVER, next_due
        told[SOONEST] = min(told[SOONEST], next_due)
        return QUESTION_BYTES
    transaction = (lanes[lane, TRANSACTION] + 1) & 0xFFFF
    lanes[lane, TRANSACTION] = transaction
    for begin in (0, QUESTION_BYTES):
        frames[chosen, begin] = transaction >> 8
        frames[chosen, begin + 1] = transaction & 0xFF
    lane_times[lane, SENT_AT] = now
    units[reads[chosen, UNIT], ASKED] += 1
    deadlines[lane], wakes[lane] = now + read_times[chosen, PATIENCE], NEVER
    told[FLYING] += 1
    told[SOONEST] = min(told[SOONEST], deadlines[lane])
    place = frames.ctypes.data + np.uintp(chosen * FRAME_BYTES)
    sent = _send(np.int32(lanes[lane, FD]), place, np.uintp(QUESTION_BYTES), np.int32(NO_SIGNAL))
    return int(sent) if sent >= 0 else -int(_errno()[0])


@kernel(f"int64(float64, int64, {_TABLES}, int64[:,::1], int64[::1])")
def launch(
    now: float,
    begin: int,
    lanes: NDArray[np.int64],
    lane_times: NDArray[np.float64],
    reads: NDArray[np.int64],
    read_times: NDArray[np.float64],
    frames: NDArray[np.uint8],
    units: NDArray[np.int64],
    rtts: NDArray[np.float64],
    deadlines: NDArray[np.float64],
    wakes: NDArray[np.float64],
    told: NDArray[np.float64],
    odd: NDArray[np.int64],
    oddities: NDArray[np.int64],
) -> int:
    """Ask on the lanes from `begin` on that are due, CHUNK at most. Returns where to go on: at the end, nowhere.

    `oddities[0]` is the number of rows written to `odd`: sends that failed or fell short.
    """
    served, noted = 0, 0
    lane = begin
    while lane < len(lanes) and served < CHUNK:
        if wakes[lane] <= now and lanes[lane, FD] >= 0:
            served += 1
            sent = _ask(lane, now, lanes, lane_times, reads, read_times, frames, units, deadlines, wakes, told)
            if sent != QUESTION_BYTES:
                odd[noted, WHO], odd[noted, WHAT], odd[noted, NUMBER] = lane, SENT, sent
                noted += 1
        lane += 1
    oddities[0] = noted
    return lane


@inlined
def _is_answer(
    read: int, size: int, reads: NDArray[np.int64], frames: NDArray[np.uint8], data: NDArray[np.uint8]
) -> int:
    """Whether `size` bytes of `data` are the good answer to `read`: transaction, unit, function and both lengths."""
    if size != reads[read, WHOLE]:
        return False
    same = True
    for k in range(HEAD_BYTES):
        same &= data[k] == frames[read, QUESTION_BYTES + k]
    return same


@inlined
def _settle(
    lane: int,
    read: int,
    now: float,
    ts_ns: int,
    lanes: NDArray[np.int64],
    lane_times: NDArray[np.float64],
    reads: NDArray[np.int64],
    read_times: NDArray[np.float64],
    units: NDArray[np.int64],
    rtts: NDArray[np.float64],
    told: NDArray[np.float64],
) -> None:
    """`read` was answered: count it and move it to its next place on the grid; places already past are skipped."""
    told[FLYING] -= 1
    unit = reads[read, UNIT]
    rtt = now - lane_times[lane, SENT_AT]
    lane_times[lane, BUSY] += rtt
    rtts[unit] += (rtt - rtts[unit]) * (RTT_WEIGHT if units[unit, ANSWERED] else 1.0)
    units[unit, ANSWERED] += 1
    units[unit, LAST_NS] = ts_ns
    due = read_times[read, DUE] + read_times[read, INTERVAL]
    if due <= now:
        skipped = np.int64((now - due) / read_times[read, INTERVAL]) + 1
        units[unit, SKIPPED] += skipped
        due += skipped * read_times[read, INTERVAL]
    read_times[read, DUE] = due


@inlined
def _keep(
    read: int,
    size: int,
    ts_ns: int,
    data: NDArray[np.uint8],
    image: NDArray[np.uint8],
    block: NDArray[np.int32],
    start: NDArray[np.int64],
    stamp: NDArray[np.int64],
    outcome: NDArray[np.uint8],
    intake: NDArray[np.int64],
) -> None:
    """The register bytes of a whole answer become a record of the intake, or are counted as dropped."""
    length = size - HEAD_BYTES
    intake[ROOM] -= length + RECORD_BYTES
    if intake[ROOM] < 0:
        intake[DROPPED] += 1
        return
    fill, record = intake[FILL], intake[RECORDS]
    for k in range(length):
        image[fill + k] = data[HEAD_BYTES + k]
    block[record], start[record], stamp[record], outcome[record] = read, fill, ts_ns, OK
    intake[FILL] = fill + length
    intake[RECORDS] = record + 1
    intake[ACCEPTED] += 1


@kernel(
    f"int64(int64, float64, int64, {_TABLES}, int64[:,::1], int64[::1], int32[::1], uint32[::1], uint8[:,::1],"
    " uint8[::1], int32[::1], int64[::1], int64[::1], uint8[::1], int64[::1])"
)
def serve(
    epoll: int,
    now: float,
    ts_ns: int,
    lanes: NDArray[np.int64],
    lane_times: NDArray[np.float64],
    reads: NDArray[np.int64],
    read_times: NDArray[np.float64],
    frames: NDArray[np.uint8],
    units: NDArray[np.int64],
    rtts: NDArray[np.float64],
    deadlines: NDArray[np.float64],
    wakes: NDArray[np.float64],
    told: NDArray[np.float64],
    odd: NDArray[np.int64],
    oddities: NDArray[np.int64],
    lane_of: NDArray[np.int32],
    events: NDArray[np.uint32],
    spill: NDArray[np.uint8],
    image: NDArray[np.uint8],
    block: NDArray[np.int32],
    start: NDArray[np.int64],
    stamp: NDArray[np.int64],
    outcome: NDArray[np.uint8],
    intake: NDArray[np.int64],
) -> int:
    """Take what has arrived, at most CHUNK events, and ask the next read at once. Returns the number of events.

    `lane_of` tells the lane of a descriptor, -1 for none. Row i of `spill` holds the bytes of row i of `odd`.
    """
    noted = 0
    count: int = _epoll_wait(np.int32(epoll), events.ctypes.data, np.int32(CHUNK), np.int32(0))
    for e in range(count):
        what = np.int64(events[e * EVENT_WORDS])
        fd = np.int64(events[e * EVENT_WORDS + EVENT_FD])
        lane = int(lane_of[fd]) if fd < len(lane_of) else -1
        if lane < 0 or what != READABLE:
            odd[noted, WHO], odd[noted, WHAT], odd[noted, NUMBER] = fd, EVENT, what
            noted += 1
            continue
        data = spill[noted]
        size = _recv(np.int32(fd), data.ctypes.data, np.uintp(SPILL_BYTES), np.int32(0))
        read: int = lanes[lane, IN_FLIGHT]
        if read < 0 or not _is_answer(read, size, reads, frames, data):
            odd[noted, WHO], odd[noted, WHAT] = lane, RECEIVED
            odd[noted, NUMBER] = size if size >= 0 else -np.int64(_errno()[0])
            noted += 1
            continue
        _keep(read, size, ts_ns, data, image, block, start, stamp, outcome, intake)
        _settle(lane, read, now, ts_ns, lanes, lane_times, reads, read_times, units, rtts, told)
        sent = _ask(lane, now, lanes, lane_times, reads, read_times, frames, units, deadlines, wakes, told)
        if sent != QUESTION_BYTES:
            odd[noted, WHO], odd[noted, WHAT], odd[noted, NUMBER] = lane, SENT, sent
            noted += 1
    oddities[0] = noted
    return count if count > 0 else 0
