"""End a server process when the process that started it is gone, even by SIGKILL.

Not PR_SET_PDEATHSIG: it fires when the *thread* that forked ends, so a server started in a worker thread would die
too early, and it needs a ``preexec_fn``, which can deadlock in a program with threads. A pipe does the same without
either: the kernel closes our end when the process is gone, however it went.
"""

from __future__ import annotations

import os
import signal
import subprocess
import weakref
from pathlib import Path

# $1 the process, $2 the signal, $3 its directory. A gentler signal than KILL has 2 s to work.
_SCRIPT = """
read -r _
kill -"$2" "$1"
if [ "$2" != 9 ]; then
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        kill -0 "$1" || break
        sleep 0.1
    done
    kill -9 "$1"
fi
rm -rf "$3"
"""


class OrphanGuard:
    """A shell that waits for the end of this process, then ends `pid` and removes `directory`."""

    def __init__(self, pid: int, directory: Path, *, end_by: signal.Signals = signal.SIGKILL) -> None:
        read_end, self._write_end = os.pipe()
        try:
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "orphan-guard", str(pid), str(int(end_by)), str(directory)],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C at the terminal must not end the guard before its parent
            )
        finally:
            os.close(read_end)
        _guards.add(self)

    def release(self) -> None:
        """Let go of the process and its directory; call it before the process is reaped and its pid is reused."""
        if self._write_end < 0:
            return
        self._shell.kill()
        self._shell.wait()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._write_end >= 0:
            os.close(self._write_end)
            self._write_end = -1


_guards: weakref.WeakSet[OrphanGuard] = weakref.WeakSet()


def _let_go_in_forked_child() -> None:
    # A forked child holds a copy of the pipe's end; without this the server would live as long as the child.
    for guard in list(_guards):
        guard._close_pipe()


os.register_at_fork(after_in_child=_let_go_in_forked_child)
