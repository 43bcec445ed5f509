"""Checks that open the image files of a data set, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dekey.data.dataset import Dataset, Problem
from dekey.data.frames import Frame
from dekey.data.images import image_size, read_image
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError

# Few enough that a stop takes effect at once, enough that the threads stay busy.
_CHUNK = 256


def picture_problems(dataset: Dataset, *, decode: bool, progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """Find images that are missing, broken, or not of the annotated size.

    Args:
        dataset: the data set.
        decode: decode every image whole; otherwise only its header is read.
        progress: called with (images done, images in all) after every few images.
    """

    def check(index: int) -> Problem | None:
        picture, name = dataset.pictures[index], dataset.picture_name(index)
        height, width = dataset.sizes[index].tolist()
        if isinstance(picture, Frame):
            # Without decoding, its size is what the file that holds it says, which is where the reader took it from.
            try:
                found = picture.read().shape[:2] if decode else (height, width)
            except DekeyError as error:
                return problem("broken-image", str(error).split(";")[0], name)
        elif not isinstance(picture, Path):
            found = picture.shape[0], picture.shape[1]
        elif not picture.is_file():
            return problem("missing-image", f"{picture} does not exist", name)
        else:
            try:
                # A decoded image is as large as its header says, or read_image raises.
                found = image_size(picture)
                if decode:
                    read_image(picture)
            except DekeyError as error:
                return problem("broken-image", str(error).split(";")[0], name)
        if found == (height, width):
            return None
        kind = "swapped-size" if found == (width, height) else "wrong-size"
        return problem(kind, f"the image is {found[1]}x{found[0]}, its annotation says {width}x{height}", name)

    problems: list[Problem] = []
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as threads:
        for start in range(0, len(dataset), _CHUNK):
            chunk = range(start, min(start + _CHUNK, len(dataset)))
            problems += [found for found in threads.map(check, chunk) if found is not None]
            if progress:
                progress(chunk.stop, len(dataset))
    return problems
