from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dekey.cli import COMMANDS, console, dispatch, main
from dekey.cli.console import Progress, message
from dekey.data import embedded
from dekey.errors import DekeyError

PROGRAM = "import sys; from dekey.cli import main; sys.exit(main())"


def program(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Any], int]], None]:
    """Puts a command `train` in place that takes FILE and --epochs and runs the given function."""

    def install(run: Callable[[Any], int]) -> None:
        module = types.ModuleType("dekey.cli.train")
        module.HELP = "Train."  # type: ignore[attr-defined]
        module.run = run  # type: ignore[attr-defined]

        def add_arguments(parser: Any) -> None:
            parser.add_argument("file")
            parser.add_argument("--epochs", type=int, default=1)

        module.add_arguments = add_arguments  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "dekey.cli.train", module)

    return install


def raising(error: BaseException) -> Callable[[Any], int]:
    def run(_: Any) -> int:
        raise error

    return run


def test_arguments_reach_the_command_and_its_code_comes_back(command: Any) -> None:
    seen = []
    command(lambda arguments: seen.append((arguments.file, arguments.epochs)) or 1)
    assert main(["train", "a.json", "--epochs", "3"]) == 1
    assert main(["train", "--epochs=4", "b.json"]) == 1
    assert seen == [("a.json", 3), ("b.json", 4)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "found no command"),
        (["trian", "x"], "found no command 'trian' (did you mean 'train'?)"),
        (["--verson"], "did you mean '--version'?"),
        (["train"], "the following arguments are required: file"),
        (["train", "a.json", "--epocs", "3"], "found '--epocs', which dekey train does not know (did you mean '--epochs'?)"),
        (["train", "a.json", "--epocs=3"], "did you mean '--epochs'?"),
        (["train", "a.json", "--epoch", "3"], "did you mean '--epochs'?"),  # no abbreviations: they break when options grow
        (["train", "a.json", "--epochs", "many"], "invalid int value: 'many'"),
        (["train", "a.json", "b.json"], "found 'b.json'"),
    ],
)
def test_wrong_words_are_one_sentence_and_2(
    words: list[str], expected: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(lambda _: 0)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dekey: ")
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (DekeyError("found a, expected b"), 2, "dekey: found a, expected b\n"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run/last.ckpt"), 2, "No space left on device: run/last.ckpt"),
        (PermissionError(errno.EACCES, "Permission denied", "run"), 2, "Permission denied: run"),
        (OSError(errno.EROFS, "Read-only file system", "run"), 2, "Read-only file system: run"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "x"), 2, "No such file or directory: x"),
        (OSError(errno.ENOTTY, "Inappropriate ioctl"), 1, "a fault of dekey's own"),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 2, 'pip install "dekey[train]"'),
        (ModuleNotFoundError("No module named 'timm.x'", name="timm.x"), 2, 'pip install "dekey[train]"'),
        (ModuleNotFoundError("No module named 'dekey.x'", name="dekey.x"), 1, "a fault of dekey's own"),
        (MemoryError(), 2, "too little memory"),
        (ValueError("shapes differ"), 1, "a fault of dekey's own (ValueError: shapes differ)"),
        (AssertionError(), 1, "(AssertionError)"),
        (KeyboardInterrupt(), 130, "stopped by the keyboard"),
    ],
)
def test_each_error_has_its_sentence_and_its_code(
    error: BaseException, code: int, expected: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(error))
    assert main(["train", "a.json"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert expected in err
    assert "Traceback" not in err


def test_a_full_disk_behind_a_library_error_is_told_as_such(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def run(_: Any) -> int:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 64 vs 0") from error

    command(run)
    assert main(["train", "a.json"]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_a_name_with_escape_sequences_does_not_reach_the_terminal(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(DekeyError("found '\x1b[2Jevil\nname'")))
    assert main(["train", "a.json"]) == 2
    assert capsys.readouterr().err == "dekey: found '\\x1b[2Jevil name'\n"


@pytest.mark.parametrize("words", [["--debug", "train", "a.json"], ["train", "a.json", "--debug"]])
def test_debug_shows_the_traceback_and_keeps_the_code(
    words: list[str], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command(raising(DekeyError("found a")))
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("dekey: found a\n")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out and line in out for name, line in COMMANDS.items())


def test_help_of_a_command_says_what_it_does(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(lambda _: 0)
    assert main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    assert "usage: dekey train" in out
    assert "Train." in out
    assert "--epochs" in out


def test_every_command_of_the_table_keeps_the_protocol() -> None:
    for name in COMMANDS:
        parser = dispatch.command_parser(name)
        assert parser.prog == f"dekey {name}"
        assert parser.description
        assert callable(sys.modules[f"dekey.cli.{name}"].run)


def test_the_program_leaves_with_the_code() -> None:
    done = program("tarin")
    assert done.returncode == 2
    assert done.stderr.startswith("dekey: found no command 'tarin'")


CHATTY = """
import sys, types
from dekey.cli import main
module = types.ModuleType("dekey.cli.predict")
module.HELP, module.add_arguments = "Talk.", lambda parser: None
module.run = lambda arguments: print("word " * 100_000) or 0
sys.modules["dekey.cli.predict"] = module
sys.exit(main(["predict"]))
"""


def test_a_reader_that_has_gone_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-c", CHATTY], stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_letters_that_standard_output_lacks_are_spelt_out(encoding: str) -> None:
    labels = str(embedded.path("test"))
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = program("inspect", labels, "--quick", env=environment, encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert r"box / image, \u221aarea" in done.stdout


def test_closed_standard_streams_are_no_error() -> None:
    command = f'"{sys.executable}" -c "{PROGRAM}" --version >&- 2>&-'
    assert subprocess.run(["bash", "-c", command], timeout=60, check=False).returncode == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return now


def test_progress_in_a_log_is_a_line_at_once_and_then_one_in_five_seconds(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress("reading headers", total=120, unit="files", stream=stream) as progress:
        assert stream.getvalue() == "reading headers\n"
        for _ in range(120):
            clock[0] += 0.125
            progress.advance()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4  # at once, after 5, 10 and 15 s; the end is not said twice
    assert lines[1].startswith("reading headers: 40 of 120 files, 8 files/s, 10 s left")
    assert lines[-1] == "reading headers: 120 of 120 files, 8 files/s, 15 s"


def test_short_work_leaves_one_line_in_a_log(clock: list[float]) -> None:
    stream = io.StringIO()
    with Progress("reading", stream=stream) as progress:
        clock[0] += 1
        progress.advance(5)
    assert stream.getvalue() == "reading\n"


def test_progress_on_a_terminal_rewrites_one_line(clock: list[float]) -> None:
    stream = Terminal()
    with Progress("training", total=10, unit="steps", stream=stream) as progress:
        for step in range(10):
            clock[0] += 1
            progress.advance(note=f"loss {1 / (step + 1):.2f}")
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert all(len(part.rstrip("\n")) < 80 for part in text.split("\r"))
    assert text.split("\r")[-1].startswith("training: 10 of 10 steps, 1 steps/s, 10 s, loss 0.10")


def test_progress_without_a_total_counts(clock: list[float]) -> None:
    stream = Terminal()
    with Progress("reading", unit="records", stream=stream) as progress:
        clock[0] += 2
        progress.advance(1000)
    assert stream.getvalue().split("\r")[-1].rstrip() == "reading: 1000 records, 500 records/s, 2.0 s"


def test_progress_that_counts_nothing_tells_the_time_alone(clock: list[float]) -> None:
    stream = Terminal()
    with Progress("loading model.onnx", stream=stream):
        clock[0] += 7
    assert stream.getvalue().split("\r")[-1].rstrip() == "loading model.onnx: 7.0 s"


def test_progress_lets_an_error_pass_and_ends_the_line(clock: list[float]) -> None:
    stream = Terminal()
    with pytest.raises(ValueError, match="stop"), Progress("reading", stream=stream):
        raise ValueError("stop")
    assert stream.getvalue().endswith("\n")


def test_a_message_wipes_the_progress_line_it_stands_on(clock: list[float]) -> None:
    stream = Terminal()
    with Progress("reading", total=3, stream=stream):
        message("from scratch", stream=stream)
    line = stream.getvalue().split("\r")[2]
    assert line.rstrip() == "from scratch"
    assert len(line) > len("reading")


def test_dekey_help_does_not_need_the_working_folder(tmp_path: Path) -> None:
    assert program("--help", cwd=tmp_path).stdout.startswith("usage: dekey")


def test_progress_without_standard_error_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program started with ``2>&-`` has none."""
    monkeypatch.setattr(sys, "stderr", None)
    with Progress("reading", total=2) as progress:
        progress.advance()
        progress.show("half")
