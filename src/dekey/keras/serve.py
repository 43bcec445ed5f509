"""Keras models where every other model goes: `Predictor`, ``.keras`` files, ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from torch import nn

from dekey import export
from dekey.errors import DekeyError
from dekey.keras.article import ArticleGraph, ArticleNetwork
from dekey.keras.model import KerasModel
from dekey.models.checkpoint import TorchBackend, choose_device
from dekey.runtime import Predictor
from dekey.runtime.open import check_keras_file

AnyModel = KerasModel | ArticleNetwork


def load_model(path: str | os.PathLike[str]) -> Any:
    """Open a ``.keras`` file that a `KerasModel` or an `ArticleNetwork` was saved to, in Keras's safe mode.

    The file may come from anywhere: no code in it is run, nothing is unpickled and nothing fetched.

    Raises:
        DekeyError: if the file is missing, broken, holds another model, or asks for what safe mode forbids.
    """
    source = Path(path)
    if source.suffix != ".keras":
        raise DekeyError(f"model {path} is no .keras file, expected one that model.save wrote")
    check_keras_file(source)
    try:
        model = keras.saving.load_model(source, safe_mode=True)
    except DekeyError:
        raise
    except Exception as error:  # Keras lets through whatever zip, JSON, h5py and its own parts raise
        said = " ".join(str(error).split())[:200]
        raise DekeyError(f"{path} is no Keras model that can be opened safely ({said}); save it again") from error
    if not isinstance(model, (KerasModel, ArticleNetwork)):
        raise DekeyError(f"{path} holds a {type(model).__name__}, expected a model of dekey.keras")
    return model


def backend_of(model: AnyModel, device: str | None = None) -> TorchBackend:
    """Give what runs a model for `Predictor` and export; it shares the weights.

    Args:
        model: of dekey.keras.
        device: "auto", "cpu" or "cuda"; where the weights lie if None.

    Raises:
        DekeyError: if the model is another one, or the device cannot be had.
    """
    if isinstance(model, KerasModel):
        module: nn.Module = model.module
    elif isinstance(model, ArticleNetwork):
        module = ArticleGraph(model)
    else:
        raise DekeyError(f"found a {type(model).__name__}, expected a KerasModel or an ArticleNetwork of dekey.keras")
    place = next(module.parameters()).device if device is None else choose_device(device)
    return TorchBackend(module, model.manifest, place)


def predictor(model: AnyModel, batch_size: int = 16, threshold: float | None = None) -> Predictor:
    """Give the `Predictor` of a model: pictures of any size in, Instances out, as `dekey.load` gives it for a file.

    Raises:
        DekeyError: if the model is no model of dekey.keras, or an option is out of range.
    """
    return Predictor(backend_of(model), batch_size, threshold)


def export_onnx(model: AnyModel, path: str | os.PathLike[str], pictures: Sequence[NDArray[np.uint8]]) -> export.Parity:
    """Write a model as ONNX with its manifest, and prove that the file answers as the model does; see `dekey.export`.

    Raises:
        DekeyError: if there is no picture, or the file answers otherwise.
    """
    return export.export_onnx(backend_of(model), path, pictures)
