"""``dekey export``: a trained model as a file that runs without torch, measured against the model it was made of."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dekey.cli.console import Progress, message
from dekey.errors import DekeyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dekey.config import Config
    from dekey.export import Parity
    from dekey.export.openvino import Precision
    from dekey.models.checkpoint import TorchBackend
    from dekey.runtime import Backend
    from dekey.training.prepare import Material

HELP = "Write a trained model as a file that runs without torch, and prove on real images that it answers alike."

# Pictures that the parity check looks at, at most.
PICTURES = 32
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
PRECISIONS = ("fp32", "bf16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="MODEL", help="run folder, or .keras file of dekey.keras")
    parser.add_argument(
        "--to", metavar="FORMAT", choices=list(SUFFIXES), default="onnx", help="onnx or openvino (default: onnx)"
    )
    parser.add_argument(
        "--precision", metavar="P", choices=PRECISIONS, default="fp32", help="fp32, bf16 (openvino) or int8 (default: fp32)"
    )
    parser.add_argument("--out", metavar="FILE", help="file to write (default: model.onnx or model.xml in the run folder)")
    parser.add_argument("--images", metavar="DIR", help="pictures for the parity check (default: the run's held-out images)")
    parser.add_argument("--force", action="store_true", help="write bf16 or int8 whatever it costs in accuracy")


def run(arguments: argparse.Namespace) -> int:
    """Export, check, say what the check measured."""
    weights, target = _checked(arguments)
    message("loading torch")
    from dekey.export import PARITY_PX

    if weights.suffix.lower() == ".keras":
        from dekey.keras.serve import backend_of, load_model

        backend = backend_of(load_model(weights), "cpu")
    else:
        from dekey.models.checkpoint import load_torch_backend

        backend = load_torch_backend(weights, "cpu")
    exact = arguments.precision == "fp32"
    run_data = None if exact and arguments.images is not None else _run_data(weights.parent, exact)
    pictures = _pictures(run_data, arguments.images)
    measured: dict[str, Any] = {}
    check = None if exact else _accuracy_check(backend, run_data, arguments.force, measured)
    with Progress(f"exporting and comparing on {len(pictures)} images"):
        parity = _export(arguments, backend, target, pictures, run_data, check)
    if not parity.keypoints:
        message("the model is sure of no keypoint on these images, so only scores were compared; try others with --images")
    if arguments.precision == "bf16":
        from dekey.runtime.openvino import computes_bf16

        if not computes_bf16():
            message("this processor has no instructions for bf16, so what was measured is fp32; measure again where it runs")
    files = [target] if target.suffix.lower() == ".onnx" else [target, target.with_suffix(".bin")]
    answer = {
        "file": str(target),
        "precision": arguments.precision,
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 2),
        "images_compared": parity.images,
        "keypoints_compared": parity.keypoints,
        "largest_difference_px": parity.largest_px,
        "largest_score_difference": parity.largest_score,
        **({"allowed_px": PARITY_PX} if exact else measured),
    }
    print(json.dumps(answer, indent=2))
    return 0


def _checked(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Check the options before any work is done; give the weights and the file to write."""
    from dekey.cli.output import check_target

    source = Path(arguments.model)
    if source.suffix in SUFFIXES.values():
        raise DekeyError(f"{source} is already exported, expected the folder of a finished `dekey train` or a .keras file")
    weights = source / "model.safetensors" if source.is_dir() else source
    of_keras = weights.suffix.lower() == ".keras"
    if of_keras:
        from dekey.runtime.open import check_keras_file

        check_keras_file(weights)
    if not weights.is_file():
        what = "holds no model.safetensors, so it is unfinished" if source.is_dir() else "does not exist"
        raise DekeyError(f"model {source} {what}, expected the folder of a finished `dekey train` or a .keras file")
    if not of_keras and weights.suffix != ".safetensors":
        raise DekeyError(f"model {source} is no model file, expected the folder of a finished `dekey train` or a .keras file")
    suffix = SUFFIXES[arguments.to]
    own = weights.with_suffix(suffix) if of_keras else weights.parent / f"model{suffix}"
    target = Path(arguments.out) if arguments.out else own
    if target.suffix.lower() != suffix:
        raise DekeyError(f"found --out {target}, expected a name that ends in {suffix}, by which the file is known again")
    if arguments.precision == "bf16" and arguments.to != "openvino":
        raise DekeyError("found --precision bf16 for onnx, which ONNX Runtime does not compute on a CPU; add --to openvino")
    if arguments.force and arguments.precision == "fp32":
        raise DekeyError("found --force for fp32, which is exact or not written; leave it out")
    check_target(str(target))
    if of_keras and arguments.precision != "fp32":
        raise DekeyError(
            f"found --precision {arguments.precision} for {weights}, which names no data to measure it on; leave it out"
        )
    if of_keras and arguments.images is None:
        raise DekeyError(f"{weights} names no pictures to compare on; name some with --images")
    needed = not of_keras and (arguments.images is None or arguments.precision != "fp32")
    if needed and not (weights.parent / "config.yaml").is_file():
        what = "pictures to compare on; name some with --images" if arguments.precision == "fp32" else "data to measure on"
        raise DekeyError(f"{weights.parent} holds no config.yaml that names {what}")
    return weights, target


