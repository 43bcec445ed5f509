"""The one exception that dekey raises for a mistake a user can mend, and the sentences that several modules share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

TRAIN_EXTRA = frozenset(
    {
        "jinja2",
        "lightning",
        "matplotlib",
        "onnx",
        "onnxscript",
        "psutil",
        "safetensors",
        "tensorboard",
        "timm",
        "torch",
    }
)
"""Modules that ``pip install "dekey[train]"`` brings."""


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


def train_extra_missing(error: BaseException, needed_by: str) -> str | None:
    """Give the sentence for a module of the train extra that could not be imported; None where `error` is something else.

    Args:
        error: what was raised.
        needed_by: what cannot be had without it.
    """
    if not isinstance(error, ModuleNotFoundError) or (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
        return None
    return f'{error.name} is not installed, which {needed_by} needs: pip install "dekey[train]"'


@contextmanager
def needs_train_extra(needed_by: str) -> Iterator[None]:
    """Turn the lack of a module of the train extra, met in the block, into a sentence.

    Raises:
        DekeyError: if such a module is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = train_extra_missing(error, needed_by)
        if sentence is None:
            raise
        raise DekeyError(sentence) from error
