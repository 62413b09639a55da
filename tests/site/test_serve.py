"""serve.py: the site as one command."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

ROOT = Path(__file__).resolve().parents[2]


def test_serves_a_loaded_newsroom_with_a_redis_of_its_own() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {key: value for key, value in os.environ.items() if key != "REDIS_URL"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "sample_site" / "serve.py"), "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            front_page = until_served(server, f"http://127.0.0.1:{port}/")
            stats = until_served(server, f"http://127.0.0.1:{port}/stats/")
        finally:
            server.terminate()
            said = server.communicate()[0]
    assert front_page.count('href="/article/') == 8 * 4
    assert "300 articles" in stats
    assert re.search(rf"Admin +http://127\.0\.0\.1:{port}/admin/ +demo-editor / \S+", said)


def until_served(server: subprocess.Popen[str], address: str) -> str:
    """The page at an address, as soon as something answers there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as response:
                return str(response.read().decode())
        except URLError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not answer in time"
            time.sleep(0.05)
