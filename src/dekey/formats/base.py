"""What a label format is: `Format`, one line of the table `FORMATS`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dekey.data.dataset import Dataset
from dekey.data.schema import Schema


class Recognises(Protocol):
    """How a format knows its files."""

    def __call__(self, path: Path) -> bool:
        """Tell by its content, reading little, whether a file or a folder is of the format; never raises on foreign bytes."""


class Read(Protocol):
    """How a format reads."""

    def __call__(self, path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
        """Read a file or folder; leave broken records out, or keep what can be read of them, and name them as problems."""


class Write(Protocol):
    """How a format writes."""

    def __call__(self, dataset: Dataset, path: Path) -> None:
        """Write a data set, whole or not at all.

        `dekey.formats.write` calls it with a data set that `dekey.formats.fitting.fitted` has made fit: it uses no feature
        whose loss would make labels wrong (see `dekey.formats.losses.FEATURES`) unless the format holds that feature.
        """


@dataclass(frozen=True)
class Format:
    """A label format.

    Attributes:
        title: what it is called in a sentence.
        recognises: tells by content whether a file or a folder is of the format.
        read: reads a file or folder.
        write: writes a data set; None where the format cannot be written, and `note` says why.
        holds: what it can keep, words of `dekey.formats.losses.FEATURES`.
        suffix: ending of what is written, with the dot; "" for a folder.
        extra: the extra of dekey that reading and writing need, None for none.
        note: what a user should know, one sentence, or "".
        fixed: what as many keypoints as it has mean in the format, whatever the data call them; None where names are
            stated or none are meant.
    """

    title: str
    recognises: Recognises
    read: Read
    write: Write | None
    holds: frozenset[str]
    suffix: str
    extra: str | None = None
    note: str = ""
    fixed: Schema | None = None
