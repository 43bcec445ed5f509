"""What a run's network is built from, and the manifest of its model."""

from __future__ import annotations

from typing import Any

import torch

from dekey.config import Config
from dekey.runtime import Manifest
from dekey.training.prepare import Material


def describe(config: Config, material: Material) -> dict[str, Any]:
    """Give the arguments from which `build_model` makes the network of a run, as a manifest holds them.

    ``learned_scales`` is None: whether the network has them is known when it is built.
    """
    schema = material.train.schema
    network: dict[str, Any] = {
        "backbone": config.model.backbone,
        "decoder_channels": list(config.model.decoder_channels),
        "decoder": config.model.decoder,
        "input_size": list(material.input_size),
        "learned_scales": None,
    }
    if material.kind != "center":
        network["keypoint_count"] = len(schema.keypoints)
    if material.kind != "article":
        network["sigma"] = config.model.sigma
    if material.kind == "center":
        network["present"] = schema.present.tolist()
        network["objects"] = int(config.model.objects)
        network["typical_size"] = round(material.typical_size, 1)
    return network


def manifest_of(
    config: Config,
    material: Material,
    architecture: dict[str, Any],
    source: str,
    metrics: dict[str, float],
    origin: dict[str, str] | None = None,
) -> Manifest:
    """Give the manifest of a run's model.

    Args:
        config: resolved.
        material: what it learns from.
        architecture: as built, see `describe`.
        source: where the weights started.
        metrics: figures on the held-out images.
        origin: what else its origin is to say.
    """
    return Manifest(
        kind=material.kind,
        keypoint_schema=material.train.schema.to_dict(),
        input_size=material.input_size,
        region=material.region,
        padding=config.data.padding if material.region == "box" else 1.0,
        objects=int(config.model.objects) if material.kind == "center" else 1,
        finds_boxes=material.kind != "heatmap",
        second_look=material.second_look,
        architecture=architecture,
        metrics=metrics,
        origin={
            "weights": source,
            "torch": torch.__version__,
            "data": ", ".join(file.name for file in config.data.train_files),
            **(origin or {}),
        },
        licence=config.run.licence,
    )
