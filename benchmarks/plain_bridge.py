"""The bridge that one would write first, as the yardstick: aiomqtt and influxdb-client as their manuals show them.

    points   every line is split and made a Point object, one write per message
    raw      the payload is handed on as it came, one write per message, nothing checked

Neither checks who writes, acknowledges after the write, isolates bad lines or confirms. Runs until it is killed.
"""

import argparse
import asyncio

import aiomqtt
from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS


def to_points(payload: bytes) -> list[Point]:
    points = []
    for line in payload.decode().splitlines():
        if line.startswith("#"):
            continue
        head, fields, ts = line.split(" ")
        measurement, *tags = head.split(",")
        point = Point(measurement).time(int(ts))
        for tag in tags:
            point.tag(*tag.split("=", 1))
        for field in fields.split(","):
            key, value = field.split("=", 1)
            point.field(key, int(value[:-1]) if value.endswith("i") else float(value))
        points.append(point)
    return points


async def run(broker_port: int, url: str, form: str) -> None:
    with InfluxDBClient(url, token="", org="-") as client:
        api = client.write_api(write_options=SYNCHRONOUS)
        async with aiomqtt.Client("127.0.0.1", broker_port, protocol=aiomqtt.ProtocolVersion.V5) as broker:
            await broker.subscribe("dc/v1/+/+/+/data/#", qos=1)
            async for message in broker.messages:
                record = to_points(message.payload) if form == "points" else message.payload
                await asyncio.to_thread(api.write, bucket="dc", record=record)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("broker_port", type=int)
    parser.add_argument("url")
    parser.add_argument("form", choices=["points", "raw"])
    arguments = parser.parse_args()
    asyncio.run(run(arguments.broker_port, arguments.url, arguments.form))
