"""The article's own network, of Keras's own layers."""

from __future__ import annotations

import json
import warnings
from typing import Any

import keras
import torch
from torch import Tensor, nn

from dekey.data import Schema
from dekey.errors import DekeyError
from dekey.models.article import answers_of
from dekey.runtime import Manifest

# Cells, down and across, of the grid that the regression reads; see `dekey.models.article`.
GRID = 8
ACCURACY = frozenset({"acc", "accuracy"})
ACCURACY_MEANS_NOTHING = (
    "accuracy means nothing for a regression: Keras takes it for 'is the same one of the numbers the largest', which a box of "
    "any place can fulfil; take dekey.keras.BoxIoU, PixelError or PCK"
)


@keras.saving.register_keras_serializable(package="dekey")
class ArticleNetwork(keras.Model):
    """Convolution, deconvolution and a sigmoid regression of the box, and of the keypoints where there are some.

    ``Conv2D(filters, 3x3, ReLU, same)``, ``Conv2DTranspose(filters, 3x3, stride 2, ReLU, same)``, the mean over each cell of a
    grid of 8×8, ``Dense(sigmoid)``. Pictures (B, H, W, 3) hold values 0 to 255 and are scaled inside.

    It answers with boxes (B, 4) as centre x, centre y, width, height; with keypoints it answers with ``{"box": (B, 4),
    "keypoints": (B, K, 2)}``. All are shares of the input, as `arrays` gives them.

    Args:
        input_size: (H, W) px, multiples of 4.
        schema: one class and the K keypoints that it finds; without it boxes alone, of a class called object.
        filters: channels of both layers.

    Raises:
        DekeyError: if the input size does not fit, or the schema has several classes.
    """

    def __init__(
        self, input_size: tuple[int, int] = (32, 32), schema: Schema | None = None, filters: int = 32, name: str | None = None
    ) -> None:
        own = Schema.create(["object"], []) if schema is None else schema
        _check(input_size, own)
        height, width = input_size
        # Settings of the whole process, which a user may have changed, must not change what a channel is.
        last = {"data_format": "channels_last"}
        images = keras.Input((height, width, 3), name="images")
        values = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(images)
        values = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name="features", **last)(values)
        values = keras.layers.Conv2DTranspose(
            filters, 3, strides=2, padding="same", activation="relu", name="carried_back", **last
        )(values)
        values = keras.layers.AveragePooling2D((2 * height // GRID, 2 * width // GRID), name="cells", **last)(values)
        values = keras.layers.Flatten(**last)(values)
        answer: Any = keras.layers.Dense(4, activation="sigmoid", name="box")(values)
        count = len(own.keypoints)
        if count:
            places = keras.layers.Dense(2 * count, activation="sigmoid", name="places")(values)
            answer = {"box": answer, "keypoints": keras.layers.Reshape((count, 2), name="keypoints")(places)}
        super().__init__(inputs=images, outputs=answer, name=name)
        self.input_size = (height, width)
        self.filters = filters
        # As text, because Keras would wrap a dictionary.
        self.schema_json = _to_json(own)

    @property
    def schema(self) -> Schema:
        """What it finds."""
        return _from_json(self.schema_json)

    @property
    def manifest(self) -> Manifest:
        """What an exported file says of itself."""
        schema = self.schema
        return Manifest(
            kind="article",
            keypoint_schema=schema.to_dict(),
            input_size=self.input_size,
            region="image",
            padding=1.0,
            finds_boxes=True,
            architecture={"keras": "dekey.keras.article_network", "filters": self.filters, "input_size": list(self.input_size)},
            origin={"keras": keras.__version__, "torch": torch.__version__},
        )

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **named: Any,
    ) -> None:
        """Compile as `keras.Model.compile`, which knows all arguments; warns where "accuracy" is among the metrics."""
        if ACCURACY & {*_words(metrics), *_words(weighted_metrics)}:
            warnings.warn(ACCURACY_MEANS_NOTHING, stacklevel=2)
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **named)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as it was when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        """Give the arguments from which `from_config` makes it again."""
        return {
            "input_size": list(self.input_size),
            "schema": self.schema_json,
            "filters": self.filters,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ArticleNetwork:
        """Make a network anew from `get_config`.

        Raises:
            DekeyError: if the configuration is not of this class.
        """
        try:
            height, width = (int(length) for length in config["input_size"])
            filters, schema, name = int(config["filters"]), _from_json(config["schema"]), config.get("name")
        except (KeyError, TypeError, ValueError) as error:
            raise DekeyError(f"the description of an ArticleNetwork does not fit ({error}); save the network again") from error
        return cls((height, width), schema, filters, name)


def article_network(input_size: tuple[int, int] = (32, 32), schema: Schema | None = None, filters: int = 32) -> ArticleNetwork:
    """Make the article's network; see `ArticleNetwork`.

    Args:
        input_size: (H, W) px, multiples of 4.
        schema: of the data set, for its keypoints; without it the network finds boxes alone.
        filters: channels of both layers.

    Raises:
        DekeyError: if the input size does not fit, or the schema has several classes.
    """
    return ArticleNetwork(input_size, schema, filters)


class ArticleGraph(nn.Module):
    """`detect` of an `ArticleNetwork`: the verb by which `Predictor` and export know every model.

    Args:
        network: shared, not copied.
    """

    extent: Tensor

    def __init__(self, network: ArticleNetwork) -> None:
        super().__init__()
        self.network = network
        height, width = network.input_size
        self.register_buffer("extent", torch.tensor([float(width), float(height)]))

    def detect(self, images: Tensor) -> dict[str, Tensor]:
        """Find the object in images (B, 3, H, W) uint8; arrays as `dekey.models.article.ArticleModel.detect`."""
        found = self.network(images.permute(0, 2, 3, 1).float(), training=False)
        if isinstance(found, dict):
            return answers_of(found["box"], found["keypoints"], self.extent)
        return answers_of(found, found[:, None, :2][:, :0], self.extent)  # no keypoint: (B, 0, 2)


def _check(input_size: tuple[int, int], schema: Schema) -> None:
    for length in input_size:
        if length % 4 or length < 8:
            works = max(round(length / 4), 2) * 4
            raise DekeyError(f"input size {length} does not fit a grid of {GRID} cells on twice its length; use {works}")
    if len(schema.classes) != 1:
        raise DekeyError(
            f"found {len(schema.classes)} classes, which one box cannot tell apart, expected 1; take a CenterDetector by "
            "dekey.keras.model_for"
        )


def _words(metrics: Any) -> list[str]:
    """Give every string in nested lists and dictionaries."""
    if isinstance(metrics, str):
        return [metrics]
    values = metrics.values() if isinstance(metrics, dict) else metrics if isinstance(metrics, (list, tuple)) else ()
    return [word for value in values for word in _words(value)]


def _to_json(schema: Schema) -> str:
    return json.dumps(schema.to_dict())


def _from_json(text: str) -> Schema:
    return Schema.from_dict(json.loads(text))
