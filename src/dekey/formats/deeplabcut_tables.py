"""The tables of DeepLabCut: labels as csv, and as HDF5 where nothing in it is pickled."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dekey.data.dataset import Problem
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.formats.files import HDF5_SIGN, extra_module, read_text
from dekey.formats.hdf5 import check_inside

LEVELS: Final = ("scorer", "individuals", "bodyparts", "coords")
HDF5_KEY: Final = "df_with_missing"
_BLANK: Final = frozenset({"", "nan", "NaN", "NA"})
# Most bytes of one array of an HDF5 table that are read into memory.
_MAX_BYTES: Final = 2 * 1024**3


@dataclass(frozen=True)
class Table:
    """One label table.

    Attributes:
        path: where it lies.
        points: for each of the P points its individual ("" in a table without individuals) and its body part.
        names: S image names with forward slashes, as the index of the table has them.
        values: (S, P, 2) x, y as written; NaN where not labelled.
    """

    path: Path
    points: tuple[tuple[str, str], ...]
    names: list[str]
    values: NDArray[np.float64]


def looks_like_csv(head: bytes) -> bool:
    """Tell by its first bytes whether a text is a table of DeepLabCut: rows called scorer, bodyparts and coords."""
    firsts = [line.split(b",")[0].strip(b'" \r') for line in head.split(b"\n")[:4]]
    return firsts[0] == b"scorer" and b"bodyparts" in firsts[1:3] and b"coords" in firsts[2:]


def read_table(path: Path, problems: list[Problem]) -> Table:
    """Read a csv or HDF5 table; rows that cannot be read are left out and named.

    Raises:
        DekeyError: if it is no table of labels, or an HDF5 file whose column names are pickled.
    """
    with path.open("rb") as stream:
        is_hdf5 = stream.read(8) == HDF5_SIGN
    return _read_hdf5(path) if is_hdf5 else _read_csv(path, problems)


def _read_csv(path: Path, problems: list[Problem]) -> Table:
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path))) if row]
    except csv.Error as error:
        raise DekeyError(f"{path} is no sound csv ({error}); export it again") from error
    header: dict[str, list[str]] = {}
    while rows and rows[0][0] in LEVELS:
        row = rows.pop(0)
        header[row[0]] = row
    for level in ("bodyparts", "coords"):
        if level not in header:
            raise DekeyError(f"{path} has no row '{level}', expected the header of DeepLabCut: scorer, bodyparts, coords")
    coords = header["coords"]
    if "scorer" in header:  # pandas fills a short row of scorers too
        header["scorer"] += header["scorer"][-1:] * (len(coords) - len(header["scorer"]))
    index = next((column for column, coord in enumerate(coords) if column and coord), 0)
    if index not in (1, 3) or any(len(row) != len(coords) for row in header.values()):
        raise DekeyError(f"{path} has a header whose rows do not agree; expected 1 or 3 columns of image names, then values")
    levels = [header[level][index:] if level in header else [""] * (len(coords) - index) for level in LEVELS]
    points, order = _points(path, list(zip(*levels, strict=True)))
    names, values = [], []
    for number, row in enumerate(rows, start=len(header) + 1):
        name = "/".join(row[:index]).replace("\\", "/")
        try:
            cells = [np.nan if cell in _BLANK else float(cell) for cell in row[index:]]
        except ValueError as error:
            problems.append(problem("unreadable-record", f"line {number} of {path.name}: {error}", name))
            continue
        if len(cells) < len(order) and np.isnan(cells).all():
            cells = [np.nan] * len(order)  # pandas reads short rows so, and a row without labels has nothing to lose
        if len(cells) != len(order):
            what = f"line {number} of {path.name} has {len(cells)} values, expected {len(order)}"
            problems.append(problem("unreadable-record", what, name))
            continue
        names.append(name)
        values.append(cells)
    return Table(
        path, points, names, np.array(values).reshape(len(names), len(order))[:, order].reshape(len(names), len(points), 2)
    )


def _points(path: Path, columns: Sequence[tuple[str, ...]]) -> tuple[tuple[tuple[str, str], ...], list[int]]:
    """Give the points of a header in its order, and where x and y of each of them stand."""
    scorers = dict.fromkeys(column[0] for column in columns)
    if len(scorers) > 1:
        raise DekeyError(f"{path} holds labels of several scorers ({', '.join(scorers)}), expected one; keep the one to read")
    places: dict[tuple[str, str], dict[str, int]] = {}
    for position, (_, individual, bodypart, coord) in enumerate(columns):
        if coord == "likelihood":
            raise DekeyError(f"{path} holds predictions (a column 'likelihood'), expected labels; name a CollectedData file")
        if coord not in ("x", "y") or not bodypart:
            raise DekeyError(f"{path} has a column '{bodypart}' '{coord}', expected a body part with x and y")
        if coord in places.setdefault((individual, bodypart), {}):
            raise DekeyError(f"{path} has two columns {coord} of '{bodypart}' of '{individual}', expected one; keep one")
        places[individual, bodypart][coord] = position
    for (_, bodypart), place in places.items():
        if len(place) != 2:
            raise DekeyError(f"{path} has x or y of '{bodypart}' alone, expected both")
    if not places:
        raise DekeyError(f"{path} names no body part; expected columns x and y of each")
    return tuple(places), [position for place in places.values() for position in (place["x"], place["y"])]


def _read_hdf5(path: Path) -> Table:
    h5py = extra_module("h5py")
    try:
        with h5py.File(path, "r") as file:
            check_inside(file, path)
            group = file.get(HDF5_KEY)
            if not isinstance(group, h5py.Group):
                raise DekeyError(f"{path} has no table '{HDF5_KEY}', expected labels of DeepLabCut")
            if "table" in group:
                raise DekeyError(
                    f"{path} keeps its column names as pickled objects, which dekey never opens; "
                    "name the csv beside it, which holds the same labels"
                )
            levels = _levels(group, "block0_items")
            index = _levels(group, "axis1") if "axis1_level0" in group else {"": _words(_plain(group, "axis1"))}
            values = _plain(group, "block0_values").astype(np.float64)
            if "block1_values" in group:
                raise ValueError("not all of its columns are numbers")
            names = ["/".join(parts).replace("\\", "/") for parts in zip(*index.values(), strict=True)]
    except DekeyError:
        raise
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError, AttributeError) as error:
        raise DekeyError(f"{path} is no HDF5 table as pandas writes it ({error}); name the csv beside it") from error
    width = values.shape[-1] if values.ndim else 0
    if values.shape != (len(names), width) or any(len(level) != width for level in levels.values()):
        raise DekeyError(f"{path} has values of shape {values.shape} that do not fit its index; name the csv beside it")
    points, order = _points(path, list(zip(*[levels.get(level, [""] * width) for level in LEVELS], strict=True)))
    return Table(path, points, names, values[:, order].reshape(len(names), len(points), 2))


def _levels(group: Any, axis: str) -> dict[str, list[str]]:
    """Spell out an index that pandas wrote, level by level, as distinct names and a code for each entry."""
    levels: dict[str, list[str]] = {}
    for number in range(int(group.attrs[f"{axis}_nlevels"])):
        words = _words(_plain(group, f"{axis}_level{number}"))
        codes = _plain(group, f"{axis}_label{number}")
        if len(codes) and not (codes.min() >= 0 and codes.max() < len(words)):
            raise ValueError(f"{axis} counts beyond its names")
        name = _words(np.array([group[f"{axis}_level{number}"].attrs["name"]]))[0]
        levels[name if name in LEVELS else f"{number}"] = [words[code] for code in codes.tolist()]
    return levels


def _plain(group: Any, name: str) -> NDArray[Any]:
    """Read a whole array of numbers or of strings of fixed length; anything else (pandas pickles it) is refused."""
    data = group[name]
    if not isinstance(data, extra_module("h5py").Dataset):
        raise ValueError(f"{name} is no array")
    if data.dtype.kind not in "Siuf" or data.size * data.dtype.itemsize > _MAX_BYTES:
        raise ValueError(f"{name} holds {data.dtype}, expected plain numbers or strings")
    return np.asarray(data[()])


def _words(values: NDArray[Any]) -> list[str]:
    if values.dtype.kind != "S":
        raise ValueError(f"names are {values.dtype}, expected strings")
    return [value.decode("utf-8") for value in values.tolist()]
