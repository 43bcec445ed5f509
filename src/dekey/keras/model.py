"""`KerasModel`: any dekey model with the verbs of `keras.Model`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import keras
import numpy as np
import torch
from torch import Tensor, nn

from dekey.data import Dataset
from dekey.errors import DekeyError, nearest
from dekey.keras.article import ACCURACY, ACCURACY_MEANS_NOTHING
from dekey.keras.backbone import KerasFeatures
from dekey.keras.batches import Batches, as_batch, as_images
from dekey.keras.material import Source, dataset_of, views_for
from dekey.keras.network import TorchNetwork
from dekey.metrics import evaluate
from dekey.metrics.evaluation import VALUES
from dekey.models.backbone import Backbone
from dekey.models.build import build_model
from dekey.models.checkpoint import TorchBackend
from dekey.runtime import Manifest, Predictor
from dekey.training.augment import Augment
from dekey.training.thresholds import calibrate

_MEAN_SQUARED_ERROR = frozenset({"mean_squared_error", "mse"})


@keras.saving.register_keras_serializable(package="dekey")
class KerasModel(keras.Model):
    """A dekey model of any family: compile, fit, evaluate, predict, save.

    It is trained by the model's own loss on label files or data sets, and measured by `dekey.evaluate`: what is measured is
    what `predictor` gives and what an exported file gives. Called, it takes pictures (B, H, W, 3) with values 0 to 255 of the
    input's size and gives the arrays of `detect`, boxes and keypoints in px of the input.

    Args:
        manifest: what the model is.
        network: the torch module, shared; without it one with random weights is built from the manifest.
        backbone: the backbone to build it on, where the manifest names none that timm has.

    Raises:
        DekeyError: if the network cannot be built.
    """

    def __init__(self, manifest: Manifest, network: nn.Module | None = None, backbone: Backbone | None = None) -> None:
        super().__init__(name=f"dekey_{manifest.kind}")
        if network is None:
            parts = {} if backbone is None else {"backbone": backbone}
            network = build_model(manifest.kind, {**manifest.architecture, **parts})
        self.manifest = manifest
        self.network = TorchNetwork(network)
        self.measures: tuple[str, ...] = ()
        self._terms = _Terms()
        self.built = True

    @property
    def module(self) -> nn.Module:
        """The torch module, a `KeypointModel`."""
        return cast(nn.Module, self.network.module)

    @property
    def metrics(self) -> list[Any]:
        """What is averaged over the batches of an epoch: the loss and its terms."""
        return [self._loss_tracker, *self._terms.means.values()] if self.compiled else []

    def compile(self, optimizer: Any = "adam", loss: Any = None, metrics: Sequence[str] | None = None, **named: Any) -> None:
        """Choose how to train and what to measure.

        Args:
            optimizer: of Keras, or its name.
            loss: None, since the model brings its own; an article model may be told its own, "mean_squared_error".
            metrics: names of numbers of `dekey.evaluate`, such as "median_px" and "pck@0.1", measured on whole data sets by
                `evaluate` and on validation data.
            named: whatever else `keras.Model.compile` takes.

        Raises:
            DekeyError: on another loss, or a metric that `dekey.evaluate` does not know, such as "accuracy".
        """
        if loss is not None and not (self.manifest.kind == "article" and loss in _MEAN_SQUARED_ERROR):
            raise DekeyError(f"found the loss {loss!r}, but a {self.manifest.kind} model brings its own; leave loss out")
        names = tuple(metrics or ())
        for name in names:
            if isinstance(name, str) and name in ACCURACY:
                raise DekeyError(f"{ACCURACY_MEANS_NOTHING}; here, of the numbers of dekey.evaluate, median_px or pck@0.1")
            if name not in VALUES:
                hint = nearest(name, VALUES) if isinstance(name, str) else ""
                raise DekeyError(f"found the metric {name!r}{hint}, expected one of {', '.join(VALUES)}")
        super().compile(optimizer=optimizer, **named)
        self.measures = names

    def get_compile_config(self) -> dict[str, Any]:
        """Give what `compile` was told."""
        config: dict[str, Any] = super().get_compile_config()
        return {**config, "metrics": list(self.measures)} if config else config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as it was when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)

    def fit(
        self,
        x: Source,
        *,
        batch_size: int = 16,
        epochs: int = 1,
        validation_data: Source | None = None,
        augment: Augment | None = None,
        seed: int = 0,
        **named: Any,
    ) -> Any:
        """Train.

        Args:
            x: label file, several, or a data set, with the model's classes and keypoints.
            batch_size: objects or images a step.
            epochs: passes over the data.
            validation_data: the same of held-out images, measured after each epoch.
            augment: how to bend the pictures; as they are where None.
            seed: decides order and augmentation; the weights are as they are.
            named: ``verbose``, ``callbacks``, ``initial_epoch``, ``validation_freq`` of `keras.Model.fit`.

        Returns:
            Keras's History.

        Raises:
            DekeyError: if the data cannot be read, do not fit the model, or the model cannot learn from them.
        """
        batches = self._batches(x, batch_size, Augment() if augment is None else augment, seed)
        batches.epoch = int(named.get("initial_epoch", 0))
        held_out = None if validation_data is None else self._batches(validation_data, batch_size)
        return super().fit(batches, epochs=epochs, validation_data=held_out, shuffle=False, **named)

    def evaluate(self, x: Any = None, *, batch_size: int | None = None, return_dict: bool = False, **named: Any) -> Any:
        """Measure the loss, its terms, and what `compile` was told to measure.

        Args:
            x: label file, several, or a data set.
            batch_size: objects or images at once; 16 where None.
            return_dict: give names with the numbers.
            named: ``verbose`` and ``callbacks`` of `keras.Model.evaluate`.

        Returns:
            The loss alone where there is nothing else, a list with the loss first, or {name: number}. A number that is not
            defined, such as a pixel error where no object was found yet, is NaN; `dekey.evaluate` says why.

        Raises:
            DekeyError: as `fit`.
        """
        batches = x if isinstance(x, Batches) else self._batches(x, batch_size or 16)
        found = super().evaluate(batches, return_dict=True, **named)
        logs: dict[str, float] = {"loss": found["loss"], **found}  # Keras sorts them by name
        if self.measures:
            measured = evaluate(batches.views.dataset, self.predictor(batch_size or 16))
            logs.update({name: measured.values.get(name, float("nan")) for name in self.measures})
        if return_dict:
            return logs
        numbers = list(logs.values())
        return numbers[0] if len(numbers) == 1 else numbers

    def predict(self, x: Any, *, batch_size: int | None = None, **named: Any) -> Any:
        """Find objects.

        Args:
            x: label file, several, or a data set; or pictures (B, H, W, 3) uint8 RGB of the input's size.
            batch_size: pictures at once; 16 where None.
            named: ``verbose`` and ``callbacks`` of `keras.Model.predict`, for pictures.

        Returns:
            For a data set one Instances an image, in the image's px, see `Predictor.predict_dataset`; for pictures the arrays
            of `detect`, in px of the input.

        Raises:
            DekeyError: if the data do not fit the model.
        """
        if isinstance(x, (str, os.PathLike, Dataset)) or (isinstance(x, (list, tuple)) and x and not hasattr(x[0], "shape")):
            return self.predictor(batch_size or 16).predict_dataset(dataset_of(x))
        pictures = np.asarray(x)
        height, width = self.manifest.input_size
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (height, width, 3):
            raise DekeyError(
                f"found {pictures.dtype} of shape {pictures.shape}, expected pictures (B, {height}, {width}, 3) uint8 RGB; "
                "model.predictor() takes pictures of any size"
            )
        return super().predict(pictures, batch_size=batch_size or 16, **named)

    def call(self, images: Tensor) -> dict[str, Tensor]:
        """Give the arrays of `detect` for pictures (B, H, W, 3) with values 0 to 255."""
        return cast(dict[str, Tensor], self.module.detect(as_images(images)))  # type: ignore[operator]

    def train_step(self, data: Any) -> dict[str, Any]:
        """Take one step on a batch as `Batches` gives it."""
        self.module.train()
        self.zero_grad()
        loss = self._loss(data)
        self.optimizer.scale_loss(loss).backward()
        variables = [variable for variable in self.trainable_variables if variable.value.grad is not None]
        with torch.no_grad():
            self.optimizer.apply([variable.value.grad for variable in variables], variables)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Any]:
        """Measure the loss of one batch."""
        self.module.eval()
        self._loss(data)
        return self.get_metrics_result()

    def predict_step(self, data: Any) -> Any:
        """Find the objects of one batch of pictures."""
        self.module.eval()
        return self(data[0] if isinstance(data, (tuple, list)) else data)

    def _loss(self, data: Any) -> Tensor:
        pictures, parts, _ = keras.utils.unpack_x_y_sample_weight(data)
        batch = as_batch(pictures, parts)
        terms = cast(dict[str, Tensor], self.module.loss(batch))  # type: ignore[operator]
        total = torch.stack(list(terms.values())).sum()
        self._loss_tracker.update_state(total.detach(), sample_weight=len(batch))
        self._terms.update(terms, len(batch))
        return total

    def predictor(self, batch_size: int = 16, threshold: float | None = None) -> Predictor:
        """Give the `Predictor` of the present weights; it shares them."""
        device = next(self.module.parameters()).device
        return Predictor(TorchBackend(self.module, self.manifest, device), batch_size, threshold)

    def calibrate(self, data: Source) -> str:
        """Fit the score from which an object counts as found, and the probabilities of visibility, to held-out data.

        `dekey train` does so at its end; until then a detector's threshold is 0 and every answer counts.

        Args:
            data: label file, several, or a data set that was not learned from.

        Returns:
            What was found, in a sentence.

        Raises:
            DekeyError: if the model is no detector, or the data do not fit it.
        """
        if self.manifest.kind != "center":
            raise DekeyError(
                f"found a {self.manifest.kind} model, which always answers with one object; only detectors are calibrated"
            )
        views = views_for(self.manifest, dataset_of(data))
        device = next(self.module.parameters()).device
        self.manifest, sentence = calibrate(self.module, self.manifest, views, device)
        return sentence

    def _batches(self, source: Any, batch_size: int, augment: Augment | None = None, seed: int = 0) -> Batches:
        return Batches(views_for(self.manifest, dataset_of(source)), batch_size, augment, seed)

    def get_config(self) -> dict[str, Any]:
        """Give what `from_config` builds the network from; the weights lie beside it."""
        body: Any = self.module.backbone
        own = isinstance(body.network, KerasFeatures)
        return {
            "manifest": self.manifest.model_dump_json(),
            "peak_weight": getattr(self.module, "peak_weight", None),
            "backbone": keras.saving.serialize_keras_object(body.network.network) if own else None,
            "normalisation": [list(body.mean), list(body.std)],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> KerasModel:
        """Build a model from `get_config`, with random weights.

        Raises:
            DekeyError: if the configuration is not of this class or not whole.
        """
        try:
            text, stored, peak_weight = config["manifest"], config["backbone"], config["peak_weight"]
            mean, std = ([float(value) for value in values] for values in config["normalisation"])
            training = {} if peak_weight is None else {"peak_weight": float(peak_weight)}
        except (KeyError, TypeError, ValueError) as error:
            raise DekeyError(f"the description of a KerasModel does not fit ({error!r}); save the model again") from error
        manifest = Manifest.from_metadata({"dekey.manifest": str(text)}, "the Keras file")
        parts = {}
        if stored is not None:
            network = keras.saving.deserialize_keras_object(stored, custom_objects)
            parts["backbone"] = Backbone(KerasFeatures(network), mean, std, "a Keras network")
        return cls(manifest, build_model(manifest.kind, {**manifest.architecture, **parts}, **training))


class _Terms:
    """The mean of each term of a loss; held here, where Keras does not look for state to save."""

    def __init__(self) -> None:
        self.means: dict[str, Any] = {}

    def update(self, terms: dict[str, Tensor], count: int) -> None:
        """Add the terms of a batch of so many images."""
        if len(terms) < 2:
            return
        for name, value in terms.items():
            if name not in self.means:
                self.means[name] = keras.metrics.Mean(name=name)
            self.means[name].update_state(value.detach(), sample_weight=count)
