"""``dekey export``: a trained model as one ONNX file that answers as the model does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from dekey.cli.console import Progress, message
from dekey.errors import DekeyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

HELP = "Write a trained model as one ONNX file and prove on real images that it answers alike."

# Pictures that the parity check looks at, at most.
PICTURES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="MODEL", help="run folder, or .keras file of dekey.keras")
    parser.add_argument("--to", metavar="FORMAT", choices=["onnx"], default="onnx", help="onnx (default: onnx)")
    parser.add_argument("--out", metavar="FILE", help="file to write (default: model.onnx in the run folder, or NAME.onnx)")
    parser.add_argument("--images", metavar="DIR", help="pictures for the parity check (default: the run's held-out images)")


def run(arguments: argparse.Namespace) -> int:
    """Export, check, say what the check measured."""
    from dekey.cli.output import check_target

    source = Path(arguments.model)
    if source.suffix == ".onnx":
        raise DekeyError(f"{source} is already exported, expected the folder of a finished `dekey train`")
    weights = source / "model.safetensors" if source.is_dir() else source
    if not weights.is_file():
        raise DekeyError(f"model {source} does not exist or is unfinished, expected the folder of a `dekey train`")
    of_keras = weights.suffix.lower() == ".keras"
    own = weights.with_suffix(".onnx") if of_keras else weights.parent / "model.onnx"
    target = Path(arguments.out) if arguments.out else own
    if target.suffix.lower() != ".onnx":
        raise DekeyError(f"found --out {target}, expected a name that ends in .onnx, by which the file is known again")
    check_target(str(target))
    if arguments.images is None and (of_keras or not (weights.parent / "config.yaml").is_file()):
        if of_keras:
            raise DekeyError(f"{weights} names no pictures to compare on; name some with --images")
        raise DekeyError(f"{weights.parent} holds no config.yaml that names pictures to compare on; name some with --images")
    message("loading torch")
    from dekey.export import PARITY_PX, export_onnx

    if of_keras:
        from dekey.keras.serve import backend_of, load_model

        backend = backend_of(load_model(weights), "cpu")
    else:
        from dekey.models.checkpoint import load_torch_backend

        backend = load_torch_backend(weights, "cpu")
    pictures = _pictures(weights.parent, arguments.images)
    with Progress(f"exporting and comparing on {len(pictures)} images"):
        parity = export_onnx(backend, target, pictures)
    if not parity.keypoints:
        message("the model is sure of no keypoint on these images, so only scores were compared; try others with --images")
    answer = {
        "file": str(target),
        "megabytes": round(target.stat().st_size / 1e6, 2),
        "images_compared": parity.images,
        "keypoints_compared": parity.keypoints,
        "largest_difference_px": parity.largest_px,
        "largest_score_difference": parity.largest_score,
        "allowed_px": PARITY_PX,
    }
    print(json.dumps(answer, indent=2))
    return 0


def _pictures(run: Path, images: str | None) -> list[NDArray[np.uint8]]:
    """Give real pictures: those of a folder, or the crops of the run's own held-out images."""
    from dekey.data.images import read_image

    if images is not None:
        from dekey.cli.predict import image_files

        return [read_image(file) for file in image_files([images])[:PICTURES]]
    from dekey.training.prepare import held_out_crops

    try:
        return list(held_out_crops(run / "config.yaml", PICTURES))
    except DekeyError as error:
        raise DekeyError(f"{error}; or name other pictures to compare on with --images") from error
