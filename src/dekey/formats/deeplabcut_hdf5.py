"""A table of DeepLabCut as HDF5, in the "fixed" layout of pandas, without pandas and without anything pickled.

Layout, as pandas 2 writes it through PyTables (``DataFrame.to_hdf(key="df_with_missing", mode="w")``, the call of DeepLabCut
and napari-deeplabcut): a group with the columns (``axis0`` and again ``block0_items``), the index (``axis1``) and the values
(``block0_values``). Columns and index have several levels, each an array of distinct names (``_level0``) and one of codes
(``_label0``). Attributes are byte strings of fixed length, as PyTables expects.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dekey.files import replacing
from dekey.formats.deeplabcut_tables import HDF5_KEY
from dekey.formats.files import extra_module

# How PyTables writes None, the name of a level without one.
_NONE = "N."


def write_hdf5(
    path: Path, header: Sequence[tuple[str, list[str]]], folder: str, files: Sequence[str], values: NDArray[np.float64]
) -> None:
    """Write a table.

    Args:
        path: the file.
        header: name and entries of each level of the columns.
        folder: the folder of the images below ``labeled-data``.
        files: S names of images.
        values: (S, columns) pixel indices, NaN where unlabelled.
    """
    h5py = extra_module("h5py")
    index = [(_NONE, ["labeled-data"] * len(files)), (_NONE, [folder] * len(files)), (_NONE, list(files))]
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        _describe(h5py, file, CLASS="GROUP", PYTABLES_FORMAT_VERSION="2.1", VERSION="1.0")
        group = file.create_group(HDF5_KEY)
        _describe(h5py, group, CLASS="GROUP", VERSION="1.0", encoding="UTF-8", errors="strict")
        _describe(h5py, group, pandas_type="frame", pandas_version="0.15.2")
        group.attrs["ndim"], group.attrs["nblocks"] = np.int64(2), np.int64(1)
        for axis, levels in (("axis0", header), ("block0_items", header), ("axis1", index)):
            _write_levels(h5py, group, axis, levels)
        _write_array(h5py, group, "block0_values", values)


def _write_levels(h5py: Any, group: Any, axis: str, levels: Sequence[tuple[str, list[str]]]) -> None:
    _describe(h5py, group, **{f"{axis}_variety": "multi"})
    group.attrs[f"{axis}_nlevels"] = np.int64(len(levels))
    for number, (name, words) in enumerate(levels):
        distinct = list(dict.fromkeys(words))
        array = _write_array(h5py, group, f"{axis}_level{number}", np.array([word.encode() for word in distinct], dtype="S"))
        _describe(h5py, array, kind="string", name=name, **{f"{axis}_name{'None' if name == _NONE else name}": name})
        codes = {word: code for code, word in enumerate(distinct)}
        dtype = np.int8 if len(distinct) < 128 else np.int16 if len(distinct) < 32_768 else np.int32
        _write_array(h5py, group, f"{axis}_label{number}", np.array([codes[word] for word in words], dtype=dtype))


def _write_array(h5py: Any, group: Any, name: str, values: NDArray[Any]) -> Any:
    array = group.create_dataset(name, data=values)
    _describe(h5py, array, CLASS="ARRAY", FLAVOR="numpy", VERSION="2.4")
    array.attrs["transposed"] = np.uint8(1)
    return array


def _describe(h5py: Any, node: Any, **words: str) -> None:
    """Set attributes as PyTables does: strings of fixed length in UTF-8, but None in ASCII, else it reads back as a string."""
    for name, word in words.items():
        encoding = "ascii" if word == _NONE else "utf-8"
        node.attrs.create(name, word.encode(), dtype=h5py.string_dtype(encoding, len(word.encode())))
    if "TITLE" not in node.attrs:
        node.attrs["TITLE"] = h5py.Empty("S1")
