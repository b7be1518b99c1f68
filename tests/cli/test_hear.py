import json
import os
import pty
import threading
import tty

import pytest
from click.testing import CliRunner

from collector.cli.probe import command


def run(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    assert not isinstance(result.exception, Exception), result.exception
    return result


@pytest.fixture
def port(tmp_path):
    """A serial port on which `say` sends bytes again and again."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    stop = threading.Event()

    def say(data):
        def talk():
            while not stop.wait(0.1):
                os.write(master, data)

        threading.Thread(target=talk, daemon=True).start()
        return f"serial://{os.ttyname(slave)}"

    yield say
    stop.set()
    os.close(slave)
    os.close(master)


def test_what_comes_is_shown_as_text_and_in_hex(port):
    done = run(port("火警 3-7\r\n".encode("gb18030")), "--listen", 0.5)
    assert done.exit_code == 0
    assert "火警 3-7\\r\\n" in done.stdout
    assert "BB F0 BE AF 20 33 2D 37 0D 0A" in done.stdout


def test_as_json_each_lump_has_its_time(port):
    done = run(port(b"+023.4C\r\n"), "--listen", 0.5, "--json")
    heard = json.loads(done.stdout)["heard"]
    assert {row["text"] for row in heard} == {"+023.4C\\r\\n"}
    assert {row["hex"] for row in heard} == {b"+023.4C\r\n".hex(" ").upper()}


def test_what_is_no_text_hints_at_the_speed(port):
    assert "another speed" in run(port(bytes([0, 1, 2, 255] * 4)), "--listen", 0.5).stdout


def test_silence_says_what_to_try_and_ends_with_1(port):
    done = run(port(b""), "--listen", 0.2)
    assert done.exit_code == 1
    assert "nothing" in done.stdout
    assert "Try" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("tcp://127.0.0.1", "--listen", 1), 2),
        (("serial:///dev/none", "--listen", 1), 3),
        (("serial:///dev/none", "--listen", 1, "--profile", "generic/xy_md02"), 2),
    ],
)
def test_what_cannot_be_listened_to_is_told(arguments, code):
    assert run(*arguments).exit_code == code
