"""The report's page in a real browser: it renders, fits every width, and nothing goes wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from cachepolicy.consistency.report import as_html
from tests.consistency.runs import dirty, kept, run, stale, unplayed

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (340, 900, 1600)
# What each frame tells of itself, and the page that holds the frames writes down.
PROBE = """<script>
const errors = [];
addEventListener("error", event => errors.push(String(event.message)));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  const root = document.documentElement, dot = document.querySelector(".bands svg path.bad");
  parent.postMessage({width: root.clientWidth, content: root.scrollWidth, errors,
    heading: document.querySelector("h1").innerText,
    rules: [...document.querySelectorAll(".rule h2")].map(h => h.innerText),
    mark: dot.getBoundingClientRect().width > 0,
    drawn: [...document.querySelectorAll("svg")].every(svg => svg.getBoundingClientRect().height > 0)}, "*");
});
</script>"""
FRAMES = """<!doctype html><body><pre id="told"></pre><script>
const told = [];
addEventListener("message", event => {
  told.push(event.data);
  document.getElementById("told").textContent = JSON.stringify(told);
});
</script>"""


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the report's page was not opened; install chromium (Debian: apt-get install chromium)")
    profile = tmp_path / "profile"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=10000")
    return [CHROMIUM, *options, f"--user-data-dir={profile}", "--window-size=900,1200"]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(as_html(run(stale("get"), stale("fetch"), kept(), dirty(), unplayed())), encoding="utf-8")
    return path


def test_the_page_renders_and_fits_a_phone_and_a_screen(browser: list[str], page: Path, tmp_path: Path) -> None:
    page.write_text(page.read_text(encoding="utf-8").replace("<head>", f"<head>{PROBE}"), encoding="utf-8")
    frames = tmp_path / "frames.html"
    frame = '<iframe src="report.html" style="width:{}px;height:800px;border:0"></iframe>'
    frames.write_text(FRAMES + "".join(frame.format(width) for width in WIDTHS), encoding="utf-8")
    shown = subprocess.run([*browser, "--dump-dom", frames.as_uri()], capture_output=True, text=True, timeout=120)
    dumped = re.search(r'<pre id="told">(.+?)</pre>', shown.stdout)
    assert dumped is not None, shown.stderr
    told = json.loads(unescape(dumped[1]))
    assert [frame["content"] <= frame["width"] for frame in told] == [True] * len(WIDTHS), told
    for frame in told:
        assert frame["errors"] == []
        assert frame["heading"] == "VIOLATED: 3 of 5 cells broke the promise."
        assert frame["rules"] == ["functions.<b>&co", "shop.Price"]
        assert frame["mark"]
        assert frame["drawn"]
    assert "CONSOLE" not in shown.stderr


def test_the_page_can_be_photographed(browser: list[str], page: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    subprocess.run([*browser, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=120, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
    # A page that is all of one colour compresses to a fraction of this.
    assert picture.stat().st_size > 30_000
