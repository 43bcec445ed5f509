"""The project folder of DeepLabCut: its config, where its tables lie, and writing one."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from numpy.typing import NDArray

from dekey.data.dataset import Dataset
from dekey.errors import DekeyError
from dekey.files import new_folder, replaced
from dekey.formats.copies import copy_picture
from dekey.formats.deeplabcut_hdf5 import write_hdf5
from dekey.formats.files import head, read_yaml
from dekey.formats.pictures import picture_file

UNIQUE: Final = "single"
"""The individual to whom the unique body parts belong."""
SCORER: Final = "dekey"
_MAX_CONFIG_BYTES: Final = 1_000_000
# Digits kept after the point; it takes off what adding and subtracting the half pixel leaves behind.
_DIGITS: Final = 9


@dataclass(frozen=True)
class Config:
    """What a project's ``config.yaml`` says of its labels.

    Attributes:
        scorer: whose tables count.
        bodyparts: those of an animal.
        unique: those that are one of a kind.
        skeleton: pairs of body parts.
    """

    scorer: str = ""
    bodyparts: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    skeleton: tuple[tuple[str, str], ...] = ()


def is_config(path: Path) -> bool:
    """Tell whether a file is the config of a project: it names a scorer, video sets and body parts."""
    lines = head(path, _MAX_CONFIG_BYTES).split(b"\n")
    return {b"scorer", b"video_sets", b"bodyparts"} <= {line.split(b":")[0] for line in lines}


def read_config(path: Path) -> Config:
    """Read a project's config.

    Raises:
        DekeyError: if it is no YAML, or names no body parts.
    """
    values = read_yaml(path, _MAX_CONFIG_BYTES)
    if not isinstance(values, dict):
        raise DekeyError(f"{path} holds {type(values).__name__}, expected the settings of a DeepLabCut project")
    several = bool(values.get("multianimalproject"))
    bodyparts = values.get("multianimalbodyparts" if several else "bodyparts")
    unique = values.get("uniquebodyparts") if several else []
    skeleton = values.get("skeleton") or []
    lists = [list_ if isinstance(list_, list) else [] for list_ in (bodyparts, unique)]
    pairs = [tuple(map(str, pair)) for pair in skeleton if isinstance(pair, list) and len(pair) == 2]
    return Config(
        str(values.get("scorer", "")),
        tuple(map(str, lists[0])),
        tuple(map(str, lists[1])),
        tuple((one, other) for one, other in pairs),
    )


def project_tables(project: Path, config: Config) -> list[Path]:
    """List the tables of a project, one for each folder of labelled data that has any.

    Raises:
        DekeyError: if there are none, or a folder has tables of several scorers and none of the config's.
    """
    labelled = project / "labeled-data"
    found = []
    for folder in sorted(labelled.iterdir()) if labelled.is_dir() else []:
        files = [*sorted(folder.glob("CollectedData_*.csv")), *sorted(folder.glob("CollectedData_*.h5"))]
        stems = dict.fromkeys(file.stem for file in files)
        if not stems:
            continue
        own = f"CollectedData_{config.scorer}"
        if own not in stems and len(stems) > 1:
            raise DekeyError(
                f"{folder} holds labels of several scorers ({', '.join(stems)}), none of them the project's, {config.scorer}; "
                "name one table"
            )
        stem = own if own in stems else next(iter(stems))
        found.append(next(file for file in files if file.stem == stem))
    if not found:
        raise DekeyError(f"{project} has no labeled-data/*/CollectedData_*.csv, expected the labels of a DeepLabCut project")
    return found


def write_project(dataset: Dataset, path: Path) -> None:
    """Write a project folder, see `dekey.formats.deeplabcut.write`."""
    names = dataset.schema.keypoints
    counts = np.diff(dataset.starts)
    individuals = [f"individual{number}" for number in range(1, int(counts.max(initial=1)) + 1)]
    several = len(individuals) > 1
    header = [("scorer", [SCORER] * (2 * len(names) * len(individuals)))]
    if several:
        header.append(("individuals", [who for who in individuals for _ in range(2 * len(names))]))
    header.append(("bodyparts", [name for _ in individuals for name in names for _ in "xy"]))
    header.append(("coords", ["x", "y"] * (len(names) * len(individuals))))
    values = _values(dataset, len(individuals))
    places = _places(dataset)
    with new_folder(path) as project:
        for folder in dict.fromkeys(folder for folder, _ in places):
            rows = [index for index, (own, _) in enumerate(places) if own == folder]
            target = project / "labeled-data" / folder
            target.mkdir(parents=True)
            for index in rows:
                copy_picture(dataset, index, target / places[index][1])
            files = [places[index][1] for index in rows]
            _write_csv(target / f"CollectedData_{SCORER}.csv", header, folder, files, values[rows])
            if find_spec("h5py") is not None:
                write_hdf5(target / f"CollectedData_{SCORER}.h5", header, folder, files, values[rows])
        settings = _settings(dataset, path.name, individuals if several else [], places)
        with replaced(project / "config.yaml") as stream:
            yaml.safe_dump(settings, stream, sort_keys=False, allow_unicode=True)


def _values(dataset: Dataset, individuals: int) -> NDArray[np.float64]:
    """Put the keypoints into rows (S, individuals · K · 2) of pixel indices, NaN where unlabelled."""
    objects = dataset.instances
    values = np.full((len(dataset), individuals, len(dataset.schema.keypoints), 2), np.nan)
    image_of = dataset.image_of_instance()
    place = np.arange(len(objects)) - dataset.starts[image_of]
    values[image_of, place] = np.where(objects.labelled[..., None], (objects.keypoints - 0.5).round(_DIGITS), np.nan)
    return values.reshape(len(dataset), -1)


def _places(dataset: Dataset) -> list[tuple[str, str]]:
    """Give each image its folder in the project and its name there; images of one folder stay together."""
    places: list[tuple[str, str]] = []
    owners: dict[str, Path] = {}
    for index in range(len(dataset)):
        picture = picture_file(dataset, index)
        folder = picture.parent.name or "images"
        while owners.setdefault(folder, picture.parent) != picture.parent:
            folder += "_"
        places.append((folder, picture.name))
    if len(set(places)) < len(places):
        (folder, name), _ = Counter(places).most_common(1)[0]
        raise DekeyError(
            f"the image {folder}/{name} is listed twice, and a DeepLabCut project names each once; merge its entries"
        )
    return places


def _write_csv(
    path: Path, header: Sequence[tuple[str, list[str]]], folder: str, files: Sequence[str], values: NDArray[np.float64]
) -> None:
    with replaced(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([level, "", "", *words] for level, words in header)
        for file, row in zip(files, values.tolist(), strict=True):
            writer.writerow(["labeled-data", folder, file, *("" if value != value else repr(value) for value in row)])


def _settings(dataset: Dataset, name: str, individuals: list[str], places: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Give the settings of a new project; those that labels do not decide are DeepLabCut's own defaults."""
    schema = dataset.schema
    sets = {}
    for folder in dict.fromkeys(folder for folder, _ in places):
        height, width = dataset.sizes[[own == folder for own, _ in places]].max(axis=0).tolist()
        sets[f"videos/{folder}.mp4"] = {"crop": f"0, {width}, 0, {height}"}
    several = {
        "individuals": individuals,
        "uniquebodyparts": [],
        "multianimalbodyparts": list(schema.keypoints),
        "bodyparts": "MULTI!",
    }
    return {
        "Task": name,
        "scorer": SCORER,
        "date": "Jan1",
        "multianimalproject": bool(individuals),
        "identity": False,
        "project_path": ".",
        "engine": "pytorch",
        "video_sets": sets,
        **(several if individuals else {"bodyparts": list(schema.keypoints)}),
        "start": 0,
        "stop": 1,
        "numframes2pick": 20,
        "skeleton": [[schema.keypoints[one], schema.keypoints[other]] for one, other in schema.edges.tolist()],
        "skeleton_color": "black",
        "pcutoff": 0.6,
        "dotsize": 12,
        "alphavalue": 0.7,
        "colormap": "rainbow",
        "TrainingFraction": [0.95],
        "iteration": 0,
        "default_net_type": "resnet_50",
        "default_augmenter": "default",
        "default_track_method": "ellipse",
        "snapshotindex": -1,
        "detector_snapshotindex": -1,
        "batch_size": 8,
        "detector_batch_size": 1,
        "cropping": False,
        "x1": 0,
        "x2": 640,
        "y1": 277,
        "y2": 624,
        "corner2move2": [50, 50],
        "move2corner": True,
    }
