"""dekey finds keypoints in images with deconvolutional networks.

>>> import dekey
>>> from dekey.data import embedded
>>> data = dekey.read(embedded.path("test"))
>>> len(data), data.schema.keypoints
(23, ('head', 'tail'))

``model = dekey.load("model.onnx")`` opens what `dekey export` wrote; ``model(image)`` gives what is found in an image, and
``dekey.evaluate(data, model)`` measures it. The names below are imported when first used: ``import dekey`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dekey.data import Dataset, Instances, Points, Problem, Sample, Schema
    from dekey.errors import DekeyError
    from dekey.formats import read, write
    from dekey.metrics import evaluate
    from dekey.runtime import Predictor, load
    from dekey.training import train

_HOME = {
    "Dataset": "dekey.data",
    "DekeyError": "dekey.errors",
    "Instances": "dekey.data",
    "Points": "dekey.data",
    "Predictor": "dekey.runtime",
    "Problem": "dekey.data",
    "Sample": "dekey.data",
    "Schema": "dekey.data",
    "evaluate": "dekey.metrics",
    "load": "dekey.runtime",
    "read": "dekey.formats",
    "train": "dekey.training",
    "write": "dekey.formats",
}

__version__ = version("dekey")
__all__ = [
    "Dataset",
    "DekeyError",
    "Instances",
    "Points",
    "Predictor",
    "Problem",
    "Sample",
    "Schema",
    "__version__",
    "evaluate",
    "load",
    "read",
    "train",
    "write",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'dekey' has no attribute '{name}'")
    from dekey.errors import needs_train_extra

    with needs_train_extra(f"dekey.{name}"):
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    from importlib.util import find_spec

    from dekey.errors import TRAIN_EXTRA

    # help() and completion ask for every name that is listed, so `train` is listed only where it can be had.
    trains = all(find_spec(module) is not None for module in TRAIN_EXTRA)
    return [name for name in __all__ if trains or name != "train"]
