"""Edge telemetry collector for data-centre facilities.

The path of a reading, one module per stage:

    poll       asks every device on every bus, one owner per bus
    decode     register bytes become values with a quality
    filter     only what changed goes on, with a heartbeat
    aggregate  windows: mean, min, max, last, count, expected
    encode     line protocol, exact decimals
    spool      committed to disk: from here on nothing is lost
    publish    MQTT to every centre, freed when confirmed

`pipeline` wires them in this order. `bridge` is the other end: MQTT to the database, and the confirmation back.
"""

__version__ = "0.1.0"
