"""A database that misbehaves on request: statuses and faults that real servers cannot be made to show."""

import socketserver
import threading
import time


class StubDatabase:
    """Answers each request with the next of `script`, then with 204. An answer is `(status, headers, body)`, or a word:

    "hang" reads the request and never answers, "reset" closes in the middle of the body, "garbage" is not HTTP.
    `bodies` holds what was stored (answered 204).
    """

    def __init__(self) -> None:
        self.script: list = []
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.bodies: list[bytes] = []
        self.max_bytes = 1 << 30
        self._released = threading.Event()
        stub = self

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while stub._one(self.rfile, self.wfile):
                        pass
                except OSError:
                    return

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def lines(self) -> list[bytes]:
        return [line for body in self.bodies for line in body.splitlines()]

    def _one(self, rfile, wfile) -> bool:
        target = rfile.readline().decode()
        if not target:
            return False
        headers = {}
        while line := rfile.readline().strip():
            key, _, value = line.decode().partition(":")
            headers[key.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        answer = self.script.pop(0) if self.script else (204, {}, b"")
        if answer == "reset":
            rfile.read(min(10, length))
            return False
        body = rfile.read(length)
        self.requests.append((target, headers, body))
        if answer == "hang":
            self._released.wait(30)
            return False
        if answer == "garbage":
            wfile.write(b"\x16\x03\x01 not HTTP\r\n\r\n")
            return False
        if len(body) > self.max_bytes:
            answer = (413, {}, b"too large")
        status, more, text = answer
        if status == 204:
            self.bodies.append(body)
        head = "".join(f"{k}: {v}\r\n" for k, v in more.items())
        length_line = f"Content-Length: {len(text)}\r\n" if status != 204 else ""
        wfile.write(f"HTTP/1.1 {status} X\r\n{head}{length_line}\r\n".encode() + text)
        return True

    def wait_for_requests(self, count: int, seconds: float = 10.0) -> None:
        give_up = time.monotonic() + seconds
        while len(self.requests) < count:
            assert time.monotonic() < give_up, f"{len(self.requests)} of {count} requests came"
            time.sleep(0.01)
