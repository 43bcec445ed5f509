"""The command line: finds the command, runs it, and says in one sentence what went wrong.

A command is a module of this package with three names: ``HELP`` (what it does, shown by ``dekey COMMAND --help``),
``add_arguments(parser)`` and ``run(arguments) -> exit code``. Only the chosen command's module is imported, so that
``dekey --help`` needs neither NumPy nor torch. Results go to standard output, progress and errors to standard error.

Exit codes: 0 done, 1 the command's own "no" (``dekey inspect`` found errors) or a fault of dekey, 2 a user's mistake,
130 stopped by the keyboard.
"""

from dekey.cli.dispatch import COMMANDS, command_parser, main

__all__ = ["COMMANDS", "command_parser", "main"]
