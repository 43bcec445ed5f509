"""The folder that `dekey label` writes: pictures, label files, scenes, sheets and a summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Sample, Schema
from dekey.data.dataset import PictureFiles
from dekey.data.images import IMAGE_SUFFIXES, image_size, read_image
from dekey.errors import DekeyError
from dekey.files import new_folder, replacing, write_text
from dekey.formats import write
from dekey.label.compose import Composer, Layout
from dekey.label.points import shape_schema
from dekey.label.segmentation import QUALITY, REASONS, Labelled, Result, label_pictures
from dekey.label.sheet import contact_sheet, tile
from dekey.label.sources import Pictures, divide, open_pictures

PARTS = ("train", "test")
_JPEG_QUALITY = 95
_SHEET = 60
_SCENES_SHEET = 15
# Bytes of decoded pictures kept in memory while scenes are composed.
_CACHE = 1 << 30


class Advances(Protocol):
    """Something that counts steps."""

    def advance(self, count: int = 1) -> None:
        """Say that `count` more steps are done."""


Watch = Callable[[str, int, str], AbstractContextManager[Advances]]
"""Given what is done, how many steps it takes and their unit: a context whose value counts the steps."""


class _Unwatched:
    def advance(self, count: int = 1) -> None:
        pass


def _unwatched(text: str, total: int, unit: str) -> AbstractContextManager[Advances]:
    return nullcontext(_Unwatched())


@dataclass(frozen=True)
class Options:
    """How pictures are labelled.

    Attributes:
        quality: least quality of a label that is kept, 0 to 1.
        test_share: share of each class that is set aside, where the source sets none aside itself.
        scenes: how many scenes to compose for training; 0 for none.
        layout: what they look like.
        grounds: folder of pictures without objects to compose them on; None takes the labelled pictures, painted over.
        seed: of the division into parts.
        workers: threads that segment.
    """

    quality: float = QUALITY
    test_share: float = 0.15
    scenes: int = 0
    layout: Layout = field(default_factory=Layout)
    grounds: Path | None = None
    seed: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.quality <= 1:
            raise DekeyError(f"found a quality of {self.quality:g}, expected a number from 0 to 1")
        if not 0 < self.test_share < 1:
            raise DekeyError(f"found a test share of {self.test_share:g}, expected a number between 0 and 1")
        if not 0 <= self.scenes <= 1_000_000:
            raise DekeyError(f"found {self.scenes} scenes, expected from 0 to 1000000")


def label_folder(path: Path, out: Path, options: Options, watch: Watch = _unwatched) -> dict[str, Any]:
    """Label classification pictures and write everything to a new folder.

    Args:
        path: folder of the pictures, in a layout of `dekey.label.sources.SOURCES`.
        out: folder to write, whole or not at all; if it exists, it must be empty.
        options: how.
        watch: shows progress.

    Returns:
        The summary, as it is written to ``summary.json``.

    Raises:
        DekeyError: if there are no pictures or too few, nothing can be labelled, or `out` is not empty.
    """
    pictures = open_pictures(path)
    grounds = None if options.grounds is None else _ground_sizes(options.grounds)
    tested = divide(pictures, options.test_share, options.seed)
    schema = shape_schema(pictures.classes)
    summary: dict[str, Any] = {
        "method": "segmentation",
        "quality": options.quality,
        "classes": list(schema.classes),
        "image_folder": None if pictures.files is None else str(path),
    }
    with new_folder(out) as folder:
        if not tested.any():
            raise DekeyError(
                f"{path} holds {len(tested)} pictures of {len(pictures.classes)} classes, too few of each to set "
                f"{options.test_share:.0%} aside for testing; give more, or a folder test beside a folder train"
            )
        results: list[Result] = []
        for part, chosen in zip(PARTS, (~tested, tested), strict=True):
            indices = np.flatnonzero(chosen).tolist()
            with watch(f"segmenting {part}", len(indices), "pictures") as progress:
                result = label_pictures(
                    pictures, indices, quality=options.quality, workers=options.workers, advance=progress.advance
                )
            if not result.kept:
                raise DekeyError(
                    f"none of the {len(indices)} pictures for {part} shows one object that can be told from its border; "
                    "lower --quality, or give pictures of single objects"
                )
            results.append(result)
            _write_pictures(folder, part, pictures, schema, result)
            summary[part] = _counts(schema, result)
        if options.scenes:
            ratio = len(results[1].kept) / len(results[0].kept)
            counts = (options.scenes, max(round(options.scenes * ratio), 1))
            for stream, (part, result, count) in enumerate(zip(PARTS, results, counts, strict=True)):
                with watch(f"composing {part}", count, "scenes") as progress:
                    composer = _composer(options, schema, result.kept, pictures, grounds, stream)
                    objects = _write_scenes(folder / "scenes", part, composer, schema, count, progress)
                summary[part]["scenes"] = {"count": count, "objects": objects}
        write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    return summary


def _counts(schema: Schema, result: Result) -> dict[str, Any]:
    return {
        "pictures": int(sum(result.counts.values())),
        "kept": len(result.kept),
        "left_out": {reason: result.counts[reason] for reason in REASONS},
        "per_class": {
            name: {"pictures": int(seen), "kept": int(kept)}
            for name, (seen, kept) in zip(schema.classes, result.per_class.tolist(), strict=True)
        },
        "unreadable": result.unreadable,
        "quality_quartiles": np.quantile(result.qualities or [0.0], [0.25, 0.5, 0.75]).round(3).tolist(),
    }


def _write_pictures(out: Path, part: str, pictures: Pictures, schema: Schema, result: Result) -> None:
    """Write PART.json and its sheet; pictures that are no files of their own are written beside it."""
    samples: list[Sample] = []
    names: list[str] = []
    for number, each in enumerate(result.kept):
        name = pictures.names[each.index]
        if pictures.files is None:
            name = f"images/{part}/{name}.png"
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            save_picture(out / name, pictures.read(each.index))
        names.append(name)
        samples.append(Sample(out / name, each.size, each.instances, number + 1, np.array([number + 1])))
    # Named as if they lay in `out`, the names are written as they are; else each part would have a root of its own.
    write(replace(Dataset.from_samples(schema, samples), pictures=PictureFiles(out, names)), out / f"{part}.json")
    shown = [result.kept[index] for index in _evenly(len(result.kept), _SHEET)]
    save_picture(out / f"{part}.png", contact_sheet([tile(pictures.read(one.index), one.instances, schema) for one in shown]))


def _write_scenes(folder: Path, part: str, composer: Composer, schema: Schema, count: int, progress: Advances) -> int:
    """Write scenes/PART.json, its pictures and its sheet; give the number of objects."""
    (folder / "images" / part).mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    tiles: list[NDArray[np.uint8]] = []
    objects = 0
    for number in range(count):
        picture, instances, _ = composer.scene(number)
        file = folder / "images" / part / f"{number:06d}.jpg"
        save_picture(file, picture)
        ids = np.arange(objects, objects + len(instances)) + 1
        samples.append(Sample(file, (picture.shape[0], picture.shape[1]), instances, number + 1, ids))
        objects += len(instances)
        if number < _SCENES_SHEET:
            tiles.append(tile(picture, instances, schema, side=320))
        progress.advance()
    write(Dataset.from_samples(schema, samples), folder / f"{part}.json")
    save_picture(folder / f"{part}.png", contact_sheet(tiles, columns=5))
    return objects


def _composer(
    options: Options,
    schema: Schema,
    kept: Sequence[Labelled],
    pictures: Pictures,
    grounds: dict[Path, tuple[int, int]] | None,
    stream: int,
) -> Composer:
    own = None
    if grounds is not None:
        # Every second file, so that no ground of a scene for training is one of a scene for testing.
        files = list(grounds)[stream::2]
        own = (_remembering(lambda number: read_image(files[number]), [grounds[file] for file in files]), len(files))
    read = _remembering(pictures.read, [each.size for each in kept])
    return Composer(options.layout, schema, kept, read, own, stream)


def _remembering(
    read: Callable[[int], NDArray[np.uint8]], sizes: Sequence[tuple[int, int]]
) -> Callable[[int], NDArray[np.uint8]]:
    """Keep so many of the pictures last read as fit into `_CACHE`, whichever of these sizes (H, W) they have."""
    largest = max(3 * height * width for height, width in sizes)
    return lru_cache(maxsize=max(_CACHE // largest, 1))(read)


def _ground_sizes(folder: Path) -> dict[Path, tuple[int, int]]:
    """List the pictures of a folder with their sizes (H, W); what cannot be opened is an error before anything is made."""
    if not folder.is_dir():
        raise DekeyError(f"the folder of backgrounds {folder} does not exist; check --backgrounds")
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not file.is_symlink()
    )
    if len(files) < 2:
        raise DekeyError(f"found {len(files)} pictures in {folder}, expected at least 2, one for training and one for testing")
    return {file: image_size(file) for file in files}


def _evenly(count: int, most: int) -> list[int]:
    """Give at most `most` of the numbers below `count`, evenly spread."""
    return list(range(count)) if count <= most else np.linspace(0, count - 1, most).round().astype(int).tolist()


def save_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture (H, W, 3) uint8 RGB as PNG or JPEG, by its suffix, whole or not at all."""
    import cv2

    parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    assert done, path
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
