"""Held-out images that look the same as images to learn from: figures on them are better than on images never seen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from dekey.data import Dataset
from dekey.data.picture_hash import Fingerprints, fingerprints, likeness, near_pairs

# Looking takes at most this share of a budget, and never more than so many seconds; what is not reached is not compared.
SHARE, SECONDS = 0.01, 20.0
_NAMED = 3


@dataclass(frozen=True)
class Leaks:
    """What a look at the pictures of both parts found.

    Attributes:
        pairs: a held-out image, and the one to learn from that it looks most like, by name; the most alike first.
        held_out, train: how many images were compared.
        held_out_of, train_of: how many there are.
        seconds: what the look took.
    """

    pairs: tuple[tuple[str, str], ...]
    held_out: int
    held_out_of: int
    train: int
    train_of: int
    seconds: float

    def sentence(self) -> str | None:
        """Say what was found; None for nothing."""
        if not self.pairs:
            return None
        named = ", ".join(f"{own} as {other}" for own, other in self.pairs[:_NAMED])
        more = f" and {len(self.pairs) - _NAMED:,} more" if len(self.pairs) > _NAMED else ""
        whole = self.held_out == self.held_out_of and self.train == self.train_of
        part = "" if whole else f" (compared with {self.train:,} of {self.train_of:,})"
        return (
            f"{len(self.pairs):,} of {self.held_out:,} held-out images look the same as images to learn from{part}: "
            f"{named}{more}; figures on them are better than on new images, so hold others out (`dekey split` keeps what looks "
            "the same on one side, `dekey inspect FILE --against FILE` shows the pairs)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Give what run.json keeps; pairs beyond a hundred are counted only."""
        return {
            "alike": len(self.pairs),
            "held_out_compared": self.held_out,
            "held_out": self.held_out_of,
            "train_compared": self.train,
            "train": self.train_of,
            "seconds": round(self.seconds, 2),
            "pairs": [list(pair) for pair in self.pairs[:100]],
        }


def find_leaks(train: Dataset, held_out: Dataset, seconds: float = SECONDS) -> Leaks:
    """Look for held-out images that look the same as images to learn from, see `dekey.data.picture_hash`.

    Every picture is read once: 0.5 to 1.1 ms of one core for a JPEG of 0.1 to 1 megapixel, 50 ms for a PNG of one. Where the
    time does not suffice for all, what is compared is a choice by chance.

    Args:
        train: what is learned from.
        held_out: what is measured on.
        seconds: that the look may take; the held-out images get at most half of them.
    """
    began = time.monotonic()
    learnt, own = (np.random.default_rng(0).permutation(len(part)) for part in (train, held_out))
    held_prints = fingerprints(held_out.subset(own), until=began + seconds / 2)
    train_prints = fingerprints(train.subset(learnt), until=began + seconds)
    pairs = near_pairs(train_prints, held_prints)
    alike = likeness(train_prints, pairs, held_prints)
    partners: dict[int, int] = {}
    for place in np.argsort(-alike, kind="stable"):
        first, second = pairs[place].tolist()
        partners.setdefault(second, first)
    return Leaks(
        tuple(
            (held_out.picture_name(int(own[second])), train.picture_name(int(learnt[first])))
            for second, first in partners.items()
        ),
        _compared(held_prints),
        len(held_out),
        _compared(train_prints),
        len(train),
        time.monotonic() - began,
    )


def _compared(prints: Fingerprints) -> int:
    return int(prints.readable.sum())