def _run_data(run: Path, exact: bool) -> tuple[Config, Material]:
    """Read the data that the run learned from and was measured on."""
    from dekey.training.prepare import material_of

    try:
        return material_of(run / "config.yaml")
    except DekeyError as error:
        raise DekeyError(f"{error}; or name other pictures to compare on with --images" if exact else str(error)) from error


def _pictures(run_data: tuple[Config, Material] | None, images: str | None) -> list[NDArray[np.uint8]]:
    """Give real pictures: those of a folder, or the crops of the run's own held-out images."""
    if images is not None:
        from dekey.cli.pictures import image_files
        from dekey.data.images import read_image

        return [read_image(file) for file in image_files([images])[:PICTURES]]
    from dekey.training.prepare import crops_of

    assert run_data is not None
    config, material = run_data
    return list(crops_of(material.views_of(material.held_out, config.data.padding), PICTURES))


def _accuracy_check(
    backend: TorchBackend, run_data: tuple[Config, Material] | None, force: bool, measured: dict[str, Any]
) -> Callable[[Backend], None]:
    """Give what measures the written file on the held-out images and refuses it above the allowed loss."""
    from dekey.export import ALLOWED_LOSS, accuracy_loss, check_loss

    assert run_data is not None
    config, material = run_data

    def check(exported: Backend) -> None:
        loss = accuracy_loss(backend, exported, material.held_out, config.data.normaliser)
        measured.update(
            {
                "images_measured": loss.images,
                "before": loss.before,
                "after": {name: value if value == value else None for name, value in loss.after.items()},
                "relative_loss": {name: value if abs(value) < 1e9 else None for name, value in loss.relative.items()},
                "allowed_loss": ALLOWED_LOSS,
            }
        )
        if not force:
            check_loss(loss)

    return check


def _export(
    arguments: argparse.Namespace,
    backend: TorchBackend,
    target: Path,
    pictures: Sequence[NDArray[np.uint8]],
    run_data: tuple[Config, Material] | None,
    check: Callable[[Backend], None] | None,
) -> Parity:
    from dekey.export import export_int8_onnx, export_onnx, export_openvino
    from dekey.export.int8 import CALIBRATION_PICTURES
    from dekey.training.prepare import crops_of

    precision: Precision = arguments.precision
    if arguments.to == "onnx" and precision == "fp32":
        return export_onnx(backend, target, pictures)
    calibration: list[NDArray[np.uint8]] = []
    if precision == "int8":
        assert run_data is not None
        calibration = list(crops_of(run_data[1].views, CALIBRATION_PICTURES))
    if arguments.to == "onnx":
        return export_int8_onnx(backend, target, pictures, calibration, check)
    return export_openvino(backend, target, pictures, precision, calibration, check)
