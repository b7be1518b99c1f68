"""The pool of TCP connections: what happens when a connection raises, and when somebody else serves first."""

import asyncio
import socket

import pytest

from drivers.modbus.tcp_pool import TcpPool
from tests.waiting import until


class Broken:
    """A connection whose owner has a bug: it raises the first time."""

    def __init__(self, sock):
        self.sock, self.reads = sock, 0

    def readable(self):
        self.reads += 1
        if self.reads == 1:
            raise RuntimeError("a bug")
        self.sock.recv(100)

    def event(self, events):
        raise AssertionError(events)

    def close(self):
        pass


@pytest.mark.parametrize("paused", [True, False])
async def test_an_error_in_one_connection_does_not_deafen_the_pool(paused):
    told = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
    pool = TcpPool()
    pool.start()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    broken = Broken(ours)
    try:
        pool.add(ours, broken, write=False)
        theirs.send(b"x")
        if paused:
            pool.pause(0.001)
        await until(lambda: broken.reads >= 2)
        assert told == ["a bug"]
    finally:
        pool.remove(ours)
        theirs.close()
        pool.close()
