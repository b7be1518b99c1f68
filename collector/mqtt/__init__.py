"""MQTT 5 and 3.1.1: one connection that tells the truth. Nothing else touches aiomqtt and paho.

`session` is the connection, `wire` drives its socket, `options` how it is made, `tls` how the broker is checked,
`refusal` what a code or an error means.
"""

from collector.mqtt.options import Message, MqttOptions, options_from
from collector.mqtt.session import MqttSession
from collector.mqtt.tls import tls_context

__all__ = ["Message", "MqttOptions", "MqttSession", "options_from", "tls_context"]
