"""The newsroom as it runs in production: gunicorn, in a process of its own, read over HTTP, on this one's clock."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cachepolicy import clock

__all__ = ["CLOCK_HEADER", "Website"]

# How far this process's clock has been moved, so that the site's is moved as far.
CLOCK_HEADER: Final = "Clock-Moved-Ms"

_ROOT: Final = Path(__file__).parent.parent
_START_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02


class Website:
    """A gunicorn on a free loopback port; its cache speaks to Redis directly, past the demo's own proxy."""

    def __init__(self, redis_url: str, log: Path) -> None:
        self._redis_url, self._log = redis_url, log
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "gunicorn", "demo.site", "--bind", f"127.0.0.1:{self._port}"]
        command += ["--worker-class", "gthread", "--threads", "4", "--worker-tmp-dir", str(self._log.parent)]
        environment = {**os.environ, "REDIS_URL": self._redis_url, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def page(self, path: str) -> str:
        """The body of a page; raises RuntimeError on any status but 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", path, headers={CLOCK_HEADER: str(clock.redis_shift_us() // 1000)})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise RuntimeError(f"GET {path} answered {response.status}; see {self._log}")
        return body

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.page("/")
                return
            except OSError:
                ended = self._process is not None and self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"the site did not start:\n{self._log.read_text()}") from None
                time.sleep(_POLL_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
