"""What the operating system's refusals mean on a plant network or a serial port."""

import errno
import os

_HINTS = {
    errno.ECONNREFUSED: "nothing listens there: is Modbus switched on in the device, is the port right?",
    errno.EHOSTUNREACH: "no such host on that network: is it on, is the address right?",
    errno.ENETUNREACH: "this gateway has no route to that network",
    errno.ETIMEDOUT: "the peer stopped answering: cable, switch, power, or a firewall that forgot the connection",
    errno.ECONNRESET: "the peer ended it: many devices serve only one to four connections",
    errno.EPIPE: "the peer ended it: many devices serve only one to four connections",
    errno.EMFILE: "this process has no descriptor left: raise LimitNOFILE= in the unit file",
    errno.ENFILE: "this machine has no descriptor left: raise fs.file-max",
    errno.ENOSPC: "no epoll watch left: raise fs.epoll.max_user_watches",
    errno.ENOBUFS: "the peer takes no more bytes",
    errno.EIO: "the adapter was unplugged",
}


def reason_and_hint(error: OSError) -> str:
    """The reason in words with its symbol and, where known, a hint."""
    if error.errno is None:
        return str(error) or type(error).__name__
    text = f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"
    hint = _HINTS.get(error.errno)
    return f"{text} — {hint}" if hint else text
