"""Messages to systemd over its notify socket. Without one (not under systemd) every call does nothing."""

import os
import socket


def _send(message: str) -> None:
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    if path.startswith("@"):  # abstract namespace, sd_notify(3)
        path = "\0" + path[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(message.encode(), path)
        except OSError:
            # systemd is gone or its queue is full: it will judge us by the watchdog, there is nobody else to tell.
            return


def ready() -> None:
    """Start-up is complete."""
    _send("READY=1")


def status(text: str) -> None:
    """One line for `systemctl status`."""
    _send(f"STATUS={text}")


def watchdog() -> None:
    """Still making progress."""
    _send("WATCHDOG=1")


def reloading(mono_us: int) -> None:
    """A reload has begun; follow with `ready`."""
    _send(f"RELOADING=1\nMONOTONIC_USEC={mono_us}")


def stopping() -> None:
    """Shutting down."""
    _send("STOPPING=1")


def extend_timeout(seconds: float) -> None:
    """Ask for more start-up time, e.g. while kernels are compiled."""
    _send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")


def watchdog_period_s() -> float | None:
    """Half of what systemd allows between two pings; None when it does not watch us."""
    usec = os.environ.get("WATCHDOG_USEC")
    pid = os.environ.get("WATCHDOG_PID")
    if not usec or (pid and int(pid) != os.getpid()):
        return None
    return int(usec) / 2e6
