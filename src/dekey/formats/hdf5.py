"""What must hold of an HDF5 file from outside before its contents are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dekey.errors import DekeyError
from dekey.formats.files import extra_module


def check_inside(file: Any, path: Path) -> None:
    """Refuse a file that keeps values in other files, which nobody asked to open.

    Args:
        file: an open `h5py.File`.
        path: its name, for the sentence.

    Raises:
        DekeyError: if a link leads into another file, or a data set is virtual or stored outside.
    """
    h5py = extra_module("h5py")
    outside: list[str] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Group):
            links = (each for each in node if isinstance(node.get(each, getlink=True), h5py.ExternalLink))
            outside.extend(f"{name}/{each}".lstrip("/") for each in links)
        elif isinstance(node, h5py.Dataset) and (node.is_virtual or node.external):
            outside.append(name)

    visit("", file)
    file.visititems(visit)
    if outside:
        raise DekeyError(f"{path} keeps '{outside[0]}' in another file, which dekey does not follow; save it as one file")


def check_records(file: Any, path: Path) -> None:
    """Refuse a file whose records (compound types) are not laid out as they are in memory.

    The HDF5 library converts such records member by member and believes what the file says of their places: with a damaged
    type it wrote outside its buffers (HDF5 2.0 under valgrind, `H5T__conv_struct_opt`), and the program crashed later somewhere
    else. What is laid out as in memory is copied without conversion; SLEAP and PyTables write it so.

    Args:
        file: an open `h5py.File`.
        path: its name, for the sentence.

    Raises:
        DekeyError: if a data set holds records laid out otherwise.
    """
    h5py = extra_module("h5py")
    wrong: list[str] = []

    def visit(name: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset):
            return
        stored = node.id.get_type()
        if stored.get_class() == h5py.h5t.COMPOUND and not stored.equal(h5py.h5t.py_create(stored.dtype)):
            wrong.append(name)

    file.visititems(visit)
    if wrong:
        raise DekeyError(f"{path} holds '{wrong[0]}' in a form that SLEAP does not write; it may be damaged, save it again")
