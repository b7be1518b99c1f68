"""Serial protocols that ask with one line of characters and answer with one: what they have in common.

A dialect is a folder of its own (`drivers/ydt1363/`) with a pure-bytes codec and a profile model; it is entered in
`drivers/protocols.py`. It gives six things, all of them in `drivers.text.profile.TextProfile`: its keys of a command
and of a point, the question of a command, how the end of an answer is found, what numbers and texts an answer holds,
the answer a device would give (for simulators and tests), and its own lint. Everything else is here or elsewhere:

    framing.py    where a frame begins and ends among what a line delivers
    command.py    a question to one unit, with what finds and reads its answer
    exchange.py   one line as a state machine without clock or port: gaps, echoes, damage, late answers
    listener.py   what devices say without being asked
    link.py       both on a real wire and in real time
    image.py      numbers and texts as the register image that everything behind a link understands
    profile.py    what a profile of any dialect has; planning and golden frames

An answer never becomes a Modbus read, but its values travel in the same form: every number as four registers (a
big-endian double; NaN: not available), every text in registers of two bytes. Scale, range, decimals, deadband and
symbols of a point are therefore applied by the same code as for Modbus.
"""
