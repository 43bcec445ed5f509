"""A small real data set inside the package: glue tubes, two keypoints each, 111 images to train on and 23 held out.

The images and labels are by Alex P under the MIT licence, which lies beside them with the source.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dekey.data.dataset import Dataset
from dekey.errors import DekeyError

Part = Literal["train", "test"]


def path(part: Part) -> Path:
    """Give the path of the annotation file of a part; its images lie in ``images/`` beside it.

    Raises:
        DekeyError: if the part is neither "train" nor "test", or the installation lacks its files.

    >>> path("test").name
    'test.json'
    """
    if part not in ("train", "test"):
        raise DekeyError(f"there is no embedded part '{part}', expected 'train' or 'test'")
    file = Path(__file__).with_name("embedded") / "glue_tubes" / f"{part}.json"
    if not file.is_file():
        raise DekeyError("the embedded data are missing from this installation; install dekey again")
    return file


def load(part: Part) -> Dataset:
    """Read a part as a data set.

    >>> len(load("test")), load("test").schema.keypoints
    (23, ('head', 'tail'))
    """
    from dekey.formats import read  # formats lie above data; only this convenience reaches up

    return read(path(part), format="coco")
