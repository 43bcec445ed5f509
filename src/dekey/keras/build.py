"""Keras models from label files and from finished runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras

from dekey.config import read_config
from dekey.errors import DekeyError
from dekey.keras.model import KerasModel
from dekey.models.backbone import Backbone
from dekey.models.build import build_model
from dekey.models.checkpoint import choose_device, load_model
from dekey.training.description import describe, manifest_of
from dekey.training.prepare import prepare, resolve

logger = logging.getLogger(__name__)
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def model_for(
    data: Files,
    kind: Literal["auto", "heatmap", "center", "article"] = "auto",
    backbone: Backbone | None = None,
    overrides: Sequence[str] = (),
) -> KerasModel:
    """Make an untrained model that suits a label file, by the rules of `dekey train`.

    Family, region and input size follow from the data where nothing says otherwise. Initial weights are random, from torch's
    generator, which `keras.utils.set_random_seed` sets; nothing is downloaded unless ``model.pretrained`` asks for it.

    Args:
        data: label file, or several.
        kind: the family.
        backbone: the convolutional half, such as `keras_backbone` gives; without it the one that ``model.backbone`` names.
        overrides: settings of `dekey train`, such as ``"model.input_size=[96, 96]"``.

    Raises:
        DekeyError: if the data cannot be read or learned from, a setting is wrong, or the parts do not fit.
    """
    files = [os.fspath(data)] if isinstance(data, (str, os.PathLike)) else [os.fspath(file) for file in data]
    # A second look from close by is worth nothing where training does not show objects so, and `fit` does not by itself.
    plain = {"model": {"kind": kind, "pretrained": False}, "augment": {"zoom": 0.0}}
    values: dict[str, Any] = {"data": {"train": files}, **plain}
    config = read_config(values, overrides=overrides)
    device = choose_device("auto").type
    material = prepare(config, device, logger.info)
    config = resolve(config, material, device)
    training = {} if material.kind == "article" else {"peak_weight": float(config.model.peak_weight)}
    architecture = describe(config, material)
    parts = {} if backbone is None else {"backbone": backbone}
    network: Any = build_model(material.kind, {**architecture, **parts}, pretrained=config.model.pretrained, **training)
    architecture["learned_scales"] = network.backbone.learned_scales
    architecture |= {} if backbone is None else {"backbone": "keras"}
    manifest = manifest_of(config, material, architecture, network.backbone.source, {})
    origin = {**manifest.origin, "keras": keras.__version__}
    return KerasModel(manifest.model_copy(update={"origin": origin}), network)


def model_of(run: str | os.PathLike[str]) -> KerasModel:
    """Take the trained model of a run folder, to measure it or to go on with it in Keras.

    Args:
        run: folder of a finished `dekey train`, or its ``model.safetensors``.

    Raises:
        DekeyError: if there is no model, or it is broken.
    """
    path = Path(run)
    weights = path / "model.safetensors" if path.is_dir() else path
    if weights.suffix != ".safetensors" or not weights.is_file():
        raise DekeyError(f"found no model.safetensors at {run}, expected the folder of a finished `dekey train`")
    network, manifest = load_model(weights)
    return KerasModel(manifest, network)
