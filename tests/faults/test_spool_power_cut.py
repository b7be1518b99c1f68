"""S2 of the fault matrix: the power goes. What the disk has by then is a copy of the image under the file system."""

import shutil
import signal
import subprocess
import time

import pytest

from tests.faults.spool_children import keep_writing, mounted, numbers
from tests.spool_rows import a_row, a_spool, assert_balanced, pending

#: Long enough for dozens of commits, short enough that the kernel writes nothing back by itself (5 s and more).
RUN_S = 1.2
ROUNDS = 3


def cut_the_power(directory, synchronous):
    """The rows committed before the cut, and a spool on what the disk had."""
    image, copy = directory / "disk.img", directory / "after.img"
    with image.open("wb") as file:
        file.truncate(48 << 20)
    subprocess.run(["mkfs.ext4", "-qF", image], check=True)
    with mounted(directory / "disk", "-o", "loop", str(image)) as disk:
        child = keep_writing(disk / "spool.db", synchronous=synchronous, pause_s=0.02)
        child.wait_for_word()
        time.sleep(RUN_S)
        child.signal(signal.SIGSTOP)
        shutil.copyfile(image, copy)
        committed = max(numbers(child.end(), "committed"))
    return committed, copy


def rows_after(copy, directory):
    with mounted(directory / "after", "-o", "loop", str(copy)) as disk:
        spool = a_spool(disk / "spool.db")
        rows = pending(spool)
        assert_balanced(spool.stats())
        spool.close()
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(ROUNDS))
def test_a_power_cut_loses_no_committed_row(tmp_path, attempt):
    committed, copy = cut_the_power(tmp_path, "FULL")
    rows = rows_after(copy, tmp_path)
    assert committed > 20
    assert [row.seq for row in rows][:committed] == list(range(1, committed + 1))
    assert rows == [a_row(row.seq) for row in rows]


@pytest.mark.slow
def test_twin_without_full_synchronisation_the_power_cut_loses_rows(tmp_path):
    committed, copy = cut_the_power(tmp_path, "NORMAL")
    rows = rows_after(copy, tmp_path)
    assert len(rows) < committed
