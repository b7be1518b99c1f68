"""dead_letter: readable by anybody, and never larger than its cap."""

import base64
import json

from collector.bridge.check import BadLine, Reason
from collector.bridge.dead_letter import MAX_KEPT_BYTES, DeadLetters
from collector.clock import FakeClock

CAP = 1 << 20


def test_a_line_and_a_payload_are_kept_as_text_or_as_base64(tmp_path):
    letters = DeadLetters(tmp_path / "dead.jsonl", CAP, FakeClock(5))
    letters.write(
        [letters.payload("a/b", Reason.CRC, b"#dc1 \xff"), letters.line("", BadLine(Reason.STORE, b"m v", "d"))]
    )
    first, second = map(json.loads, (tmp_path / "dead.jsonl").read_text().splitlines())
    assert first == {
        "ts_ns": 5, "topic": "a/b", "reason": Reason.CRC.value, "base64": base64.b64encode(b"#dc1 \xff").decode(),
    }  # fmt: skip
    assert second == {"ts_ns": 5, "topic": "", "reason": Reason.STORE.value, "detail": "d", "text": "m v"}


def test_a_giant_payload_is_cut_and_says_so(tmp_path):
    letters = DeadLetters(tmp_path / "dead.jsonl", CAP, FakeClock())
    record = letters.payload("t", Reason.SIZE, b"x" * 500_000)
    assert (len(record["text"]), record["bytes"]) == (MAX_KEPT_BYTES, 500_000)


def test_both_files_together_stay_under_the_cap_and_keep_the_newest(tmp_path):
    letters = DeadLetters(tmp_path / "dead.jsonl", CAP, FakeClock())
    for n in range(60):
        letters.write(letters.payload(f"t{n}/{i}", Reason.CRC, b"\x00" * 5000) for i in range(5))
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["dead.jsonl", "dead.jsonl.1"]
    assert sum(file.stat().st_size for file in files) <= CAP
    records = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    assert records[-1] != {}
    assert "t59/4" in {record["topic"] for record in records}
    assert len(records) > 20


def test_nothing_to_write_makes_no_file(tmp_path):
    DeadLetters(tmp_path / "dead.jsonl", CAP, FakeClock()).write([])
    assert list(tmp_path.iterdir()) == []
