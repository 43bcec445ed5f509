"""DeepLabCut: a label table (csv or HDF5), or a project folder.

Layout: a project holds ``config.yaml`` and, for each video, ``labeled-data/VIDEO/`` with the frames and one table
``CollectedData_SCORER.csv``, beside which DeepLabCut keeps the same table as HDF5 (``.h5``, written by pandas). A table has
header rows ``scorer``, ``individuals`` (multi-animal projects only), ``bodyparts`` and ``coords`` (x, y), then a row for each
frame, named in one column (``labeled-data/VIDEO/img.png``) or, since DeepLabCut 2.2, in three. Evidence: DeepLabCut,
``utils/conversioncode.py`` (``convertcsv2h5``, ``guarantee_multiindex_rows``) and ``core/config/project_config.py``.

Frame: the centre of the first pixel is (0, 0) in the file and (0.5, 0.5) here; 0.5 is added when read and taken off when
written. Evidence: labels are made in napari-deeplabcut, which stores the coordinates of napari's Points layer as they are
(``core/io.py``, ``data[:, 1:] = df[["y", "x"]]``), and in napari the centre of pixel [0, 0] is [0, 0] (napari/napari #310,
pull request #1660); the older tools and ``check_labels`` draw with matplotlib's ``imshow``, whose frame is the same.
(DeepLabCut's networks place cell j of a map with stride s at j·s + s/2 of these coordinates, half a pixel beside the cell's
middle; training and prediction agree in it, so labels are not concerned.)

Visibility: a point is labelled, which is visible here, or its cells are empty (NaN), which is unlabelled. A row all of whose
cells are empty is an image without objects; DeepLabCut itself does not train on it.

Individuals are the objects of an image, in the header's order; their names are not kept. The points of the individual
``single`` (``uniquebodyparts``: one of a kind, not part of an animal; ``auxfun_multianimal.py``) are a class of that name.
There are no boxes.

In a project every ``labeled-data`` folder with a table is read, in the order of their names: the config's scorer where there
are several, the csv where csv and HDF5 lie beside each other. HDF5 is read only where no column name is pickled (pandas'
"fixed" layout; its "table" layout of old projects pickles them).

Images are named relative to the project. For a table alone they are looked for there, beside it, and below `images`.

Written is a new project folder that DeepLabCut opens: config, a table for each folder of images, and the images themselves,
copied to ``labeled-data/FOLDER/``, since a project holds its frames. With the extra ``formats`` the HDF5 tables that
DeepLabCut trains on are written too; without it, its ``convertcsv2h5`` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from dekey.data.dataset import Dataset, Problem
from dekey.data.instances import UNLABELLED, VISIBLE
from dekey.data.problem_kinds import problem
from dekey.data.schema import Schema
from dekey.errors import DekeyError
from dekey.formats.deeplabcut_project import UNIQUE, Config, is_config, project_tables, read_config, write_project
from dekey.formats.deeplabcut_tables import HDF5_KEY, Table, looks_like_csv, read_table
from dekey.formats.files import HDF5_SIGN, head
from dekey.formats.gather import Objects, build_dataset, place_images
from dekey.formats.names import UNNAMED_CLASS
from dekey.formats.references import likeliest

HOLDS: Final = frozenset(
    {
        "several_objects",
        "unlabelled_points",
        "images_without_objects",
        "keypoint_names",
        "unused_names",
        "order",
        "edges",
        "outside_points",
        "exact_coordinates",
    }
)
_HEAD_BYTES: Final = 65_536


def recognises(path: Path) -> bool:
    """Tell a label table by its header, a project by its ``config.yaml``."""
    if path.is_dir():
        return is_config(path / "config.yaml")
    if path.name == "config.yaml":
        return is_config(path)
    start = head(path, _HEAD_BYTES)
    return (start.startswith(HDF5_SIGN) and HDF5_KEY.encode() in start) or looks_like_csv(start)


def read(path: Path, *, images: Path | None = None, keep: bool = False) -> Dataset:
    """Read a table or a project without opening an image, but for its size, which DeepLabCut does not state.

    Args:
        path: a csv or HDF5 table, a project folder, or its ``config.yaml``.
        images: folder where the image names start; by default the project.
        keep: keep objects with a point of which only x or y is given, without that point.

    Returns:
        The data set; what was left out is in its `problems`. Images and objects count from 1.

    Raises:
        DekeyError: if the file is no table of labels, or no image can be used.
    """
    problems: list[Problem] = []
    folder = path.absolute().parent
    if path.is_dir() or path.name == "config.yaml":
        project = path if path.is_dir() else path.parent
        config, folders = read_config(project / "config.yaml"), [project]
        tables = [read_table(file, problems) for file in project_tables(project, config)]
    else:
        config, folders = _config_above(path), [folder.parent.parent, folder]
        tables = [read_table(path, problems)]
    names = [name for table in tables for name in table.names]
    if not names:
        raise DekeyError(f"{path} holds no labelled frame, expected rows of coordinates; label some frames and save")
    schema = _schema(tables, config, problems)
    root, names = likeliest(_readings(names, folders, images))
    pictures = place_images(path, names, images, problems, root=root)
    return build_dataset(schema, pictures, _objects(tables, schema), problems, offset=0.5, keep=keep)


def write(dataset: Dataset, path: Path) -> None:
    """Write a data set of one class as a new project folder, images copied into it; whole or not at all.

    Several objects in one image make it a multi-animal project.

    Raises:
        DekeyError: if the folder exists and is not empty, or an image cannot be read.
    """
    write_project(dataset, path)


def _config_above(table: Path) -> Config:
    """Read the project's config where a table lies in one; it knows the order of the body parts and the skeleton."""
    file = table.absolute().parent.parent.parent / "config.yaml"
    return read_config(file) if table.absolute().parent.parent.name == "labeled-data" and is_config(file) else Config()


