"""Prediction without torch."""

from dekey.runtime.backends import Backend, OnnxBackend
from dekey.runtime.manifest import Manifest
from dekey.runtime.open import load
from dekey.runtime.openvino import OpenvinoBackend
from dekey.runtime.predictor import Predictor

__all__ = ["Backend", "Manifest", "OnnxBackend", "OpenvinoBackend", "Predictor", "load"]
