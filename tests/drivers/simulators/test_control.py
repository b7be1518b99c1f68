import asyncio
import json
import os

from drivers.simulators.control import LineControl, obey
from drivers.simulators.faults import Fault
from drivers.simulators.unit import Unit


def units():
    return {name: Unit(name, {}) for name in ("ups-1", "ups-2")}


def test_a_line_switches_a_fault_on_and_off():
    known = units()
    assert obey("ups-1 late:0.5", known) == {"device": "ups-1", "fault": "late:0.5"}
    assert known["ups-1"].fault == Fault("late", 0.5)
    assert known["ups-2"].fault is None
    obey("ups-1 ok", known)
    assert known["ups-1"].fault is None


def test_stats_tell_what_was_asked():
    known = units()
    known["ups-2"].answer(b"\x06\x00\x00\x00\x01")
    assert obey("stats", known)["ups-2"] == {"requests": 1, "exceptions": 1, "writes_refused": 1}


def test_a_mistake_changes_nothing_and_is_answered():
    known = units()
    for line in ("ups-9 silent", "ups-1 sulky", "ups-1", "ups-1 late soon"):
        assert "error" in obey(line, known)
    assert known["ups-1"].fault is None


def test_commands_come_through_a_pipe_in_any_pieces():
    async def scenario():
        replies: asyncio.Queue[str] = asyncio.Queue()
        read_end, write_end = os.pipe()
        known = units()
        control = LineControl(known, replies.put_nowait, read_end)
        control.start()
        for piece in (b"ups", b"-1 sil", b"ent\nups-2 ", b"nonsense\n\n"):
            os.write(write_end, piece)
            await asyncio.sleep(0.01)
        assert json.loads(await asyncio.wait_for(replies.get(), 10)) == {"device": "ups-1", "fault": "silent"}
        assert "error" in json.loads(await asyncio.wait_for(replies.get(), 10))
        os.close(write_end)  # end of file: nothing spins
        await asyncio.sleep(0.05)
        assert not control._reading
        os.close(read_end)
        assert known["ups-1"].fault == Fault("silent")

    asyncio.run(scenario())


def test_a_plain_file_as_standard_input_is_left_alone(tmp_path):
    async def scenario():
        (tmp_path / "empty").touch()
        descriptor = os.open(tmp_path / "empty", os.O_RDONLY)
        control = LineControl(units(), print, descriptor)
        control.start()
        assert not control._reading
        os.close(descriptor)

    asyncio.run(scenario())
