"""GitHub's workflow annotations: a message at a line of a file, shown beside the change."""

from __future__ import annotations

from typing import Literal

__all__ = ["Level", "annotation"]

Level = Literal["error", "warning"]


def annotation(level: Level, message: str, *, file: str, line: int = 0, column: int = 0) -> str:
    """The workflow command for a message at this place, without a newline; line 0 names the file alone."""
    place = f"file={_escaped(file, ':,')}"
    if line:
        place += f",line={line},col={column}"
    return f"::{level} {place}::{_escaped(message)}"


def _escaped(text: str, extra: str = "") -> str:
    # https://docs.github.com/actions/reference/workflow-commands: these characters end a property or the message.
    for char in "%\r\n" + extra:
        text = text.replace(char, f"%{ord(char):02X}")
    return text
