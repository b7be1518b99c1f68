"""What a restart need not ask again."""

import json

import pytest

from collector.clock import FakeClock
from collector.inventory import Inventory
from collector.settings import Settings
from collector.splits import FORGET_S, MAX_BYTES, MAX_READS, Splits
from tests.fuzzing import hostile

READ = ("m1", 3, 100, 20)


@pytest.fixture
def clock():
    return FakeClock()


def test_a_refused_read_is_known_after_a_restart(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    before = Splits(path, clock)
    assert not before.changed
    assert READ not in before
    before.add(READ)
    assert before.changed
    before.save()
    assert not before.changed
    after = Splits(path, clock)
    assert READ in after
    assert ("m1", 3, 100, 21) not in after
    assert not after.changed


def test_a_month_later_the_device_is_asked_once_more(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    splits = Splits(path, clock)
    splits.add(READ)
    splits.save()
    clock.advance(FORGET_S - 1)
    assert READ in Splits(path, clock)
    clock.advance(2)
    assert READ not in Splits(path, clock)


def test_the_file_is_bounded_and_the_newest_stay(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    splits = Splits(path, clock)
    for number in range(MAX_READS + 5):
        splits.add((f"device-with-a-name-of-quite-some-length-{number}", 3, 60_000, 125))
    splits.save()
    assert path.stat().st_size < MAX_BYTES
    after = Splits(path, clock)
    assert ("device-with-a-name-of-quite-some-length-4", 3, 60_000, 125) not in after
    assert ("device-with-a-name-of-quite-some-length-5", 3, 60_000, 125) in after


def test_a_hostile_file_is_an_empty_one_and_is_replaced(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    good = json.dumps({"version": 1, "refused": [[*READ, 1e9], ["m2", 4, 0, 2, 1.7e9]]}).encode()
    odd = (b"", b"[" * 5000, b'{"version":1,"refused":[["m",1e999,0,0,0]]}', b'{"version":2,"refused":[]}', b"\xff")
    for data in (*odd, *hostile([good], 5, 200)):
        path.write_bytes(data)
        splits = Splits(path, clock)
    splits.add(READ)
    splits.save()
    assert READ in Splits(path, clock)


def test_a_file_far_too_large_is_not_read(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    rows = [[f"m{i}", 3, 0, 1, clock.now_ns() / 1e9] for i in range(MAX_BYTES // 20)]
    path.write_text(json.dumps({"version": 1, "refused": rows}))
    assert ("m9", 3, 0, 1) not in Splits(path, clock)


def test_what_cannot_be_written_raises_and_leaves_the_old_file(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    splits = Splits(path, clock)
    splits.add(READ)
    splits.save()
    (tmp_path / "spool.db.splits.new").mkdir()
    splits.add(("m2", 3, 0, 2))
    with pytest.raises(OSError):
        splits.save()
    assert splits.changed
    assert READ in Splits(path, clock)


def inventory(splits=None):
    return Inventory(
        Settings.model_validate(
            {
                "bus": ({"name": "b", "url": "tcp://h"},),
                "device": tuple(
                    {"name": name, "bus": "b", "unit": unit, "profile": "schneider/pm5xxx"}
                    for unit, name in enumerate(("m1", "m2"), 1)
                ),
                "uplink": ({"centre": "east"},),
            }
        ),
        splits,
    )


def test_the_next_run_begins_with_the_parts_that_the_last_one_came_to(tmp_path, clock):
    path = tmp_path / "spool.db.splits"
    first = inventory(Splits(path, clock))
    planned = first.buses[0].units[0].blocks
    parts = first.split(planned[0])
    deeper = first.split(parts[0])
    assert len(parts) > 1
    assert len(deeper) > 1
    first.splits.save()
    second = inventory(Splits(path, clock))
    begins = [
        (b.function, b.address, b.count, b.points) for b in (second.blocks[n] for n in second.buses[0].units[0].blocks)
    ]
    reached = [*deeper, *parts[1:], *planned[1:]]
    assert begins == [(b.function, b.address, b.count, b.points) for b in (first.blocks[n] for n in reached)]
    others = [second.blocks[n] for n in second.buses[0].units[1].blocks]
    assert [b.count for b in others] == [first.blocks[n].count for n in first.buses[0].units[1].blocks], "m2 is whole"
    assert second.buses[0].load > first.buses[0].load, "and what the parts cost is predicted"


def test_without_the_file_each_run_begins_with_the_refused_read():
    first = inventory()
    first.split(0)
    assert inventory().blocks[0] == first.blocks[0]
