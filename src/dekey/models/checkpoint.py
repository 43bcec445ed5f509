"""Weights on disk, as safetensors with the manifest in their metadata, and the torch backend that runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dekey.errors import DekeyError
from dekey.files import replacing
from dekey.models.build import build_model
from dekey.runtime.backends import Arrays
from dekey.runtime.manifest import Manifest


def save_model(model: nn.Module, manifest: Manifest, path: Path) -> None:
    """Write weights and manifest; an earlier file stays until the new one is whole.

    Raises:
        OSError: if they cannot be written, for instance to a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, manifest.to_metadata())
            temporary.chmod(0o644)  # safetensors writes files that only their owner may read
        except SafetensorError as error:  # what the system said, in words only
            raise OSError(f"model {path} could not be written ({error})") from error


def load_model(path: Path) -> tuple[nn.Module, Manifest]:
    """Read what `save_model` wrote; the model is in evaluation mode.

    Raises:
        DekeyError: if the file is broken, carries no manifest, or its weights do not fit its description.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise DekeyError(f"{path} is no whole safetensors file ({error}); train again or take a copy") from error
    manifest = Manifest.from_metadata(metadata, str(path))
    model = build_model(manifest.kind, manifest.architecture)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise DekeyError(f"the weights in {path} do not fit its description; the file was changed, train again") from error
    return model.eval(), manifest


def choose_device(device: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device that is there.

    Raises:
        DekeyError: if it is not.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DekeyError(f"there is no device '{device}', expected auto, cpu or cuda") from error
    if chosen.type not in ("cpu", "cuda"):
        raise DekeyError(f"device '{device}' is not supported, expected auto, cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise DekeyError(f"device '{device}' was asked for but torch sees no CUDA device; use --device cpu")
    return chosen


class TorchBackend:
    """Runs a model in PyTorch, in fp32; torch's settings say whether CUDA's convolutions may take TF32 for it.

    Args:
        model: any `KeypointModel`; its training mode is restored after each call.
        manifest: what it is.
        device: where it runs.
    """

    def __init__(self, model: nn.Module, manifest: Manifest, device: torch.device) -> None:
        self.model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.manifest = manifest
        self.device = device

    def run(self, images: NDArray[np.uint8]) -> Arrays:
        """Run a batch, see `dekey.runtime.Backend.run`."""
        found = self._evaluate(images, "detect")
        return {name: value.cpu().numpy() for name, value in found.items()}

    def maps(self, images: NDArray[np.uint8]) -> Arrays:
        """Give the raw maps of a batch (B, H, W, 3), for explanation."""
        return {name: value.float().cpu().numpy() for name, value in self._evaluate(images, "forward").items()}

    def _evaluate(self, images: NDArray[np.uint8], verb: str) -> dict[str, torch.Tensor]:
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                inputs = torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)
                found: dict[str, torch.Tensor] = getattr(self.model, verb)(inputs)
                return found
        finally:
            self.model.train(training)


def load_torch_backend(path: Path, device: str = "auto") -> TorchBackend:
    """Open saved weights for prediction."""
    model, manifest = load_model(path)
    return TorchBackend(model, manifest, choose_device(device))
