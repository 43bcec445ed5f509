"""The article's network: its own lines run, and what they make goes where every model goes."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dekey
from dekey.cli import main
from dekey.data import Dataset, Schema, embedded, geometry
from dekey.errors import DekeyError
from dekey.keras import (
    PCK,
    Arrays,
    ArticleNetwork,
    BoxIoU,
    PixelError,
    arrays,
    article_network,
    export_onnx,
    load_model,
    predictor,
)

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def shown(one_each: Dataset) -> Arrays:
    return arrays(one_each, keypoints=True)


@pytest.fixture(scope="module")
def learnt(one_each: Dataset, shown: Arrays) -> ArticleNetwork:
    keras.utils.set_random_seed(0)
    model = article_network((32, 32), one_each.schema)
    measures = {"box": [BoxIoU()], "keypoints": [PixelError((32, 32)), PCK(0.1, (32, 32), "hull_diagonal")]}
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mean_squared_error", metrics=measures)
    model.fit(shown.x, shown.y, sample_weight=shown.sample_weight, epochs=60, verbose=0)
    return model


def test_the_lines_of_the_article(one_each: Dataset) -> None:
    x, y, _ = arrays(one_each)
    model = article_network()
    model.compile(optimizer="adam", loss="mean_squared_error")
    history = model.fit(x, y, batch_size=4, epochs=5, validation_data=(x, y), verbose=0).history
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert model.evaluate(x, y, verbose=0) == pytest.approx(history["val_loss"][-1], rel=1e-4)
    found = model.predict(x, verbose=0)
    assert found.shape == y.shape
    assert ((found > 0) & (found < 1)).all()
    assert float(np.mean((found - y) ** 2)) == pytest.approx(history["val_loss"][-1], rel=1e-4)
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Rescaling", "Conv2D", "Conv2DTranspose", "AveragePooling2D", "Flatten", "Dense"]
    assert model.get_layer("carried_back").output.shape == (None, 64, 64, 32)


def test_it_learns_eight_pictures_by_heart(learnt: ArticleNetwork, one_each: Dataset, shown: Arrays) -> None:
    found = learnt.evaluate(shown.x, shown.y, sample_weight=shown.sample_weight, verbose=0, return_dict=True)
    assert found["keypoints_mean_px"] < 2
    assert found["box_box_iou"] > 0.6
    fresh = article_network((32, 32), one_each.schema).predict(shown.x, verbose=0)
    before = PixelError((32, 32))
    before.update_state(shown.y["keypoints"], fresh["keypoints"])
    assert float(before.result()) > 3 * found["keypoints_mean_px"]  # so the pictures do differ


def test_what_it_says_of_itself_is_what_the_predictor_measures(
    learnt: ArticleNetwork, one_each: Dataset, shown: Arrays
) -> None:
    found = learnt.evaluate(shown.x, shown.y, sample_weight=shown.sample_weight, verbose=0, return_dict=True)
    px = []
    for one, answer in zip(one_each, predictor(learnt).predict_dataset(one_each), strict=True):
        factor = geometry.letterbox(one.size, (32, 32))[0, 0]
        px.append(factor * np.linalg.norm(answer.keypoints[0] - one.instances.keypoints[0], axis=-1))
    assert found["keypoints_mean_px"] == pytest.approx(np.mean(px), rel=1e-3)


def test_saved_and_loaded_it_answers_alike_and_goes_on(learnt: ArticleNetwork, shown: Arrays, tmp_path: Path) -> None:
    learnt.save(tmp_path / "article.keras")
    again = load_model(tmp_path / "article.keras")
    assert again.schema == learnt.schema
    for name, values in learnt.predict(shown.x, verbose=0).items():
        np.testing.assert_array_equal(again.predict(shown.x, verbose=0)[name], values)
    both = [one.evaluate(shown.x, shown.y, verbose=0, return_dict=True) for one in (learnt, again)]
    assert both[0] == both[1]
    assert int(again.optimizer.iterations) == int(learnt.optimizer.iterations) == 60
    again.fit(shown.x, shown.y, sample_weight=shown.sample_weight, epochs=1, verbose=0)
    assert int(again.optimizer.iterations) == 61


def test_exported_it_is_a_model_like_every_other(learnt: ArticleNetwork, one_each: Dataset, tmp_path: Path) -> None:
    pictures = [one.read_image() for one in one_each]
    parity = export_onnx(learnt, tmp_path / "article.onnx", pictures)
    assert (parity.images, parity.largest_px < 1e-3) == (8, True)
    learnt.save(tmp_path / "article.keras")
    ours = predictor(learnt).predict_dataset(one_each)
    for file in ("article.onnx", "article.keras"):
        theirs = dekey.load(tmp_path / file, "cpu").predict_dataset(one_each)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(other.boxes, one.boxes, atol=1e-2)
            np.testing.assert_allclose(other.keypoints, one.keypoints, atol=1e-2)


def test_the_command_line_takes_it(
    learnt: ArticleNetwork, one_each: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = str(tmp_path / "mine.keras"), tmp_path / "pictures"
    learnt.save(file)
    folder.mkdir()
    for one in list(one_each)[:2]:
        shutil.copy(one.picture, folder)  # type: ignore[arg-type]
    assert main(["export", file]) == 2
    assert "name some with --images" in capsys.readouterr().err
    assert main(["export", file, "--images", str(folder)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["file"], answer["images_compared"]) == (str(tmp_path / "mine.onnx"), 2)
    answers = []
    for model in (file, str(tmp_path / "mine.onnx")):
        assert main(["evaluate", model, str(embedded.path("test"))]) == 0
        answers.append(json.loads(capsys.readouterr().out)["values"])
    assert answers[0]["objects"] == answers[1]["objects"] > 0
    assert answers[0] == pytest.approx(answers[1], rel=1e-2, abs=1e-2)


def test_boxes_alone_are_exported_and_compared(one_each: Dataset, tmp_path: Path) -> None:
    model = article_network((32, 48))
    picture = one_each[0].read_image()
    parity = export_onnx(model, tmp_path / "boxes.onnx", [picture])
    assert parity.keypoints == 4  # the numbers of a box, for want of keypoints
    found = dekey.load(tmp_path / "boxes.onnx")(picture)
    assert (found.keypoints.shape, found.boxes.shape) == ((1, 0, 2), (1, 4))
    np.testing.assert_allclose(found.boxes, predictor(model)(picture).boxes, atol=1e-2)


def test_a_box_that_moved_is_seen(learnt: ArticleNetwork, shown: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    from dekey.export import compare
    from dekey.keras.serve import backend_of
    from dekey.models.checkpoint import TorchBackend

    class Moved(TorchBackend):
        def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
            found = super().run(images)
            found["boxes"][0, 0, 2] += 0.5
            return found

    backend = backend_of(learnt)
    other = Moved(backend.model, backend.manifest, backend.device)
    assert compare(backend, other, list(shown.x)).largest_px == pytest.approx(0.5, abs=1e-4)  # type: ignore[arg-type]


def test_accuracy_is_told_to_mean_nothing(one_each: Dataset, tmp_path: Path) -> None:
    model = article_network()
    with pytest.warns(UserWarning, match="accuracy means nothing for a regression"):
        model.compile(optimizer="adam", loss="mean_squared_error", metrics=["accuracy"])
    x, y, _ = arrays(one_each)
    model.fit(x, y, epochs=1, verbose=0)  # it runs, as the article says
    with pytest.warns(UserWarning, match="largest"):
        article_network((8, 8), one_each.schema).compile(loss="mse", metrics={"box": ["acc"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(optimizer="adam", loss="mean_squared_error", metrics=[BoxIoU()])


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DekeyError, match=r"input size 30 .* use 32"):
        article_network((32, 30))
    with pytest.raises(DekeyError, match="2 classes"):
        article_network((32, 32), Schema.create(["cat", "dog"], ["nose"]))


def rewritten(source: Path, target: Path, change: dict[str, object]) -> Path:
    """Copy a .keras file with another description of the model."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, json.dumps(change) if name == "config.json" else old.read(name))
    return target


def test_files_from_outside_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.keras"
    article_network().save(good)
    code = "() -> None"
    pickled = {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gASVAAAAAAAAAAAu"}}
    scripted = {"module": "builtins", "class_name": "function", "config": code, "registered_name": "function"}
    for config in (pickled, scripted, {"module": "os", "class_name": "system", "config": {}}, []):
        with pytest.raises(DekeyError, match="opened safely"):
            load_model(rewritten(good, tmp_path / "bad.keras", config))  # type: ignore[arg-type]
    halved = tmp_path / "half.keras"
    halved.write_bytes(good.read_bytes()[:200])
    with pytest.raises(DekeyError, match="is no zip archive"):
        load_model(halved)
    with pytest.raises(DekeyError, match=r"no \.keras file"):
        load_model("hf://someone/something")
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    dense.save(tmp_path / "other.keras")
    with pytest.raises(DekeyError, match="holds a Sequential"):
        load_model(tmp_path / "other.keras")
