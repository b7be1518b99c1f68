"""Serial protocols that ask with one line of characters and answer with one: what they have in common.

How to add a dialect:

1. `drivers/<name>/frame.py`: questions and answers as pure bytes, strict, raising BadFrame and nothing else for what is
   no answer. Only what reads can be encoded. Published frames are its tests, and hostile bytes (`tests/fuzzing.py`).
2. `drivers/<name>/profile.py`: a `TextProfile` with the dialect's keys of a command and of a point, and six answers:
   what is asked (`question`), how the end of an answer is found (`framing`), what an answer says (`read`), what a
   device would say (`answer`, `refusal`: simulators and tests live on it), what is wrong in its keys (`mistakes`), and
   whether answers name their unit (`names_unit`) or echo a question to refuse it (`echo_is_answer`).
3. Its name into `drivers/protocols.py`, and a profile with golden frames into `drivers/profiles/`. Planning, polling,
   probe, check, simulators, golden frames, mutants and the contract tests of `firmware_tests/` work from there.

What is here:

    framing.py    where a frame begins and ends among what a line delivers
    command.py    a question to one unit, with what finds and reads its answer
    exchange.py   one line as a state machine without clock or port: gaps, echoes, damage, late answers
    listener.py   what devices say without being asked
    link.py       both on a real wire and in real time
    discovery.py  what answers at an address, and which profile fits
    image.py      numbers and texts as the register image that everything behind a link understands
    profile.py    what a profile of any dialect has
    repeat.py     its points of cells, fuses or branches, written once
    plan.py       a command as a block like those of Modbus, and what it costs

An answer never becomes a Modbus read, but its values travel in the same form: every number as four registers (a
big-endian double; NaN: not available), every text in registers of two bytes. Scale, range, decimals, deadband and
symbols of a point are therefore applied by the same code as for Modbus.
"""
