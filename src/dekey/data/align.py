"""Answers under the names of another schema: a model of several files measured on one of them.

A class is the same where its name is; a keypoint where its name is, or where `dekey.data.merge` named it ``class/keypoint``
after the class that has it. Answers of a class that the data do not label are left out: an image whose labels do not speak of
flies may well show one, so that such an answer is neither right nor wrong there. An object that was taken for one of another
class still counts, as missed. To count what was invented, merge the label files and measure on the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dekey.data.instances import Instances
from dekey.data.schema import Schema
from dekey.errors import DekeyError

ABSENT = -1


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the classes and keypoints of data stand in the answers of a model.

    Attributes:
        columns: (K,) int64, column of the model of each keypoint of the data.
        labels: (C,) int64, label in the data of each class of the model, −1 where they do not have it; None where labels are
            the data's already.
    """

    columns: NDArray[np.int64]
    labels: NDArray[np.int64] | None

    @classmethod
    def between(cls, data: Schema, model: Schema, *, classes: bool = True) -> Alignment:
        """Find every class and every keypoint of the data in a model.

        Args:
            data: what is labelled.
            model: what can be found.
            classes: whether the model tells classes; else only keypoints are looked for.

        Raises:
            DekeyError: if the model does not find a keypoint or a class, or the class without the keypoint.
        """
        if classes and not set(data.classes) <= set(model.classes):
            raise DekeyError(
                f"the data names the classes {_short(data.classes)} but the model finds {_short(model.classes)}; evaluate on "
                "data of the model's own schema, or a part of it"
            )
        columns = [_column(data, model, index, classes) for index in range(len(data.keypoints))]
        if None in columns or len(set(columns)) < len(columns):
            raise DekeyError(
                f"the data names the keypoints {_short(data.keypoints)} but the model finds {_short(model.keypoints)}; "
                "evaluate on data of the model's own schema, or a part of it"
            )
        known = {name: label for label, name in enumerate(data.classes)}
        labels = np.array([known.get(name, ABSENT) for name in model.classes], dtype=np.int64) if classes else None
        return cls(np.array(columns, dtype=np.int64), labels)

    def apply(self, found: Instances) -> Instances:
        """Give answers of the model under the schema of the data, those of its classes alone.

        Args:
            found: N objects with the labels and keypoints of the model; scores where they have them.
        """
        if self.labels is not None:
            labels = self.labels[found.labels]
            found = replace(found, labels=labels)[labels != ABSENT]
        scores = found.keypoint_scores
        return replace(
            found,
            keypoints=found.keypoints[:, self.columns],
            visibility=found.visibility[:, self.columns],
            keypoint_scores=None if scores is None else scores[:, self.columns],
        )


def _column(data: Schema, model: Schema, index: int, classes: bool) -> int | None:
    """Find keypoint `index` of the data among those of the model, which all classes that have it must have there too."""
    name = data.keypoints[index]
    owners = [data.classes[label] for label in np.flatnonzero(data.present[:, index])]
    for candidate in (name, *(f"{owner}/{name}" for owner in owners)):
        if candidate not in model.keypoints:
            continue
        column = model.keypoints.index(candidate)
        if not classes or all(model.present[model.classes.index(owner), column] for owner in owners):
            return column
    return None


def _short(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
