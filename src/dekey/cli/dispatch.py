"""``dekey COMMAND ...``: choose the command, parse its arguments, run it, translate what goes wrong."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from dekey.cli.console import message
from dekey.errors import DekeyError, nearest, train_extra_missing

COMMANDS = {
    "demo": "train, evaluate and report on the embedded data",
    "inspect": "schema, counts and problems of a label file",
    "convert": "write a label file in another format",
    "split": "divide label files into parts that share nothing",
    "train": "train a model on a label file",
    "prune": "take channels out of a trained model and train it on",
    "evaluate": "measure a model on labelled images",
    "export": "write a trained model as a file that runs without torch",
    "predict": "find the keypoints of images",
    "benchmark": "time a model on this machine",
    "label": "labels for classification pictures, by segmentation",
}
"""Every command and its line in ``dekey --help``."""

# What the machine, not dekey, refuses: the disk, the rights, the path. Everything else an OSError can mean is a fault.
_REFUSALS = frozenset(
    {
        errno.EACCES,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EISDIR,
        errno.EMFILE,
        errno.ENAMETOOLONG,
        errno.ENFILE,
        errno.ENOENT,
        errno.ENOSPC,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are DekeyErrors, so that they look like every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise DekeyError(f"{message}; `{self.prog} --help` shows what can be said")

    def parse_exactly(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse all of `argv`; an argument left over is an error that names the nearest option."""
        arguments, left_over = self.parse_known_args(argv)
        if left_over:
            word = left_over[0]
            known = [option for action in self._actions for option in action.option_strings]
            hint = nearest(word.partition("=")[0], known) if word.startswith("-") else ""
            self.error(f"found '{word}', which {self.prog} does not know{hint}")
        return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one dekey command and give its exit code; only standard streams are touched by this function.

    Args:
        argv: the arguments after the program's name; the process's own when None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = _debug_wanted(words)
    _spell_out_foreign_letters()
    try:
        code = _run(words)
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a reader that has gone is met quietly, not at the interpreter's end
        return code
    except BrokenPipeError:
        _drop_output()
        return 141
    except KeyboardInterrupt:
        message("dekey: stopped by the keyboard")
        return 130
    except Exception as error:
        if debug:
            traceback.print_exception(error)
        sentence, code = explain(error)
        message(f"dekey: {sentence}")
        return code


def command_parser(command: str) -> argparse.ArgumentParser:
    """Build the parser of one command; its module is imported, the others are not.

    Raises:
        DekeyError: there is no such command.
    """
    return _parser_of(command, _module_of(command))


def explain(error: BaseException) -> tuple[str, int]:
    """Tell an exception in one sentence and give the exit code: 2 for what a user can mend, 1 for a fault of dekey."""
    if isinstance(error, DekeyError):
        return str(error), 2
    missing = train_extra_missing(error, "this command")
    if missing is not None:
        return missing, 2
    refusal = _refusal_behind(error)
    if refusal is not None:
        where = f": {refusal.filename}" if refusal.filename is not None else ""
        return f"the system refused: {refusal.strerror}{where}", 2
    if isinstance(error, MemoryError):
        return "found too little memory for this; a smaller --batch-size or smaller images need less", 2
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    report = "please report it on the project's issue tracker with the traceback, which --debug shows"
    return f"a fault of dekey's own ({said}); {report}", 1


def _run(words: list[str]) -> int:
    # Options before the command take no value, so the command is the first word without a dash.
    place = next((i for i, word in enumerate(words) if not word.startswith("-")), len(words))
    own, rest = words[:place], words[place + 1 :]
    top = _top_parser()
    try:
        top.parse_exactly(own)
        if place == len(words):
            top.error("found no command")
        module = _module_of(words[place])
        arguments = _parser_of(words[place], module).parse_exactly(rest)
    except SystemExit:  # argparse's way out after --help and --version
        return 0
    code = module.run(arguments)
    assert isinstance(code, int), f"{module.__name__}.run gave {code!r} for an exit code"
    return code


def _spell_out_foreign_letters() -> None:
    # Piped on Windows, standard output has a code page without letters such as √; escapes take their place, as on stderr.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _drop_output() -> None:
    # The reader (head, less) has gone; what the interpreter still flushes at its end must have somewhere to go.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _top_parser() -> _Parser:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = _Parser(
        prog="dekey",
        usage="dekey [--version] [--debug] COMMAND ...",
        description="Finds keypoints in images with deconvolutional networks.",
        epilog=f"commands:\n{listed}\n\n`dekey COMMAND --help` shows a command's options.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version)
    _add_debug(parser)
    return parser


class _Version(argparse.Action):
    """Prints the version; read only when asked for, since looking it up costs a tenth of the start."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="show the version and leave")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from dekey import __version__

        print(f"dekey {__version__}")
        parser.exit()


def _module_of(command: str) -> ModuleType:
    if command not in COMMANDS:
        raise DekeyError(f"found no command '{command}'{nearest(command, COMMANDS)}; expected one of {', '.join(COMMANDS)}")
    return import_module(f"dekey.cli.{command}")


def _parser_of(command: str, module: ModuleType) -> _Parser:
    parser = _Parser(prog=f"dekey {command}", description=module.HELP, allow_abbrev=False)
    module.add_arguments(parser)
    _add_debug(parser)
    return parser


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _debug_wanted(words: Sequence[str]) -> bool:
    # Asked of the words themselves, because parsing is among the things that can go wrong.
    return "--debug" in words[: words.index("--")] if "--" in words else "--debug" in words


def _refusal_behind(error: BaseException) -> OSError | None:
    """Find the operating system's refusal that `error` is or was raised from, if there is one."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, OSError) and cause.errno in _REFUSALS:
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None
