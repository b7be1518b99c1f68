"""Numbers in sentences."""

from collector.wording import counted


def test_one_is_singular_and_everything_else_plural():
    assert [counted(n, "device") for n in (0, 1, 2)] == ["0 devices", "1 device", "2 devices"]


def test_a_plural_that_is_not_made_with_an_s_is_given():
    assert [counted(n, "bus", "buses") for n in (1, 3)] == ["1 bus", "3 buses"]