def _readings(names: Sequence[str], folders: Sequence[Path], images: Path | None) -> list[tuple[Path, Sequence[str]]]:
    """List where the images may lie: in `images` or else in `folders`, by their whole names and by the last part of them."""
    beside = [name.rsplit("/", 1)[-1] for name in names]
    return [(folder, own) for folder in (folders if images is None else [images]) for own in (names, beside)]


def _schema(tables: Sequence[Table], config: Config, problems: list[Problem]) -> Schema:
    """Join the body parts of config and tables by name, in the config's order."""
    own = dict.fromkeys(config.bodyparts)
    unique = dict.fromkeys(config.unique)
    for table in tables:
        for individual, bodypart in table.points:
            (unique if individual == UNIQUE else own)[bodypart] = None
    names = list(dict.fromkeys([*own, *unique]))
    edges = []
    for one, other in config.skeleton:
        if one in names and other in names:
            edges.append((names.index(one), names.index(other)))
        else:
            problems.append(problem("bad-skeleton", f"the skeleton of config.yaml joins '{one}' and '{other}'"))
    present = [[name in own for name in names]]
    if unique:
        present.append([name in unique for name in names])
    return Schema.create([UNNAMED_CLASS, UNIQUE] if unique else [UNNAMED_CLASS], names, edges, present=present)


def _objects(tables: Sequence[Table], schema: Schema) -> Objects:
    """Give the labelled individuals of all frames."""
    column = {name: index for index, name in enumerate(schema.keypoints)}
    points, image_of, labels, places = [], [], [], []
    first = 0
    for table in tables:
        individuals = list(dict.fromkeys(individual for individual, _ in table.points))
        triples = np.full((len(table.names), len(individuals), len(column), 3), np.nan)
        triples[..., 2] = UNLABELLED
        for point, (individual, bodypart) in enumerate(table.points):
            values = table.values[:, point]
            codes = np.where(np.isnan(values).all(axis=1), UNLABELLED, VISIBLE)
            triples[:, individuals.index(individual), column[bodypart]] = np.column_stack([values, codes])
        rows, who = np.nonzero((triples[..., 2] != UNLABELLED).any(axis=2))
        points.append(triples[rows, who])
        image_of.append(rows + first)
        labels.append(np.array([individual == UNIQUE for individual in individuals], dtype=np.int64)[who])
        places += [f"{table.path.name} {individuals[index]}".strip() for index in who.tolist()]
        first += len(table.names)
    triples = np.concatenate(points)
    return Objects(np.concatenate(image_of), np.concatenate(labels), triples, np.full((len(triples), 4), np.nan), places)
