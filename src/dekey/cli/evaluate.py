"""``dekey evaluate``: a model measured on labelled images."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from dekey.cli.console import Progress
from dekey.errors import DekeyError

HELP = "Measure a model on labelled images: pixel error, PCK, NME, OKS-AP where sigmas are stated, box AP of found boxes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="MODEL", help="run folder, .keras file, or exported .onnx or .xml file")
    parser.add_argument("data", metavar="DATA", help="label file")
    parser.add_argument("--images", metavar="DIR", help="folder where the image names start (default: beside the label file)")
    parser.add_argument("--sigmas", metavar="S", help="OKS constants: one number, or one a keypoint with commas between")
    parser.add_argument("--normaliser", metavar="N", help="what PCK and NME divide by, such as box_diagonal or a:b")
    parser.add_argument(
        "--threshold", metavar="SCORE", type=float, help="score from which an object counts as found (default: the model's)"
    )
    parser.add_argument("--out", metavar="FILE", help="write the figures there (default: standard output)")
    parser.add_argument("--runtime", metavar="NAME", default="auto", help="auto, onnx, openvino or torch (default: auto)")
    parser.add_argument("--device", metavar="NAME", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--batch-size", metavar="N", type=int, default=16, help="crops or images at once (default: 16)")


def run(arguments: argparse.Namespace) -> int:
    """Measure and write the figures."""
    import dekey
    from dekey.cli.output import check_batch_size, check_target, write_output
    from dekey.metrics.distance import check_normaliser

    check_batch_size(arguments.batch_size)
    check_target(arguments.out)
    check_threshold(arguments.threshold)
    sigmas = None if arguments.sigmas is None else parse_sigmas(arguments.sigmas)
    with Progress(f"reading {Path(arguments.data).name}"):
        dataset = dekey.read(arguments.data, images=arguments.images)
    # Checked here, before minutes of prediction, and not only when the figures are made.
    if sigmas is not None:
        dataset.schema.with_sigmas(sigmas)
    if arguments.normaliser is not None:
        check_normaliser(arguments.normaliser, dataset.schema)
    with Progress(f"loading {arguments.model}"):
        predictor = dekey.load(arguments.model, arguments.device, arguments.batch_size, runtime=arguments.runtime)
    with Progress("predicting", total=len(dataset), unit="images") as progress:
        found = predictor.predict_dataset(dataset, progress.advance)
    manifest = predictor.manifest
    evaluation = dekey.evaluate(
        dataset,
        found,
        sigmas=sigmas,
        normaliser=arguments.normaliser,
        score_threshold=manifest.object_threshold if arguments.threshold is None else arguments.threshold,
        boxes=manifest.finds_boxes,
    )
    write_output(json.dumps(evaluation.to_dict(arrays=False), indent=2, ensure_ascii=False), arguments.out)
    return 0


def check_threshold(threshold: float | None) -> None:
    """Raise DekeyError unless the score threshold is left open or lies between 0 and 1."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise DekeyError(f"found --threshold {threshold:g}, expected a score between 0 and 1, such as 0.3")


def parse_sigmas(text: str) -> list[float]:
    """Read one number or several with commas.

    >>> parse_sigmas("0.05"), parse_sigmas("0.02, 0.1")
    ([0.05], [0.02, 0.1])
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise DekeyError(f"found --sigmas {text}, expected a number or numbers with commas between, such as 0.05") from error
