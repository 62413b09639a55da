"""A contender's site under gunicorn, one worker on a socket of its own, and a load for it."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.servers import Home
from cachepolicy.consistency.orphan_guard import OrphanGuard

__all__ = ["PATHS", "Website"]

PATHS: Final = tuple(f"/{n}/" for n in range(1, 21))
_CONNECTIONS: Final = 4
_START_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05


class Website:
    """One gunicorn worker: `sync`, with a lasting connection to its database, or `gevent`, with one for each page.

    In a greenlet of its own a page finds no connection of another's, and Django must close what it opens.
    """

    def __init__(self, home: Home, worker_class: str) -> None:
        self._home, self._worker_class = home, worker_class
        name = f"{home.settings['database']['NAME']}-{worker_class}"
        self._socket, self._log = home.directory / f"{name}.sock", home.directory / f"{name}.log"

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "gunicorn", "django.core.wsgi:get_wsgi_application()"]
        command += ["--bind", f"unix:{self._socket}", "--worker-class", self._worker_class, "--workers", "1"]
        command += ["--worker-tmp-dir", str(self._home.directory), "--worker-connections", "100"]
        lasting = None if self._worker_class == "sync" else 0
        environment = self._home.environment(CONN_MAX_AGE=lasting)
        environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._guard = OrphanGuard(self._process.pid, self._home.directory, end_by=signal.SIGTERM)
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._guard.release()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def page(self, path: str) -> bytes:
        """The body of a page; raises RuntimeError on any status but 200."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(self._socket))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while chunk := connection.recv(65_536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"GET {path} answered {head[:200]!r}; {_tail(self._log)}")
        return body

    def load(self, pages: int) -> tuple[float, list[float]]:
        """Ask for so many pages, four at a time: how long it took altogether, and each of them, in ns."""
        waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        for number in range(pages):
            waiting.put(PATHS[number % len(PATHS)])
        taken: list[float] = []

        def ask() -> None:
            with suppress(queue.Empty):
                while True:
                    path, begin = waiting.get_nowait(), time.perf_counter_ns()
                    self.page(path)
                    taken.append(time.perf_counter_ns() - begin)

        threads = [threading.Thread(target=ask) for _ in range(_CONNECTIONS)]
        begin = time.perf_counter_ns()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ended = time.perf_counter_ns() - begin
        if len(taken) != pages:
            raise RuntimeError(f"{pages - len(taken)} of {pages} pages were not served; {_tail(self._log)}")
        return ended, taken

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.page(PATHS[0])
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"gunicorn did not start: {_tail(self._log)}") from None
                time.sleep(_POLL_S)


def _tail(log: Path) -> str:
    return "its log ends:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
