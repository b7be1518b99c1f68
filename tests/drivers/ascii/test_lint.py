import pytest

from drivers.ascii.lint import looks_like_a_command
from drivers.errors import ProfileError
from drivers.profile import parse_profile
from tests.drivers.ascii.test_profile import TEXT


def findings(*changes, text=TEXT):
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "test")
    return {key: reason for key, reason, _ in caught.value.findings}


COLUMNS = 'layout = "columns"\nlength = 14\n'
PATTERN = "pattern = '^(?P<model>[^ ]+) (?P<firmware>[0-9.]+)$'"


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("receive", [('start = "!"\nother_starts = ["?"]\nend = "\\r"', 'start = "!"')]),
        ("receive.other_starts", [('other_starts = ["?"]', 'other_starts = ["?!"]')]),
        ("receive.size", [("[receive]\n", "[receive]\nlength = 20\nsize = { at = 1 }\n")]),
        ("receive.idle_s", [("[receive]\n", "[receive]\nlength = 20\nidle_s = 0.1\n")]),
        ("receive.length", [("[receive]\n", "[receive]\nlength = 4\n")]),
        (
            "send.check.behind_end",
            [('check = { kind = "sum8",', 'check = { kind = "sum8", behind_end = true,')],
        ),
        ("send.check.kind", [('check = { kind = "sum8", digits = true }', "check = { digits = true }")]),
        ("send.check.digits", [('check = { kind = "sum8", digits = true }', 'check = { kind = "lrc" }')]),
        ("command[values].ask", [('ask = "#{addr:02X}"', 'ask = "#{unit}"')]),
        ("command[values].ask", [('ask = "#{addr:02X}"', 'ask = "%{addr:02X}"')]),
        ("command[identity].ask", [('ask = "${addr:02X}M"', 'ask = "#{addr:02X}"')]),
        ("command[values].begins", [('begins = "{addr:02X}"', 'begins = "{addr"')]),
        ("command[values].max_age_s", [('begins = "{addr:02X}"', 'begins = "{addr:02X}"\nmax_age_s = 5')]),
        ("command[alarm].max_age_s", [("max_age_s = 3600\n", "")]),
        ("command[values].length", [(COLUMNS, 'layout = "columns"\n')]),
        ("command[values].pattern", [(COLUMNS, COLUMNS + "pattern = 'x'\n")]),
        ("command[values].separator", [(COLUMNS, COLUMNS + "separator = ','\n")]),
        ("command[identity].pattern", [(PATTERN, "pattern = '(?P<model>(a+)+)b'")]),
        ("command[identity].pattern", [(PATTERN, "")]),
        ("command[identity].length", [(PATTERN, PATTERN + "\nlength = 5")]),
        ("command[values]", [('request = "#0A94\\r"', 'request = "#0B95\\r"\n')]),
        ("point[temperature].width", [("at = 0\nwidth = 7", "at = 0")]),
        ("point[temperature].at", [("at = 0\n", "")]),
        ("point[temperature].field", [("at = 0\n", "at = 0\nfield = 1\n")]),
        ("point[temperature].item", [("at = 0\n", "at = 0\nitem = 1\n")]),
        ("point[temperature].type", [("at = 0\n", 'at = 0\ntype = "u16"\n')]),
        ("point[temperature].bit", [("at = 0\n", "at = 0\nbit = 1\n")]),
        ("point[temperature].low_first", [("at = 0\n", "at = 0\nlow_first = true\n")]),
        ("point[temperature].words", [("at = 0\n", "at = 0\nwords = { A = 1 }\n")]),
        ("point[model].group", [('group = "model"', 'group = "modell"')]),
        ("point[model].width", [('group = "model"', 'group = "model"\nwidth = 3')]),
        ("point[door].words", [("words = { OPEN = 1, SHUT = 0 }\n", "")]),
    ],
)
def test_each_mistake_is_told_where_it_stands(key, changes):
    assert key in findings(*changes), findings(*changes)


def test_several_mistakes_are_told_at_once():
    found = findings(("max_age_s = 3600\n", ""), ("at = 0\nwidth = 7", "at = 0"), (COLUMNS, 'layout = "columns"\n'))
    assert {"command[alarm].max_age_s", "point[temperature].width", "command[values].length"} <= set(found)


@pytest.mark.parametrize(
    "question",
    [
        *("S05R0001", "S.2", "C", "CT", "T", "T10", "TL", "Q"),  # Megatec
        *("%0102080600", "#01+05.000", "@01DO0F", "$011", "~0131FF"),  # DCON
        *("~20014045E002", ":01060001", "0110000A"),  # YD/T 1363, Modbus ASCII
        *("SET TEMP 20", "out:reset", "TARE", "CAL", "ALARM OFF", "A=5"),
    ],
)
def test_a_question_that_is_a_command_somewhere_is_refused(question):
    assert looks_like_a_command(question.encode())


@pytest.mark.parametrize(
    "question",
    [
        *("Q1", "QS", "F", "I", "QGS", "#01", "#012", "$01M", "$012", "$016", "~20014041E00200", ":01030001"),
        *("T?", "TEMP?", "MEAS:VOLT?", "01L", "READ", "R", "SEND", "STATUS", "A=?"),
    ],
)
def test_a_question_that_only_reads_is_not(question):
    assert looks_like_a_command(question.encode()) is None


def test_a_question_that_looks_like_a_command_is_allowed_with_the_place_where_it_is_explained():
    text = TEXT.replace('ask = "#{addr:02X}"', 'ask = "T"\nreads = "manual, page 7: asks for the temperature"')
    text = text.replace('request = "#0A94\\r"', 'request = "T54\\r"')
    assert parse_profile(text, "test").ask("values", 1).question == b"T54\r"
    found = findings(('ask = "#{addr:02X}"', 'ask = "T"'), ('request = "#0A94\\r"', 'request = "T54\\r"'))
    assert "battery test" in found["command[values].ask"]


ALARM = """separator = ";"
length = 2
receive = { start = "*", end = "\\n" }"""
DOOR = """field = 1
type = "word"
words = { OPEN = 1, SHUT = 0 }"""


def test_an_answer_that_could_be_a_line_of_its_own_is_told():
    careless = (
        (ALARM, 'separator = ";"\nlength = 1\nlonger = true'),
        (DOOR, 'field = 0\ntype = "word"\nwords = {"*" = 1}'),
    )
    found = findings(*careless, ("*3;OPEN\\n", "!3;OPENC1\\r"))
    assert "by itself" in found["golden[0].response"]


def test_a_golden_frame_may_be_written_in_the_encoding_of_the_device():
    text = TEXT.replace("*3;OPEN", "*3;火警").replace("OPEN = 1", '"火警" = 1')
    text = text.replace(ALARM, f'{ALARM}\nencoding = "gb18030"')
    assert "cannot stand on a line" in findings(text=text)["golden[2]"]
    profile = parse_profile(text.replace('request = ""', 'request = ""\nencoding = "gb18030"'), "test")
    assert "火警".encode("gb18030") in profile.answer(profile.command_named("alarm"), 1, {"door": 1})
