"""The Keras way: the article's network and every dekey model as `keras.Model`, on Keras's torch backend.

Importing this package imports Keras and chooses its backend where nobody else has, see `dekey.keras.engine`.
"""

from dekey.keras.engine import use_torch

use_torch()  # before anything below imports Keras, which asks for its backend once and for all

from dekey.keras.article import ArticleNetwork, article_network  # noqa: E402
from dekey.keras.backbone import keras_backbone  # noqa: E402
from dekey.keras.build import model_for, model_of  # noqa: E402
from dekey.keras.metrics import PCK, BoxIoU, PixelError  # noqa: E402
from dekey.keras.model import KerasModel  # noqa: E402
from dekey.keras.serve import export_onnx, load_model, predictor  # noqa: E402
from dekey.keras.targets import Arrays, arrays  # noqa: E402

__all__ = [
    "PCK",
    "Arrays",
    "ArticleNetwork",
    "BoxIoU",
    "KerasModel",
    "PixelError",
    "arrays",
    "article_network",
    "export_onnx",
    "keras_backbone",
    "load_model",
    "model_for",
    "model_of",
    "predictor",
]
