"""What a file is that no format knows, in a sentence that says what to do instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dekey.errors import DekeyError
from dekey.formats.files import HDF5_SIGN, head, read_json

_HEAD_BYTES = 65_536
# Above this size a JSON file is not parsed only to say what it is.
_MAX_PARSED = 64 * 1024**2

_AS_TABLE = "write it as a table, one row an image or object, with the columns that docs/concepts/formats.md names"


def _keys(value: Any, *names: str) -> bool:
    return isinstance(value, dict) and all(name in value for name in names)


def _first(content: Any) -> Any:
    return content[0] if isinstance(content, list) and content else None


# What the parsed content of a JSON file looks like, and what it then is.
_JSON: Final[tuple[tuple[Callable[[Any], bool], str], ...]] = (
    (
        lambda content: _keys(_first(content), "image_id", "score"),
        "holds COCO results (a list with scores), expected annotations; name the file of the truth",
    ),
    (
        lambda content: _keys(_first(content), "img_name", "joints"),
        f"is a list of images with 'joints', a form of one project whose pixel frame nobody states; {_AS_TABLE}",
    ),
    (
        lambda content: _keys(_first(content), "path", "keypoints") or _keys(_first(content), "image", "keypoints"),
        f"is a list of images with numbered 'keypoints', a form of one project whose pixel frame nobody states; {_AS_TABLE}",
    ),
    (
        lambda content: _keys(_first(content), "annotations", "filename"),
        "is a list of images with boxes and points that belong to a box only by their order (AlphaTracker, Sloth); "
        f"{_AS_TABLE}",
    ),
    (
        lambda content: _keys(content, "definitions", "files"),
        f"is an .anno file, images with markers that belong to no object; {_AS_TABLE}",
    ),
    (
        lambda content: _keys(content, "skeletons", "videos", "labels"),
        "is a SLEAP project of the time before .slp; open it in SLEAP and save it as .slp",
    ),
    (
        lambda content: _keys(content, "landmarks") or (_keys(content, "groups") and "version" in content),
        "is LJSON of menpo under another name; call it like its image, with the ending .ljson, and it can be read",
    ),
    (
        lambda content: (
            isinstance(content, dict)
            and any(
                _keys(each, "keypoints_amount") for part in content.values() if isinstance(part, dict) for each in part.values()
            )
        ),
        "lists classes and how many keypoints each has, but no labels; name the label file it belongs to",
    ),
    (
        lambda content: _keys(content, "type", "features"),
        "is GeoJSON, which dekey does not read; export the labels as COCO keypoints JSON",
    ),
)

# How other files begin, and what they then are.
_HEADS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"name,parent,swap", "is the skeleton of DeepPoseKit, names and lines without labels; name the label file it belongs to"),
    (
        b"track,frame_idx,instance.score",
        "is SLEAP's analysis table, places over time without images; name the .slp project it was exported from",
    ),
    (b"MATLAB", "is a MATLAB file, which dekey does not read; export the labels as COCO keypoints JSON or as a table"),
    (HDF5_SIGN, "is an HDF5 file, but of no known labelling tool; export the labels as COCO keypoints JSON"),
    (b"\x80\x04", "is a Python pickle, which may run code when it is opened and is never read; export the labels as a table"),
    (b"\x80\x03", "is a Python pickle, which may run code when it is opened and is never read; export the labels as a table"),
    (b"\x89PNG", "is an image, expected a label file; `dekey predict` takes images"),
    (b"\xff\xd8\xff", "is an image, expected a label file; `dekey predict` takes images"),
    (b"PK\x03\x04", "is a ZIP archive, expected a label file; unpack it first"),
    (b"\x1f\x8b", "is a gzip archive, expected a label file; unpack it first"),
)

# alpr-unconstrained (github.com/sergiomsilva/alpr-unconstrained) writes four corners so.
_CORNERS: Final = re.compile(rb"4(?:,\d?\.\d+){8}[,\s]*")
# A class, a box in shares of the image, and more numbers, a line each.
_YOLO: Final = re.compile(rb"(?:\d{1,4}(?: [01](?:\.\d+)?){4}(?: -?\d+(?:\.\d+)?){2,}\s*(?:\n|$))+")


def describe(path: Path) -> str | None:
    """Say what a file is, as the end of a sentence that begins with its name; None where nobody knows.

    Args:
        path: a file that no format recognises.
    """
    found = head(path, _HEAD_BYTES)
    if found.startswith(HDF5_SIGN) and b"track_occupancy" in found:
        return "is SLEAP's analysis file, places over time without images; name the .slp project it was exported from"
    for start, meaning in _HEADS:
        if found.startswith(start):
            return meaning
    if _CORNERS.fullmatch(found):
        return f"is a line of corners of a number plate (their count, all x, then all y, as shares of the image); {_AS_TABLE}"
    whole = found if len(found) < _HEAD_BYTES else found[: found.rfind(b"\n") + 1]
    if _YOLO.fullmatch(whole):
        return (
            "holds the labels of one image as YOLO writes them; name the data.yaml of its data set, which says what they mean"
        )
    if all(key in found for key in (b"\nscorer:", b"\nproject_path:", b"bodyparts:")):
        return "is the configuration of a DeepLabCut project; call it config.yaml and name the folder of the project"
    if found[:1] in (b"{", b"[") and path.stat().st_size <= _MAX_PARSED:
        try:
            return _describe_json(read_json(path))
        except DekeyError as error:
            return str(error).removeprefix(f"{path} ")
    return None


def _describe_json(content: Any) -> str:
    for fits, meaning in _JSON:
        if fits(content):
            return meaning
    listed = content if isinstance(content, dict) else _first(content)
    if isinstance(listed, dict):
        names = ", ".join(repr(name)[:30] for name in list(listed)[:6])
        rest = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
        what = "an object" if isinstance(content, dict) else f"a list of {len(content)} objects"
        return f"is JSON, {what} with {names}{rest}, and no known format is made so; {_AS_TABLE}"
    return "is in no known format: it is JSON, but it lists no images and no objects; export the labels again"
