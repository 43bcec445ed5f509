"""``dekey predict``: keypoints of images, folders and patterns; torch is not needed for an exported file."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from dekey.cli.console import Progress, message
from dekey.cli.pictures import distinct_names, drawing_folder, drawn_names, image_files
from dekey.errors import DekeyError
from dekey.files import replacing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dekey.data import Dataset, Instances, Schema
    from dekey.data.images import ReducedImage
    from dekey.runtime import Predictor
    from dekey.runtime.backends import Mode

T = TypeVar("T")

HELP = "Find the keypoints of images, folders and patterns; JSON in the form of COCO results, pictures with --draw."
OVERLAP = 0.2
JPEG_SIDE = 65_500  # px, libjpeg's own limit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="MODEL", help="exported .onnx or .xml file, run folder or .keras file")
    parser.add_argument("paths", metavar="PATHS", nargs="+", help="image files, folders and patterns")
    parser.add_argument("--boxes", metavar="FILE", help="COCO file whose boxes say where the objects are")
    parser.add_argument(
        "--threshold", metavar="SCORE", type=float, help="score from which an object counts (default: the model's)"
    )
    parser.add_argument("--tiles", metavar="PX", type=int, help="also look at squares of this side, for small objects")
    parser.add_argument("--scales", metavar="S", action="append", help="how many times larger to look, such as 1,2")
    parser.add_argument("--overlap", metavar="SHARE", type=float, help=f"of neighbouring tiles (default: {OVERLAP})")
    parser.add_argument("--once", action="store_true", help="no second look from close by, though the model was taught to")
    parser.add_argument("--out", metavar="FILE", help="write the JSON there (default: standard output)")
    parser.add_argument("--draw", metavar="DIR", help="also write each picture with its keypoints drawn in")
    parser.add_argument("--runtime", metavar="NAME", default="auto", help="auto, onnx, openvino or torch (default: auto)")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument(
        "--throughput", action="store_true", help="several images at once, a core each: sooner through a folder"
    )
    parser.add_argument("--skip-broken", action="store_true", help="go on without pictures that cannot be read, and name them")
    parser.add_argument("--batch-size", metavar="N", type=int, default=16, help="images at once (default: 16)")


def run(arguments: argparse.Namespace) -> int:
    """Predict, draw where asked, write the answer."""
    import dekey
    from dekey.cli.output import check_batch_size, check_target, write_output

    check_batch_size(arguments.batch_size)
    if arguments.throughput and arguments.device.startswith("cuda"):
        raise DekeyError("found --throughput with --device cuda, but it is for the CPU; a GPU is kept busy by --batch-size")
    check_target(arguments.out)
    looks = _looks(arguments)
    files = image_files(arguments.paths)
    names = distinct_names(files)
    pictures = drawn_names(names)
    boxes = None if arguments.boxes is None else dekey.read(arguments.boxes, problems="keep")
    drawings = None if arguments.draw is None else drawing_folder(Path(arguments.draw), files)
    rows = {} if boxes is None else _box_rows(files, boxes)
    with Progress(f"loading {arguments.model}"):
        mode: Mode = "throughput" if arguments.throughput else "latency"
        runtime = arguments.runtime
        predictor = dekey.load(arguments.model, arguments.device, arguments.batch_size, **looks, runtime=runtime, mode=mode)
    callers = _callers(predictor, arguments) if arguments.throughput else None
    if boxes is not None and predictor.manifest.finds_boxes:
        raise DekeyError(f"found --boxes for {arguments.model}, which finds the objects by itself; leave them out")
    if boxes is None and predictor.manifest.region == "box":
        message("this model was trained on crops around boxes; without --boxes each whole image is taken for one crop")
    records: list[dict[str, Any]] = []
    broken: dict[Path, str] | None = {} if arguments.skip_broken else None
    with Progress("predicting", total=len(files), unit="images") as progress:
        whole = drawings is not None
        answered = _predicted(predictor, files, boxes, rows, whole=whole, callers=callers, broken=broken)
        for count, chosen, images, found in answered:
            for file, one in zip(chosen, found, strict=True):
                entry = None if boxes is None else boxes.subset([rows[file]])
                records.extend(_records(one, names[file], entry, predictor.schema))
            if drawings is not None:
                for file, image, instances in zip(chosen, images, found, strict=True):
                    assert image is not None
                    _draw(drawings / pictures[file], image, instances, predictor)
            progress.advance(count)
    for _, problem in sorted((broken or {}).items()):
        message(f"left out: {problem}")
    if broken and len(broken) == len(files):
        raise DekeyError(f"none of the {len(files)} images can be read; look at what was said of each")
    write_output(json.dumps(records, indent=1), arguments.out)
    return 0


def _callers(predictor: Predictor, arguments: argparse.Namespace) -> int:
    """Tell how many pictures --throughput predicts at once.

    Raises:
        DekeyError: if the model runs where there is no such mode.
    """
    callers: int | None = getattr(predictor.backend, "callers", None)
    if callers is None:
        raise DekeyError(
            f"found --throughput for {arguments.model}, which torch runs, one call after the other; `dekey export` writes a "
            "file that has this mode"
        )
    return callers


class _Looks(TypedDict):
    """How a detector looks, see `dekey.runtime.Predictor`."""

    threshold: float | None
    tiles: int | None
    overlap: float
    scales: list[float]
    once: bool


def _looks(arguments: argparse.Namespace) -> _Looks:
    """Read and check the options of detectors.

    Raises:
        DekeyError: if one is out of range or says nothing without another.
    """
    from dekey.runtime.given import check_threshold
    from dekey.runtime.views import check_views

    scales = parse_scales(arguments.scales or ())
    if arguments.overlap is not None and arguments.tiles is None and not scales:
        raise DekeyError("found --overlap without --tiles or --scales, expected one of them; say what is to overlap")
    overlap = OVERLAP if arguments.overlap is None else arguments.overlap
    check_views(arguments.tiles, overlap, scales)
    if arguments.threshold is not None:
        check_threshold(arguments.threshold)
    return {
        "threshold": arguments.threshold,
        "tiles": arguments.tiles,
        "overlap": overlap,
        "scales": scales,
        "once": arguments.once,
    }


def parse_scales(texts: Sequence[str]) -> list[float]:
    """Read scales, several with commas between or one after the other.

    >>> parse_scales(["1,2", "0.5"])
    [1.0, 2.0, 0.5]
    """
    try:
        return [float(part) for text in texts for part in text.split(",")]
    except ValueError as error:
        raise DekeyError(f"found --scales {' '.join(texts)}, expected numbers with commas between, such as 1,2") from error


def _predicted(
    predictor: Predictor,
    files: Sequence[Path],
    boxes: Dataset | None,
    rows: Mapping[Path, int],
    *,
    whole: bool,
    callers: int | None,
    broken: dict[Path, str] | None,
) -> Iterator[tuple[int, Sequence[Path], list[NDArray[np.uint8] | None], list[Instances]]]:
    """Give the answers some files at a time, so that memory does not grow with their number; and how many files that were.

    Args:
        predictor: what finds them.
        files: the pictures.
        boxes: where the objects are, if that is known.
        rows: of the files in `boxes`.
        whole: the pictures are wanted too.
        callers: threads that each predict a picture from file to answer; None where batches go through the network.
        broken: takes what is wrong with each picture that cannot be read, which is then left out; None ends at the first.
    """
    from dekey.data.images import read_image
    from dekey.runtime.ahead import read_ahead
    from dekey.runtime.predictor import with_labels

    def truth(file: Path) -> Instances | None:
        if boxes is None:
            return None
        instances = boxes[rows[file]].instances
        return instances[~instances.crowd]

    def read(file: Path) -> tuple[ReducedImage, NDArray[np.uint8] | None] | None:
        known = truth(file)
        if boxes is not None:
            _check_boxes(file, boxes, rows[file])
        try:
            image = predictor.read(file, None if known is None else known.boxes)
            # The answer is that of the reduced picture, drawn or not.
            return image, (image.pixels if image.pixels.shape[:2] == image.size else read_image(file)) if whole else None
        except DekeyError as error:
            if broken is None:
                raise DekeyError(f"{error}, or go on without it with --skip-broken") from error
            broken[file] = str(error)
            return None

    def answers(images: Sequence[ReducedImage], chosen: Sequence[Path]) -> list[Instances]:
        truths = [truth(file) for file in chosen]
        found = predictor.batch(images, [None if one is None else one.boxes for one in truths])
        if boxes is None or boxes.schema.keypoints != predictor.schema.keypoints:
            return found
        return [
            one if known is None else with_labels(one, known.labels, boxes.schema)
            for one, known in zip(found, truths, strict=True)
        ]

    def predict(file: Path) -> tuple[Instances, NDArray[np.uint8] | None] | None:
        pair = read(file)
        return None if pair is None else (answers([pair[0]], [file])[0], pair[1])

    if callers is None:
        for part, pairs in read_ahead(files, predictor.batch_size, read):
            chosen, known = _whole(part, pairs)
            yield len(part), chosen, [picture for _, picture in known], answers([image for image, _ in known], chosen)
        return
    # So many at a time that no caller waits for another.
    for part, done in read_ahead(files, max(predictor.batch_size, 4 * callers), predict, callers):
        chosen, answered = _whole(part, done)
        yield len(part), chosen, [picture for _, picture in answered], [found for found, _ in answered]


def _whole(files: Sequence[Path], results: Sequence[T | None]) -> tuple[list[Path], list[T]]:
    """Leave out files without a result."""
    pairs = [(file, result) for file, result in zip(files, results, strict=True) if result is not None]
    return [file for file, _ in pairs], [result for _, result in pairs]


def _records(found: Instances, name: str, image: Dataset | None, schema: Schema) -> Iterator[dict[str, Any]]:
    """Give the records of an image: by its name and, where a --boxes file lists it, by the ids of that file too."""
    from dekey.formats.coco_results import result_records

    if image is None:
        yield from result_records([found], [name], schema=schema)
        return
    same = image.schema.keypoints == schema.keypoints
    for record in result_records([found], image if same else image.image_ids.tolist(), schema=schema):
        yield {"file_name": name, **record}


def _box_rows(files: Sequence[Path], boxes: Dataset) -> dict[Path, int]:
    """Find the entry of each file: the one with its path, else the only one with its name.

    Raises:
        DekeyError: if there is none, or several files of that name are listed and none of them is this one.
    """
    by_path: dict[Path, int] = {}
    by_name: dict[str, list[int]] = {}
    for index, picture in enumerate(boxes.pictures):
        if not isinstance(picture, Path):
            raise DekeyError(f"{boxes.picture_name(index)} of the boxes has no file, and boxes are found by the names of files")
        by_path[picture.absolute()] = index
        by_name.setdefault(picture.name, []).append(index)
    rows = {}
    for file in files:
        same_name = by_name.get(file.name, [])
        row = by_path.get(file.absolute(), same_name[0] if len(same_name) == 1 else None)
        if row is None:
            what = f"names {len(same_name)} images {file.name}" if same_name else f"says nothing of {file.name}"
            raise DekeyError(
                f"the --boxes file {what}, expected one entry with boxes for {file}; mend it or leave the image out"
            )
        rows[file] = row
    return rows


def _check_boxes(file: Path, boxes: Dataset, row: int) -> None:
    """Refuse boxes that were drawn on another version of a picture, and such as have no area.

    Raises:
        DekeyError: the message names the picture.
    """
    import numpy as np

    from dekey.data import geometry
    from dekey.data.images import image_size

    own = boxes[row]
    try:
        size = image_size(file)
    except DekeyError:
        return  # told of, or left out, where it is read
    if size != own.size:
        raise DekeyError(
            f"{file} is {size[1]}x{size[0]} but the --boxes file says {own.size[1]}x{own.size[0]}; its boxes belong to another "
            "version of the image"
        )
    known = own.instances.boxes[~own.instances.crowd]
    if not (np.isfinite(known).all() and (geometry.box_sizes(known) > 0).all()):
        raise DekeyError(f"an object of {file} in the --boxes file has no box, or one that has no area; mend or drop it")


def _draw(path: Path, image: NDArray[np.uint8], instances: Instances, predictor: Predictor) -> None:
    import cv2

    from dekey.draw import draw_instances

    if max(image.shape) > JPEG_SIDE:
        raise DekeyError(
            f"{path.name} would be {image.shape[1]}x{image.shape[0]} px, and a JPEG has at most {JPEG_SIDE}; leave --draw out"
        )
    drawn = draw_instances(image, instances, predictor.schema)
    whole, data = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert whole
    with replacing(path) as temporary:
        temporary.write_bytes(data.tobytes())
