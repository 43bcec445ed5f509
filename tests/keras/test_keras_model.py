"""Every family of models behind keras.Model: the same laws for each."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import dekey
from dekey.data import Dataset, Schema
from dekey.errors import DekeyError
from dekey.keras import KerasModel, export_onnx, load_model, model_for, model_of, predictor
from dekey.keras.batches import Batches, as_arrays, as_batch
from dekey.keras.material import views_for
from dekey.models.base import Batch
from dekey.models.checkpoint import save_model
from dekey.training.augment import Augment

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = ("model.backbone=test_resnet", "model.decoder_channels=[16, 16, 16]", "model.input_size=[64, 64]")
KINDS = ("heatmap", "center", "article")
Trained = tuple[KerasModel, Dataset, list[float]]


@pytest.fixture(scope="module", params=KINDS)
def trained(
    request: pytest.FixtureRequest, small_data: Path, one_each: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """A model made for a label file and trained on it for some epochs, its data, and the loss of each epoch."""
    data = one_each if request.param == "article" else dekey.read(small_data)
    file = small_data
    if request.param == "article":
        # The family has one answer an image; its file is of photographs with one object.
        file = tmp_path_factory.mktemp("one") / "one.json"
        dekey.write(data, file)
    keras.utils.set_random_seed(0)
    settings = [*SMALL, f"data.images={one_each.pictures[0].parent}"] if request.param == "article" else list(SMALL)
    model = model_for(file, request.param, overrides=settings)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), metrics=["median_px", "pck@0.1"])
    history = model.fit(data, batch_size=8, epochs=8, verbose=0).history
    return model, data, history["loss"]


def pictures_of(model: KerasModel, data: Dataset) -> np.ndarray:
    batches = Batches(views_for(model.manifest, data), 32)
    return batches[0][0]


def test_the_loss_falls(trained: Trained) -> None:
    _, _, losses = trained
    assert losses[-1] < 0.7 * losses[0]


def test_one_step_moves_every_weight_that_has_a_gradient(trained: Trained) -> None:
    model, data, _ = trained
    before = {name: value.detach().clone() for name, value in model.module.named_parameters()}
    model.train_on_batch(*Batches(views_for(model.manifest, data), 4)[0])
    moved = [name for name, value in model.module.named_parameters() if not torch.equal(value, before[name])]
    still = set(before) - set(moved)
    # In eight epochs with few pictures a unit may die; but the first and the last layer always learn.
    assert len(moved) > 0.8 * len(before), still
    assert {next(iter(before)), list(before)[-1]} <= set(moved)
    assert {id(variable.value) for variable in model.trainable_variables} == {id(one) for one in model.module.parameters()}


def test_a_step_of_keras_is_the_step_of_torch(trained: Trained) -> None:
    """The same batch, plain gradient descent: the loss is the model's own, and so is its gradient."""
    model, data, _ = trained
    twin = KerasModel.from_config(model.get_config())
    twin.module.load_state_dict(model.module.state_dict())
    batch = Batches(views_for(model.manifest, data), 4).batch(0)
    twin.module.train()
    loss = sum(twin.module.loss(batch).values())
    loss.backward()
    expected = [value.detach() - 0.01 * value.grad for value in twin.module.parameters() if value.grad is not None]
    other = KerasModel.from_config(model.get_config())
    other.module.load_state_dict(model.module.state_dict())
    other.compile(optimizer=keras.optimizers.SGD(0.01))
    logs = other.train_on_batch(*as_arrays(batch), return_dict=True)
    assert logs["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    found = [value for value in other.module.parameters() if value.grad is not None]
    for one, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(one.detach(), wanted, rtol=1e-4, atol=1e-5)


def test_predict_is_detect_on_pictures_as_they_lie_in_memory(trained: Trained) -> None:
    model, data, _ = trained
    pictures = pictures_of(model, data)
    found = model.predict(pictures, verbose=0)
    with torch.inference_mode():
        expected = model.module.eval().detect(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values.numpy(), rtol=1e-5, atol=1e-4)
    swapped = model.predict(np.ascontiguousarray(pictures[..., ::-1]), verbose=0)
    assert not np.allclose(swapped["keypoints"], found["keypoints"])  # RGB is not BGR


def test_predict_on_data_is_the_predictor_of_every_other_model(trained: Trained, tmp_path: Path) -> None:
    model, data, _ = trained
    save_model(model.module, model.manifest, tmp_path / "model.safetensors")
    expected = dekey.load(tmp_path, "cpu").predict_dataset(data)
    for found in (model.predict(data), model_of(tmp_path).predict(data), predictor(model).predict_dataset(data)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-3)
            np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def test_evaluate_is_dekeys_evaluate(trained: Trained) -> None:
    model, data, _ = trained
    expected = dekey.evaluate(data, model.predictor()).values
    found = model.evaluate(data, verbose=0, return_dict=True)
    assert (next(iter(found)), list(found)[-2:]) == ("loss", ["median_px", "pck@0.1"])
    assert expected["pck@0.1"] == found["pck@0.1"]
    assert found["median_px"] == pytest.approx(expected.get("median_px", np.nan), nan_ok=True)
    assert model.evaluate(data, verbose=0) == pytest.approx(list(found.values()), nan_ok=True)
    assert found["loss"] == pytest.approx(sum(found[name] for name in found if name not in (*model.measures, "loss")), rel=1e-4)


def test_validation_data_are_measured_every_epoch(trained: Trained) -> None:
    model, data, _ = trained
    twin = KerasModel.from_config(model.get_config())
    twin.compile(optimizer="adam", metrics=["median_px"])
    stop = keras.callbacks.EarlyStopping(monitor="val_median_px", mode="min", patience=5)
    history = twin.fit(data, validation_data=data, epochs=2, callbacks=[stop], verbose=0).history
    assert len(history["val_median_px"]) == len(history["val_loss"]) == 2
    last = dekey.evaluate(data, twin.predictor()).values.get("median_px", np.nan)  # NaN where nothing is found yet
    assert history["val_median_px"][-1] == pytest.approx(last, nan_ok=True)


def test_saved_and_loaded_it_answers_alike_and_goes_on(trained: Trained, tmp_path: Path) -> None:
    model, data, _ = trained
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert (again.manifest, again.measures) == (model.manifest, model.measures)
    pictures = pictures_of(model, data)
    expected = model.predict(pictures, verbose=0)
    for name, values in again.predict(pictures, verbose=0).items():
        np.testing.assert_array_equal(values, expected[name])
    assert int(again.optimizer.iterations) == int(model.optimizer.iterations)
    step = [one.train_on_batch(*Batches(views_for(model.manifest, data), 4)[0], return_dict=True) for one in (model, again)]
    assert step[0]["loss"] == pytest.approx(step[1]["loss"])
    for one, other in zip(model.module.parameters(), again.module.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_exported_it_answers_alike(trained: Trained, tmp_path: Path) -> None:
    model, data, _ = trained
    pictures = list(pictures_of(model, data)[:4])
    parity = export_onnx(model, tmp_path / "model.onnx", pictures)
    assert parity.images == 4
    assert dekey.load(tmp_path / "model.onnx").manifest == model.manifest


@pytest.fixture(scope="module")
def heatmap(small_data: Path) -> KerasModel:
    return model_for(small_data, "heatmap", overrides=SMALL)


def test_a_batch_comes_back_from_keras_as_it_went(heatmap: KerasModel, small_data: Path) -> None:
    batch = Batches(views_for(heatmap.manifest, dekey.read(small_data)), 5).batch(1)
    pictures, parts = as_arrays(batch)
    assert pictures.shape == (5, 64, 64, 3)
    back = as_batch(torch.from_numpy(pictures), {name: torch.from_numpy(value).float() for name, value in parts.items()})
    assert isinstance(back, Batch)
    for name in ("images", "boxes", "labels", "keypoints", "visibility", "valid"):
        torch.testing.assert_close(getattr(back, name), getattr(batch, name), equal_nan=True)


def test_an_epoch_shows_everything_in_another_order_each_time(heatmap: KerasModel, small_data: Path) -> None:
    views = views_for(heatmap.manifest, dekey.read(small_data))
    straight, shuffled = Batches(views, 8), Batches(views, 8, Augment())
    assert len(straight) == len(shuffled) == 3  # 24 objects

    def shown(batches: Batches) -> list[bytes]:
        return [picture.tobytes() for index in range(3) for picture in batches[index][0]]

    first = shown(shuffled)
    shuffled.on_epoch_end()
    second = shown(shuffled)
    assert first != second
    assert sorted(first) == sorted(second) == sorted(shown(straight))


def test_calibration_gives_a_detector_its_threshold(small_data: Path, heatmap: KerasModel) -> None:
    model = model_for(small_data, "center", overrides=SMALL)
    assert model.manifest.object_threshold == 0
    assert "counts as found" in model.calibrate(small_data)
    assert model.manifest.object_threshold > 0
    with pytest.raises(DekeyError, match="heatmap model, which always answers"):
        heatmap.calibrate(small_data)


def test_what_means_nothing_is_refused(heatmap: KerasModel, small_data: Path) -> None:
    with pytest.raises(DekeyError, match=r"accuracy means nothing for a regression.*median_px"):
        heatmap.compile(metrics=["accuracy"])
    with pytest.raises(DekeyError, match=r"'medianpx' \(did you mean 'median_px'\?\)"):
        heatmap.compile(metrics=["medianpx"])
    with pytest.raises(DekeyError, match="brings its own"):
        heatmap.compile(loss="mean_squared_error")
    heatmap.compile()
    with pytest.raises(DekeyError, match="pictures alone have no labels"):
        heatmap.fit(np.zeros((4, 64, 64, 3), dtype=np.uint8))  # type: ignore[arg-type]
    with pytest.raises(DekeyError, match="float32 of shape"):
        heatmap.predict(np.zeros((4, 64, 64, 3), dtype=np.float32))
    with pytest.raises(DekeyError, match=r"of shape \(4, 32, 64, 3\)"):
        heatmap.predict(np.zeros((4, 32, 64, 3), dtype=np.uint8))
    other = dekey.read(small_data).with_schema(Schema.create(["hand"], ["head", "tail"]))
    with pytest.raises(DekeyError, match="expected the same in the same order"):
        heatmap.fit(other)
    with pytest.raises(DekeyError, match=r"no model\.safetensors"):
        model_of(small_data.parent)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (
            "backbone",
            {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gASVAAAAAAAAAAAu"}},
            "opened safely",
        ),
        ("manifest", "{}", "does not fit this dekey"),
        ("normalisation", None, "description of a KerasModel"),
    ],
)
def test_a_changed_file_is_refused(heatmap: KerasModel, tmp_path: Path, key: str, value: object, said: str) -> None:
    heatmap.save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as old, zipfile.ZipFile(tmp_path / "bad.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"][key] = value
                content = json.dumps(config).encode()
            new.writestr(name, content)
    with pytest.raises(DekeyError, match=said):
        load_model(tmp_path / "bad.keras")


def test_weights_of_another_network_are_refused(heatmap: KerasModel, small_data: Path, tmp_path: Path) -> None:
    other = model_for(small_data, "heatmap", overrides=[*SMALL, "model.decoder=plain"])
    heatmap.save(tmp_path / "one.keras")
    other.save(tmp_path / "other.keras")
    files = [zipfile.ZipFile(tmp_path / name) for name in ("one.keras", "other.keras")]
    with files[0], files[1], zipfile.ZipFile(tmp_path / "bad.keras", "w") as new:
        new.writestr("config.json", files[0].read("config.json"))
        for name in ("metadata.json", "model.weights.h5"):
            new.writestr(name, files[1].read(name))
    with pytest.raises(DekeyError, match="do not fit its description"):
        load_model(tmp_path / "bad.keras")
