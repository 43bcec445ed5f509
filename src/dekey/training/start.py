"""Weights that a run starts from: those of another model, as they are or with channels taken out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dekey.config import Config
from dekey.data import Schema
from dekey.errors import DekeyError
from dekey.files import sha256
from dekey.models.build import build_model
from dekey.models.checkpoint import load_model
from dekey.models.prune import check_prunable, prune
from dekey.models.widths import narrower, widths_of
from dekey.runtime import Manifest
from dekey.runtime.open import weights_of
from dekey.training.prepare import Material


@dataclass(frozen=True)
class StartModel:
    """A model whose weights a run starts from.

    Attributes:
        path: as it was named.
        sha256: of its weights.
        model: in evaluation mode.
        manifest: its own.
        keep: share of its channels that stay.
    """

    path: Path
    sha256: str
    model: nn.Module
    manifest: Manifest
    keep: float

    @property
    def sentence(self) -> str:
        """Where the weights started, for the record."""
        cut = f", {self.keep:.0%} of its channels" if self.keep < 1 else ""
        return f"{self.path.name}{cut} (SHA-256 {self.sha256})"

    def check(self, material: Material) -> None:
        """Raise DekeyError if the data ask for other answers than the model gives."""
        known, asked = self.manifest.schema_found, material.train.schema
        same = (known.classes, known.keypoints) == (asked.classes, asked.keypoints)
        if not same or not (known.present == asked.present).all():
            raise DekeyError(
                f"{self.path} finds {_told(known)}, the data have {_told(asked)}, expected the same in the same order; start "
                "from a model of these data, or anew"
            )
        if (self.manifest.kind, self.manifest.region) != (material.kind, material.region):
            raise DekeyError(
                f"{self.path} is a {self.manifest.kind} model of region {self.manifest.region}, the run asks for "
                f"{material.kind} of region {material.region}, expected the same; set model.kind and data.region so"
            )

    def network(self, architecture: dict[str, Any], **training: Any) -> tuple[nn.Module, dict[str, Any]]:
        """Give the network to train, in training mode, and what it is built from.

        Args:
            architecture: as the run's settings and data describe it, see `describe`.
            training: arguments for `build_model` that matter for training alone.
        """
        # What answers mean is fixed with the weights; what may differ is how many there are and how large the input is.
        own = {**self.manifest.architecture, **{name: architecture[name] for name in _FREE if name in architecture}}
        model = build_model(self.manifest.kind, own, **training)
        try:
            model.load_state_dict(self.model.state_dict())
        except RuntimeError as error:
            raise DekeyError(
                f"the weights of {self.path} do not fit an input of {architecture['input_size']}, expected the one that it was "
                f"trained for; set model.input_size={list(self.manifest.input_size)}"
            ) from error
        if self.keep < 1:
            plain = build_model(self.manifest.kind, {**own, "widths": {}})
            prune(model, self.keep)
            own["widths"] = narrower(model, widths_of(plain))
        return model.train(), own


# Settings of a run that its weights do not depend on.
_FREE = ("input_size", "objects")


def open_start(config: Config) -> tuple[Config, StartModel | None]:
    """Open the model that a run starts from, and give the configuration that follows from it.

    Raises:
        DekeyError: if it cannot be opened or pruned.
    """
    path, keep = config.start.model, config.start.keep
    if path is None:
        return config, None
    weights = weights_of(path)
    model, manifest = load_model(weights)
    if keep < 1:
        check_prunable(model)
    built = manifest.architecture
    network: dict[str, Any] = {
        "kind": manifest.kind,
        "backbone": built["backbone"],
        "decoder": built.get("decoder", config.model.decoder),
        "decoder_channels": tuple(built["decoder_channels"]),
        "sigma": built.get("sigma", config.model.sigma),
    }
    if config.model.input_size == "auto":
        network["input_size"] = manifest.input_size
    data = {"region": manifest.region} if config.data.region == "auto" else {}
    config = config.model_copy(
        update={"model": config.model.model_copy(update=network), "data": config.data.model_copy(update=data)}
    )
    return config, StartModel(path, sha256(weights), model, manifest, keep)


def _told(schema: Schema) -> str:
    parts = [", ".join(names[:4]) + (", …" if len(names) > 4 else "") for names in (schema.classes, schema.keypoints)]
    return " with ".join(parts)
