"""A Keras network as the convolutional half of a dekey model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dekey
from dekey.data.images import read_image
from dekey.errors import DekeyError
from dekey.keras import export_onnx, keras_backbone, load_model, model_for

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LEVELS = ["fine", "coarse"]


def network(order: str = "channels_last", size: int | None = None, name: str = "small"):
    """A small network with two levels of features, the coarser one first among its outputs."""
    layers = keras.layers
    pictures = keras.Input((size, size, 3) if order == "channels_last" else (3, size, size))
    axis = -1 if order == "channels_last" else 1
    values = layers.Conv2D(8, 3, 4, padding="same", data_format=order)(pictures)
    values = layers.BatchNormalization(axis=axis)(values)
    fine = layers.ReLU(name="fine")(values)
    values = layers.DepthwiseConv2D(3, padding="same", data_format=order)(fine)
    values = layers.Conv2D(12, 3, 2, padding="same", activation="relu", name="coarse", data_format=order)(values)
    return keras.Model(pictures, [values, fine], name=name)


def test_channels_and_strides_are_announced_finest_first() -> None:
    for body in (keras_backbone(network()), keras_backbone(network("channels_first")), keras_backbone(network(size=64))):
        assert (body.channels, body.strides) == ([8, 12], [4, 8])
        features = body(torch.zeros(2, 3, 64, 64))
        assert [tuple(one.shape) for one in features] == [(2, 8, 16, 16), (2, 12, 8, 8)]


def test_both_orders_of_channels_give_the_same_features() -> None:
    last, first = network(), network("channels_first")
    first.set_weights(last.get_weights())
    pictures = torch.randn(2, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    bodies = [keras_backbone(one).eval() for one in (last, first)]
    with torch.no_grad():
        ours, theirs = (body(pictures) for body in bodies)
        direct = keras.tree.flatten(last(pictures.permute(0, 2, 3, 1), training=False))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours[1], direct[0].permute(0, 3, 1, 2))


def test_layers_of_a_larger_network_are_taken_by_name() -> None:
    whole = network()
    body = keras_backbone(whole, layers=LEVELS)
    assert (body.channels, body.strides) == ([8, 12], [4, 8])
    with pytest.raises(DekeyError, match=r"no layer 'fin' \(did you mean 'fine'\?\)"):
        keras_backbone(whole, layers=["fin"])


def test_training_mode_reaches_keras() -> None:
    body = keras_backbone(network())
    pictures = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) + 3
    with torch.no_grad():
        moving = [value.clone() for value in body.network.state_dict().values()]
        body.eval()(pictures)
        assert all(torch.equal(one, two) for one, two in zip(moving, body.network.state_dict().values(), strict=True))
        body.train()(pictures)
    changed = sum(not torch.equal(one, two) for one, two in zip(moving, body.network.state_dict().values(), strict=True))
    assert changed == 2  # mean and variance of the one batch normalisation


def test_what_gives_no_features_is_told() -> None:
    pictures = keras.Input((32, 32, 3))
    with pytest.raises(DekeyError, match="expected maps of four dimensions"):
        keras_backbone(keras.Model(pictures, keras.layers.Flatten()(pictures)))
    with pytest.raises(DekeyError, match="is 30x30 for an input of 32x32"):
        keras_backbone(keras.Model(pictures, keras.layers.Conv2D(4, 3)(pictures)))
    with pytest.raises(DekeyError, match="same stride"):
        keras_backbone(keras.Model(pictures, [keras.layers.ReLU()(pictures), keras.layers.ReLU()(pictures)]))
    flat = keras.Input((7,))
    with pytest.raises(DekeyError, match="expected one input of pictures"):
        keras_backbone(keras.Model(flat, keras.layers.Dense(2)(flat)))


def test_a_model_on_a_keras_backbone_learns_is_saved_and_exported(small_data: Path, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    settings = ["model.decoder_channels=[16]", "model.input_size=[64, 64]", "model.decoder=plain"]
    model = model_for(small_data, "heatmap", keras_backbone(network(), LEVELS), settings)
    model.compile(optimizer=keras.optimizers.Adam(5e-3))
    backbone_before = [value.detach().clone() for value in model.module.backbone.parameters()]
    losses = model.fit(small_data, batch_size=8, epochs=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    moved = [not torch.equal(one, two) for one, two in zip(model.module.backbone.parameters(), backbone_before, strict=True)]
    assert sum(moved) >= 6
    model.save(tmp_path / "model.keras")
    network(name="another")  # so that names counted up by Keras are others now
    again = load_model(tmp_path / "model.keras")
    data = dekey.read(small_data)
    for one, other in zip(model.predict(data), again.predict(data), strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
    pictures = [read_image(file) for file in sorted((small_data.parent / "images").iterdir())[:2]]
    assert export_onnx(again, tmp_path / "model.onnx", pictures).images == 2
