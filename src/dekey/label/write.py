"""The folder that `dekey label` writes: pictures, label files, scenes, sheets and a summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.images import IMAGE_SUFFIXES, read_image
from dekey.errors import DekeyError
from dekey.files import replacing, write_text
from dekey.formats import write
from dekey.label.compose import Composer, Layout
from dekey.label.points import shape_schema
from dekey.label.segmentation import QUALITY, REASONS, Labelled, Result, label_pictures
from dekey.label.sheet import contact_sheet
from dekey.label.sources import Pictures, divide, open_pictures

PARTS = ("train", "test")
_JPEG_QUALITY = 95
_SHEET = 60
_SCENES_SHEET = 15
# Decoded pictures kept in memory while scenes are composed.
_CACHE = 512


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
        out: folder to write; made if missing, else it must be empty.
        options: how.
        watch: shows progress.

    Returns:
        The summary, as it is written to ``summary.json``.

    Raises:
        DekeyError: if there are no pictures, nothing can be labelled, or `out` is not empty.
    """
    pictures = open_pictures(path)
    grounds = None if options.grounds is None else _ground_files(options.grounds)
    _empty_folder(out)
    schema = shape_schema(pictures.classes)
    tested = divide(pictures, options.test_share, options.seed)
    summary: dict[str, Any] = {"method": "segmentation", "quality": options.quality, "classes": list(schema.classes)}
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
        _write_pictures(out, part, pictures, schema, result)
        summary[part] = _counts(schema, result)
    if options.scenes:
        ratio = len(results[1].kept) / len(results[0].kept)
        counts = (options.scenes, max(round(options.scenes * ratio), 1))
        for stream, (part, result, count) in enumerate(zip(PARTS, results, counts, strict=True)):
            with watch(f"composing {part}", count, "scenes") as progress:
                composer = _composer(options, schema, result.kept, pictures, grounds, stream)
                objects = _write_scenes(out / "scenes", part, composer, schema, count, progress)
            summary[part]["scenes"] = {"count": count, "objects": objects}
    write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
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
    for each in result.kept:
        if pictures.files is None:
            file = out / "images" / part / f"{pictures.names[each.index]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            save_picture(file, pictures.read(each.index))
        else:
            file = pictures.files[each.index]
        samples.append(_sample(file, each.size, each.instances, len(samples)))
    write(_dataset(schema, samples), out / f"{part}.json")
    chosen = _evenly(len(result.kept), _SHEET)
    tiles = [(pictures.read(result.kept[index].index), result.kept[index].instances) for index in chosen]
    save_picture(out / f"{part}.png", contact_sheet(tiles, schema))


def _write_scenes(folder: Path, part: str, composer: Composer, schema: Schema, count: int, progress: Advances) -> int:
    """Write scenes/PART.json, its pictures and its sheet; give the number of objects."""
    (folder / "images" / part).mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    tiles: list[tuple[NDArray[np.uint8], Instances]] = []
    objects = 0
    for number in range(count):
        picture, instances, _ = composer.scene(number)
        file = folder / "images" / part / f"{number:06d}.jpg"
        save_picture(file, picture)
        samples.append(_sample(file, (picture.shape[0], picture.shape[1]), instances, objects))
        objects += len(instances)
        if number < _SCENES_SHEET:
            tiles.append((picture, instances))
        progress.advance()
    write(_dataset(schema, samples), folder / f"{part}.json")
    save_picture(folder / f"{part}.png", contact_sheet(tiles, schema, columns=5, side=320))
    return objects


def _composer(
    options: Options,
    schema: Schema,
    kept: Sequence[Labelled],
    pictures: Pictures,
    grounds: Sequence[Path] | None,
    stream: int,
) -> Composer:
    own = None
    if grounds is not None:
        # Every second file, so that no ground of a scene for training is one of a scene for testing.
        files = grounds[stream::2]
        own = (lru_cache(maxsize=64)(lambda number: read_image(files[number])), len(files))
    return Composer(options.layout, schema, kept, lru_cache(maxsize=_CACHE)(pictures.read), own, stream)


def _ground_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DekeyError(f"the folder of backgrounds {folder} does not exist; check --backgrounds")
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file() and not file.is_symlink()
    )
    if len(files) < 2:
        raise DekeyError(f"found {len(files)} pictures in {folder}, expected at least 2, one for training and one for testing")
    return files


def _empty_folder(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DekeyError(f"--out {out} exists and is not an empty folder; name a new one, so that no labels are mixed")
    if not out.absolute().parent.is_dir():
        raise DekeyError(f"--out {out} lies in a folder that does not exist; make the folder first")
    out.mkdir(exist_ok=True)


def _sample(file: Path, size: tuple[int, int], instances: Instances, first_id: int) -> Sample:
    return Sample(file, size, instances, 0, np.arange(first_id, first_id + len(instances)) + 1)


def _dataset(schema: Schema, samples: Sequence[Sample]) -> Dataset:
    numbered = [
        Sample(each.picture, each.size, each.instances, number, each.annotation_ids)
        for number, each in enumerate(samples, start=1)
    ]
    return Dataset.from_samples(schema, numbered)


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
