"""One data set of several: classes, keypoints, images and objects of different files under one schema.

The rules, in the order in which the data sets are given:

- **Classes** are joined by name. A name that occurs again must have the same keypoints, in any order.
- **Keypoints** are joined by name, across classes too: the `head` of a tube and the `head` of a fly are one column, and
  `Schema.present` says that both classes have it. They are one only if their mirror partners and their sigmas agree, as far
  as both data sets state them. If they do not, the later one is named ``class/keypoint`` after the first of its classes, and
  so is its mirror partner. A class that occurs in both cannot have two meanings of a keypoint: that is an error.
- **Edges** are those of all, each once.
- **mirror** and **sigmas** exist only if every data set has them; `Schema.mirror_note` says which one has no mirror.
- **Ids** stay, but those that an earlier data set has already are given the smallest free numbers. `Dataset.category_ids`
  stay if all classes have one and no two the same.
- **Images** keep their files, as absolute paths where the folders differ. A keypoint that a class does not have is NaN and
  unlabelled. An image that two files list stays listed twice; `find_problems` tells of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Dataset, Picture, PictureFiles
from dekey.data.instances import UNLABELLED, Instances
from dekey.data.schema import Schema
from dekey.errors import DekeyError


def merge(datasets: Sequence[Dataset]) -> Dataset:
    """Make one data set of several, by the rules of this module; the images come in the order given.

    Raises:
        DekeyError: if there is no data set, a class has other keypoints in another file, or a keypoint of a class another
            mirror partner or sigma.
    """
    if not datasets:
        raise DekeyError("found no data set to merge, expected at least one; name a label file")
    union = _Union()
    columns = [union.add(dataset.schema) for dataset in datasets]
    schema = union.schema([dataset.schema for dataset in datasets])
    parts = [
        _under(dataset.instances, own, _positions(schema.classes, dataset.schema.classes), len(schema.keypoints))
        for dataset, own in zip(datasets, columns, strict=True)
    ]
    offsets = np.cumsum([0, *(len(dataset.instances) for dataset in datasets)])
    starts = [dataset.starts[:-1] + offset for dataset, offset in zip(datasets, offsets[:-1], strict=True)]
    return Dataset(
        schema,
        _pictures(datasets),
        np.concatenate([dataset.sizes for dataset in datasets]),
        Instances.concatenate(parts, len(schema.keypoints)),
        np.concatenate([*starts, offsets[-1:]]).astype(np.int64),
        _distinct([dataset.image_ids for dataset in datasets]),
        _distinct([dataset.annotation_ids for dataset in datasets]),
        tuple(problem for dataset in datasets for problem in dataset.problems),
        _category_ids(datasets, schema.classes),
    )


@dataclass
class _Union:
    """The schema so far, by names.

    Attributes:
        classes: keypoints of each class.
        keypoints: names in order.
        partners: mirror partner of each keypoint, where a data set stated it.
        sigmas: sigma of each keypoint, where a data set stated it.
        edges: pairs of names.
    """

    classes: dict[str, set[str]] = field(default_factory=dict)
    keypoints: list[str] = field(default_factory=list)
    partners: dict[str, str] = field(default_factory=dict)
    sigmas: dict[str, float] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)

    def add(self, schema: Schema) -> NDArray[np.int64]:
        """Join a schema and give (K,) int64: the column of each of its keypoints."""
        own = schema.keypoints
        partner = {} if schema.mirror is None else {own[one]: own[int(to)] for one, to in enumerate(schema.mirror)}
        sigma = {} if schema.sigmas is None else dict(zip(own, schema.sigmas.tolist(), strict=True))
        held = {name: [own[index] for index in np.flatnonzero(row)] for name, row in self._rows(schema)}
        name_of = {name: name for name in own} | self._qualified(own, partner, sigma, held)
        for name, keypoints in held.items():
            here = {name_of[keypoint] for keypoint in keypoints}
            if self.classes.setdefault(name, here) != here:
                known = self.classes[name]
                raise DekeyError(
                    f"class '{name}' has the keypoints {_listed(here)} in one file and {_listed(known)} in another; "
                    "give one of the classes another name, or both the same keypoints"
                )
        for name in own:
            if name_of[name] not in self.keypoints:
                self.keypoints.append(name_of[name])
        self.partners = {name_of[one]: name_of[other] for one, other in partner.items()} | self.partners
        self.sigmas = {name_of[name]: value for name, value in sigma.items()} | self.sigmas
        for first, second in schema.edges.tolist():
            edge = (name_of[own[first]], name_of[own[second]])
            if edge not in self.edges and edge[::-1] not in self.edges:
                self.edges.append(edge)
        return _positions(self.keypoints, [name_of[name] for name in own])

    @staticmethod
    def _rows(schema: Schema) -> list[tuple[str, NDArray[np.bool_]]]:
        return list(zip(schema.classes, schema.present, strict=True))

    def _qualified(
        self, own: Sequence[str], partner: dict[str, str], sigma: dict[str, float], held: dict[str, list[str]]
    ) -> dict[str, str]:
        """Give the keypoints that cannot share a column with the one of their name a name of their own."""
        reasons: dict[str, str] = {}
        for name in set(own) & set(self.keypoints):
            if name in partner and name in self.partners and partner[name] != self.partners[name]:
                reasons[name] = f"mirrors to '{partner[name]}' in one file and to '{self.partners[name]}' in another"
            elif name in sigma and name in self.sigmas and not np.isclose(sigma[name], self.sigmas[name]):
                reasons[name] = f"has the sigma {sigma[name]:g} in one file and {self.sigmas[name]:g} in another"
        for name in list(reasons):
            reasons.setdefault(partner.get(name, name), f"is the mirror image of '{name}', which {reasons[name]}")
        names = {}
        for name, reason in sorted(reasons.items()):
            owners = [label for label, keypoints in held.items() if name in keypoints]
            joined = [label for label in owners if label in self.classes]
            if joined:
                raise DekeyError(
                    f"keypoint '{name}' of class '{joined[0]}' {reason}; mend one of the files, or give the class another name"
                )
            names[name] = f"{owners[0]}/{name}" if owners else f"{next(iter(held), '')}/{name}"
            if names[name] in self.keypoints or names[name] in own:
                raise DekeyError(f"keypoint '{name}' {reason}, and the name '{names[name]}' is taken; rename it in its file")
        return names

    def schema(self, parts: Sequence[Schema]) -> Schema:
        """Put the names in columns."""
        index = {name: position for position, name in enumerate(self.keypoints)}
        without = [part for part in parts if part.mirror is None]
        notes = list(dict.fromkeys(part.mirror_note for part in parts if part.mirror_note))
        schema = Schema.create(
            list(self.classes),
            self.keypoints,
            [(index[first], index[second]) for first, second in self.edges],
            range(len(index)) if without else [index[self.partners[name]] for name in self.keypoints],
            None,
            np.array([[name in own for name in index] for own in self.classes.values()]).reshape(-1, len(index)),
        )
        if all(part.sigmas is not None for part in parts):
            schema = schema.with_sigmas([self.sigmas[name] for name in self.keypoints])
        else:
            schema = replace(schema, sigmas=None)  # `create` fills in COCO's own where the names are COCO's
        if not without:
            return replace(schema, mirror_note="; ".join(notes))
        note = without[0].mirror_note or "left and right are undecided"
        if len(parts) > 1:
            note = f"the data of {_listed(without[0].classes)} have no mirror, so all have none: {note}"
        return replace(schema, mirror=None, mirror_note=note)


def _listed(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)
    return ", ".join(f"'{name}'" for name in shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


def _positions(names: Sequence[str], own: Sequence[str]) -> NDArray[np.int64]:
    """Give (len(own),) int64: where each of `own` stands among `names`."""
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[name] for name in own], dtype=np.int64)


def _under(instances: Instances, columns: NDArray[np.int64], labels: NDArray[np.int64], keypoint_count: int) -> Instances:
    """Put instances under a schema of more keypoints and classes."""
    if keypoint_count == len(columns) and np.array_equal(columns, np.arange(keypoint_count)):
        return replace(instances, labels=labels[instances.labels])
    count = len(instances)
    keypoints = np.full((count, keypoint_count, 2), np.nan)
    keypoints[:, columns] = instances.keypoints
    visibility = np.full((count, keypoint_count), UNLABELLED, dtype=np.uint8)
    visibility[:, columns] = instances.visibility
    keypoint_scores = None
    if instances.keypoint_scores is not None:
        keypoint_scores = np.zeros((count, keypoint_count))
        keypoint_scores[:, columns] = instances.keypoint_scores
    return replace(
        instances,
        labels=labels[instances.labels],
        keypoints=keypoints,
        visibility=visibility,
        keypoint_scores=keypoint_scores,
    )


def _pictures(datasets: Sequence[Dataset]) -> Sequence[Picture]:
    """Join the pictures; as strings wherever all are files, because a `Path` an image takes a lot of memory."""
    files = [dataset.pictures for dataset in datasets if isinstance(dataset.pictures, PictureFiles)]
    if len(files) < len(datasets):
        pictures = [picture for dataset in datasets for picture in dataset.pictures]
        return [picture.absolute() if isinstance(picture, Path) else picture for picture in pictures]
    folder = files[0].folder
    if all(one.folder == folder for one in files):
        return PictureFiles(folder, [name for one in files for name in one.names])
    return PictureFiles(
        Path(folder.absolute().anchor), [str(one.folder.absolute() / name) for one in files for name in one.names]
    )


def _distinct(columns: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Join ids; those that an earlier column holds get the smallest numbers from 1 that are free everywhere."""
    ids = np.concatenate(columns).astype(np.int64)
    every = np.unique(ids)
    free = np.setdiff1d(np.arange(1, 2 * len(ids) + 1), every)
    seen, joined = np.zeros(0, dtype=np.int64), []
    for column in columns:
        taken = np.unique(column[np.isin(column, seen)])
        renamed = column.astype(np.int64)
        repeated = np.isin(renamed, taken)
        renamed[repeated] = free[np.searchsorted(taken, renamed[repeated])]
        free = free[len(taken) :]
        joined.append(renamed)
        seen = np.union1d(seen, renamed)
    return np.concatenate(joined)


def _category_ids(datasets: Sequence[Dataset], classes: Sequence[str]) -> tuple[int, ...] | None:
    """Give the class ids of the files, the first where two differ; None if one is missing or two classes have the same."""
    ids: dict[str, int] = {}
    for dataset in datasets:
        for name, number in zip(dataset.schema.classes, dataset.category_ids or (), strict=False):
            ids.setdefault(name, number)
    distinct = len(set(ids.values())) == len(ids) == len(classes)
    return tuple(ids[name] for name in classes) if distinct else None
