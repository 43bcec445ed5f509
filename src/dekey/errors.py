"""The one exception that dekey raises for a mistake a user can mend."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DekeyError(Exception):
    """A user's mistake, told in one sentence: what was found, what was expected, what to do.

    The command line prints the message and leaves with exit code 2; every other exception is a fault of dekey's own.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Give ``" (did you mean 'x'?)"`` for the known name closest to `name`, or an empty string.

    >>> nearest("epocs", ["epochs", "seed"])
    " (did you mean 'epochs'?)"
    """
    close = get_close_matches(name, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""
