"""Reading files on behalf of the formats: limits and plain errors."""

from __future__ import annotations

import json
import os
from codecs import BOM_UTF8
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import numpy as np

from dekey.errors import DekeyError

HDF5_SIGN: Final = b"\x89HDF\r\n\x1a\n"
"""How every HDF5 file begins."""
# A JSON file above this size is refused; reading takes about its size and, for COCO, 1 KB a record of memory.
MAX_JSON_BYTES = 4 * 1024**3
# The same for XML and other text, which take about ten times their size.
MAX_TEXT_BYTES = 1024**3
# Lists and tables of label files are a few deep.
MAX_YAML_DEPTH = 64


def checked_file(path: Path) -> Path:
    """Give back a path that is a file with something in it.

    Raises:
        DekeyError: if there is nothing, a folder, or an empty file.
    """
    if path.is_dir():
        raise DekeyError(f"{path} is a folder, expected an annotation file; name the file in it")
    if not path.is_file():
        raise DekeyError(f"{path} does not exist; check the path of the annotation file")
    if path.stat().st_size == 0:
        raise DekeyError(f"{path} is empty, expected annotations; export it again")
    return path


def checked_path(path: Path) -> Path:
    """Give back a path that is a folder, or a file with something in it.

    Raises:
        DekeyError: if there is nothing, or an empty file.
    """
    return path if path.is_dir() else checked_file(path)


def head(path: Path, count: int) -> bytes:
    """Give the first `count` bytes of a file without byte order mark and white space in front; none if it cannot be read."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            return b""
        with path.open("rb") as stream:
            return stream.read(count).removeprefix(BOM_UTF8).lstrip()
    except OSError:
        return b""


def extra_module(name: str, extra: str = "formats") -> Any:
    """Import a module that an extra of dekey brings.

    Raises:
        DekeyError: if it is not installed; names the extra.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise DekeyError(f'{name} is not installed, which this format needs: pip install "dekey[{extra}]"') from error


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Read a UTF-8 text file of at most `limit` bytes, with or without a byte order mark.

    Raises:
        DekeyError: on a missing, empty or too large file, or one that is not UTF-8.
    """
    size = checked_file(path).stat().st_size
    if size > limit:
        raise DekeyError(f"{path} has {size / 1e6:.0f} MB, more than the limit of {limit / 1e6:.0f} MB; split it")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DekeyError(f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8") from error


def read_yaml(path: Path, limit: int) -> Any:
    """Parse a YAML file of at most `limit` bytes, by the safe loader, without aliases and without deep nesting.

    An alias makes a value that is printed in an error a thousand times as long as the file; and PyYAML takes time with the
    square of the depth, half a minute for 20,000 brackets.

    Raises:
        DekeyError: on a missing, too large or broken file, or one with what is left out.
    """
    import yaml

    text = read_text(path, limit)
    brackets = np.frombuffer(text.encode(), dtype=np.uint8)
    opened = np.isin(brackets, np.frombuffer(b"[{", dtype=np.uint8)).astype(np.int64)
    closed = np.isin(brackets, np.frombuffer(b"]}", dtype=np.uint8)).astype(np.int64)
    if np.cumsum(opened - closed).max(initial=0) > MAX_YAML_DEPTH:
        raise DekeyError(f"{path} opens more than {MAX_YAML_DEPTH} brackets inside each other, expected a few; mend it")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise DekeyError(f"{path} holds a YAML alias (*name), which label files do not need; write the value out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DekeyError(f"{path} is not valid YAML ({' '.join(str(error).split())[:200]}); mend it") from error


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses a document type, so that no entity is ever defined (the 'billion laughs') or fetched."""

    def doctype(self, *_: object) -> None:
        raise DekeyError("holds a document type, which label files do not need and which can do harm; remove it")


def read_xml(path: Path) -> ElementTree.Element:
    """Parse an XML file of at most `MAX_TEXT_BYTES` and without a document type; gives its root.

    Raises:
        DekeyError: on a missing, too large or broken file, or one with a document type.
    """
    size = checked_file(path).stat().st_size
    if size > MAX_TEXT_BYTES:
        raise DekeyError(f"{path} has {size / 1e6:.0f} MB, more than the limit of {MAX_TEXT_BYTES / 1e6:.0f} MB; split it")
    try:
        return ElementTree.parse(path, ElementTree.XMLParser(target=_NoDoctype())).getroot()
    except DekeyError as error:
        raise DekeyError(f"{path} {error}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DekeyError(f"{path} is not valid XML ({error}); export it again or mend it") from error


def read_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parse a JSON file of at most `MAX_JSON_BYTES`; `hook` sees every object of it while it is parsed.

    Raises:
        DekeyError: on a missing, too large or broken file; a broken one with line and column.
    """
    size = checked_file(path).stat().st_size
    if size > MAX_JSON_BYTES:
        raise DekeyError(f"{path} has {size / 1e9:.1f} GB, more than the limit of {MAX_JSON_BYTES / 1e9:.1f} GB; split it")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=hook)
    except json.JSONDecodeError as error:
        raise DekeyError(
            f"{path} is not valid JSON ({error.msg} at line {error.lineno}, column {error.colno}); export it again or mend it"
        ) from error
    except UnicodeDecodeError as error:
        raise DekeyError(f"{path} is not UTF-8 text (at byte {error.start}); save it as UTF-8") from error
    except RecursionError as error:
        raise DekeyError(f"{path} nests too deep to be an annotation file; export it again") from error
    except ValueError as error:  # a number of more than 4300 digits
        raise DekeyError(f"{path} is not valid JSON ({str(error).split(';')[0]}); export it again or mend it") from error


def files_below(folder: Path) -> list[str]:
    """Give the files in and below a folder by name, relative to it; hidden ones and links to folders left out."""
    names: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = Path(parent).relative_to(folder)
        names += [(inner / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(names)
