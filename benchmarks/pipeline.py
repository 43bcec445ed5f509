"""From a JPEG file to keypoints: what is added to the network, with the whole picture decoded and with no more than it sees.

    python benchmarks/pipeline.py wagons.onnx ../shared/data/wagon_hatch_half/test.json --size 640 480

MODEL is a file that `dekey export` wrote. With --size every picture of the label file is fitted into that size and stored as a
JPEG of quality 90, and its labels go with it; else the files are taken as they are. Accuracy is that of all pictures; the
stages are timed on the first of them, one picture at a time, in rounds in which both ways have their turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record

import dekey
from dekey.data import Dataset, Instances, geometry
from dekey.data.images import ReducedImage, image_size, read_image
from dekey.runtime.open import open_backend
from dekey.runtime.predictor import Predictor
from dekey.speed.blocks import calls, in_rounds
from dekey.speed.stages import STAGES, Boxes, Watched, staged

QUALITY = 90
TIMED = 20
"""Pictures that are timed in turn."""
VALUES = ("box_AP", "nme", "median_px", "p90_px", "found_share")


def fitted(dataset: Dataset, size: tuple[int, int], folder: Path) -> Dataset:
    """Store every picture fitted into `size` (H, W) as a JPEG file; the labels go with it."""
    pictures, instances = [], []
    for index, sample in enumerate(dataset):
        image_to_file = geometry.letterbox(sample.size, size)
        picture, factor = sample.read_image(), image_to_file[0, 0]
        # Enlarged by a smooth kernel: the linear one of a warp would leave its grid in the picture.
        if factor > 1:
            picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
            to_file = geometry.translate(*(image_to_file[:, 2]))
        else:
            to_file = image_to_file
        path = folder / f"{index:05}.jpg"
        stored = geometry.warp(picture, to_file, size)
        whole, data = cv2.imencode(".jpg", stored[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert whole
        path.write_bytes(data.tobytes())
        pictures.append(path)
        instances.append(sample.instances.mapped(image_to_file))
    sizes = np.tile(np.array(size, dtype=np.int64), (len(dataset), 1))
    joined = Instances.concatenate(instances, len(dataset.schema.keypoints))
    return replace(dataset, pictures=pictures, sizes=sizes, instances=joined)


def accuracy(predictor: Predictor, dataset: Dataset, whole: bool) -> dict[str, float]:
    """Measure the answers; with `whole` those for pictures with all their pixels."""
    if whole:
        found = []
        for index in range(len(dataset)):
            one = dataset.subset([index])
            found += predictor.predict_dataset(replace(one, pictures=[one[0].read_image()]))
    else:
        found = predictor.predict_dataset(dataset)
    manifest = predictor.manifest
    evaluation = dekey.evaluate(dataset, found, score_threshold=manifest.object_threshold, boxes=manifest.finds_boxes)
    return {name: round(evaluation.values[name], 5) for name in VALUES if name in evaluation.values}


def all_pixels(file: Path, boxes: Boxes) -> ReducedImage:
    """Read a picture with all its pixels."""
    return ReducedImage.whole(read_image(file))


def measured(model: Path, dataset: Dataset, threads: int, seconds: float) -> dict[str, Any]:
    """Measure both ways of one model on the files of a data set."""
    backend = Watched(open_backend(model, "cpu", threads=threads))
    predictor = Predictor(backend)
    manifest = predictor.manifest
    files: list[tuple[Path, Boxes]] = []
    for sample in dataset.subset(range(min(TIMED, len(dataset)))):
        assert isinstance(sample.picture, Path)
        boxes = None if manifest.region == "image" else sample.instances[~sample.instances.crowd].boxes
        files.append((sample.picture, boxes))
    ways = {"whole": True, "reduced": False}
    figures = {way: accuracy(predictor, dataset, whole) for way, whole in ways.items()}
    taken = in_rounds(
        {way: calls(staged(backend, files, all_pixels if whole else None)) for way, whole in ways.items()}, seconds
    )
    rows = []
    for way in ways:
        stages = {stage: statistics.median(call[stage] for block in taken[way] for call in block) for stage in STAGES}
        added = statistics.median(call["whole"] - call["network"] for block in taken[way] for call in block)
        rows.append(
            {
                "decoded": way,
                "ms": {stage: round(value, 3) for stage, value in stages.items()},
                "added_ms": round(added, 3),
                "values": figures[way],
            }
        )
    height, width = image_size(files[0][0])
    return {
        "kind": manifest.kind,
        "input_size": list(manifest.input_size),
        "size": [height, width],
        "bytes": round(statistics.fmean(file.stat().st_size for file, _ in files)),
        "pictures": len(dataset),
        "objects": round(len(dataset.instances) / len(dataset), 2),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="from a JPEG file to keypoints: what is added to the network")
    parser.add_argument("model", type=Path, help="file that dekey export wrote")
    parser.add_argument("labels", type=Path, help="label file of JPEG pictures")
    parser.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), help="px of the pictures (default: as they are)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    begun = record.facts()
    cv2.setNumThreads(arguments.threads)
    dataset = dekey.read(arguments.labels)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.size is not None:
            dataset = fitted(dataset, (arguments.size[1], arguments.size[0]), Path(folder))
        result = measured(arguments.model, dataset, arguments.threads, arguments.seconds)
    data = arguments.labels.parent.name
    payload = {
        "benchmark": "pipeline",
        "data": data,
        "model": arguments.model.suffix[1:],
        "threads": arguments.threads,
        **result,
    }
    height, width = result["size"]
    name = f"pipeline-{data}-{result['kind']}-{width}x{height}"
    print(record.write(name, payload, begun, arguments.results).read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
