"""The other end: MQTT → check → database → ack → confirm. A process of its own; imports no stage and no driver."""
