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


class Sipping(Broken):
    """Takes one byte of what is there."""

    def readable(self):
        self.reads += 1
        self.sock.recv(1)


async def test_a_socket_shown_once_is_shown_again_when_more_arrives_or_when_that_ends():
    pool = TcpPool()
    pool.start()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    sipping = Sipping(ours)
    try:
        pool.add(ours, sipping, write=False)
        pool.show_once(ours, True)
        theirs.send(b"abcd")
        await until(lambda: sipping.reads == 1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert sipping.reads == 1
        theirs.send(b"e")
        await until(lambda: sipping.reads == 2)
        pool.show_once(ours, False)
        await until(lambda: sipping.reads == 5)
    finally:
        pool.remove(ours)
        theirs.close()
        pool.close()
