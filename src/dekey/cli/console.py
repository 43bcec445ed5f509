"""What a person reads on standard error while a command works: progress and messages."""

from __future__ import annotations

import os
import shutil
import sys
import time
from types import TracebackType
from typing import TextIO

TERMINAL_SECONDS = 0.1
PLAIN_SECONDS = 5.0


def message(text: str, stream: TextIO | None = None) -> None:
    """Write one line to standard error, over a progress line if one stands there.

    Characters that a terminal would obey are written as escapes: names come from other people's files.
    """
    stream = sys.stderr if stream is None else stream
    if stream is None:  # the process was started without one
        return
    shown = printable(text)
    print(f"\r{shown.ljust(_width() - 1)}" if _is_terminal(stream) else shown, file=stream, flush=True)


def printable(text: str) -> str:
    r"""Give `text` on one line, control characters as escapes.

    >>> printable("wrist\x1b[2J\nleft")
    'wrist\\x1b[2J left'
    """
    one_line = text.replace("\r\n", " ").replace("\n", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in one_line)


def counted(count: int, word: str) -> str:
    """Give a number with what it counts.

    >>> counted(1, "group"), counted(1200, "image")
    ('1 group', '1,200 images')
    """
    return f"{count:,} {word}{'' if count == 1 else 's'}"


class Progress:
    """Tells on standard error what is being done, how far it is, how fast, and how long it still takes.

    The first line comes at once. On a terminal one line is rewritten; elsewhere (a log, CI) a plain line follows at most
    every five seconds and one at the end if the work took longer than that. Call `advance` as often as you like.

    Example::

        with Progress("reading headers", total=len(files), unit="files") as progress:
            for file in files:
                ...
                progress.advance()

    Args:
        text: what is being done.
        total: how many steps there are; None when that is not known.
        unit: what one step is, in the plural.
        stream: where to write; standard error when None.
    """

    def __init__(self, text: str, total: int | None = None, *, unit: str = "", stream: TextIO | None = None) -> None:
        self._text = text
        self._total = total
        self._unit = unit
        self._stream = sys.stderr if stream is None else stream
        self._terminal = _is_terminal(self._stream)
        self._done = 0
        self._note = ""
        self._start = self._shown = time.monotonic()
        self._length = 0
        self._last = self._written = ""

    def __enter__(self) -> Progress:
        self._start = self._shown = time.monotonic()
        self._write(self._text)
        return self

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Say that `count` more steps are done; `note` (a loss, a file name) is shown behind the numbers."""
        self._done += count
        self._note = self._note if note is None else note
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS):
            self._shown = now
            self._write(self._line(now))

    def reach(self, done: int, total: int) -> None:
        """Say that `done` of `total` steps are done, as the library's callbacks are told."""
        self._total = total
        self.advance(done - self._done)

    def show(self, line: str) -> None:
        """Show a whole line of the caller's own instead of the counted one, as often as `advance` would."""
        now = time.monotonic()
        if now - self._shown >= (TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS):
            self._shown = now
            self._write(line)
        self._last = line

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        now = time.monotonic()
        if self._stream is not None and self._terminal:
            self._write(self._line(now))
            self._stream.write("\n")
            self._stream.flush()
        elif now - self._start >= PLAIN_SECONDS and self._line(now) != self._written:
            self._write(self._line(now))

    def _line(self, now: float) -> str:
        if self._last:
            return self._last
        seconds = max(now - self._start, 1e-9)
        rate = self._done / seconds
        parts = []
        if self._done or self._unit or self._total is not None:  # else nothing is counted
            parts.append(f"{self._done}{'' if self._total is None else f' of {self._total}'} {self._unit}".rstrip())
        if self._done:
            parts.append(f"{_number(rate)}{f' {self._unit}' if self._unit else ''}/s")
        if self._total is not None and 0 < self._done < self._total:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        else:
            parts.append(duration(seconds))
        if self._note:
            parts.append(self._note)
        return f"{self._text}: {', '.join(parts)}"

    def _write(self, text: str) -> None:
        self._written = text
        if self._stream is None:  # the process was started without one
            return
        shown = printable(text)
        if self._terminal:
            shown = shown[: _width() - 1]
            # Blanks, not an escape sequence, wipe the rest of a longer line: every terminal understands them.
            self._stream.write(f"\r{shown.ljust(self._length)}")
            self._length = len(shown)
        else:
            self._stream.write(f"{shown}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Write a time as a person says it.

    >>> duration(0.42), duration(75), duration(3720)
    ('0.4 s', '1 min 15 s', '1 h 2 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


def _width() -> int:
    return max(20, shutil.get_terminal_size().columns)
