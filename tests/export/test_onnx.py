from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dekey
from dekey.data.images import read_image
from dekey.errors import DekeyError
from dekey.export import PARITY_PX, Parity, compare, export_onnx
from dekey.export import onnx as export
from dekey.models.checkpoint import TorchBackend, load_torch_backend
from dekey.runtime import OnnxBackend


@pytest.fixture(scope="module")
def backend(small_run: Path) -> TorchBackend:
    return load_torch_backend(small_run / "model.safetensors", "cpu")


@pytest.fixture(scope="module")
def pictures(small_data: Path) -> list[np.ndarray]:
    return [read_image(file) for file in sorted((small_data.parent / "images").iterdir())]


def test_torch_and_onnx_runtime_answer_alike_on_real_objects(small_run: Path, small_onnx: Path, small_data: Path) -> None:
    data = dekey.read(small_data)
    ours, theirs = (dekey.load(path, "cpu").predict_dataset(data) for path in (small_run, small_onnx))
    sure = 0
    for one, other in zip(ours, theirs, strict=True):
        assert one.keypoint_scores is not None
        assert other.keypoint_scores is not None
        np.testing.assert_allclose(other.keypoint_scores, one.keypoint_scores, atol=1e-4)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)
        np.testing.assert_array_equal(other.visibility, one.visibility)
        found = one.keypoint_scores >= 0.2
        sure += int(found.sum())
        np.testing.assert_allclose(other.keypoints[found], one.keypoints[found], atol=0.05)
    assert sure > 40  # of 48: the comparison is about something


def test_the_network_has_learnt_its_pictures(small_onnx: Path, small_data: Path) -> None:
    """Else the fixture proves nothing about where keypoints are."""
    figures = dekey.evaluate(dekey.read(small_data), dekey.load(small_onnx))
    assert figures["median_px"] < 8


def test_the_manifest_is_that_of_the_run(backend: TorchBackend, small_onnx: Path) -> None:
    assert OnnxBackend(small_onnx).manifest == backend.manifest


def test_the_check_measures_every_picture(backend: TorchBackend, pictures: list[np.ndarray], tmp_path: Path) -> None:
    parity = export_onnx(backend, tmp_path / "model.onnx", pictures * 2)
    assert parity.images == 2 * len(pictures)
    assert 0 < parity.keypoints <= 4 * len(pictures)
    assert parity.largest_px <= PARITY_PX
    assert parity.largest_score < 1e-4
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize("limit", ["PARITY_PX", "PARITY_SCORE"])
@pytest.mark.parametrize("earlier", [None, b"an earlier model"], ids=["none before", "one before"])
def test_a_graph_that_answers_otherwise_leaves_nothing_behind(
    limit: str,
    earlier: bytes | None,
    backend: TorchBackend,
    pictures: list[np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "model.onnx"
    if earlier is not None:
        path.write_bytes(earlier)
    monkeypatch.setattr(export, limit, -1)
    with pytest.raises(DekeyError, match=r"the exported graph moves a keypoint by .* nothing was written"):
        export_onnx(backend, path, pictures[:1])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if earlier is None else [earlier])


class Shifted:
    """What an exporter with a fault would give: the model's own arrays, one keypoint changed."""

    def __init__(self, backend: TorchBackend, shift: float) -> None:
        self.backend, self.shift = backend, shift

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        found = {name: values.copy() for name, values in self.backend.run(images).items()}
        row, column = np.argwhere(found["keypoint_scores"][:, 0] > 0.5)[-1]
        found["keypoints"][row, 0, column, 0] += self.shift
        return found


def test_one_moved_keypoint_among_many_is_seen(backend: TorchBackend, pictures: list[np.ndarray]) -> None:
    assert compare(backend, Shifted(backend, 0.0), pictures).largest_px == 0  # type: ignore[arg-type]
    assert compare(backend, Shifted(backend, 0.3), pictures).largest_px == pytest.approx(0.3, abs=1e-4)  # type: ignore[arg-type]


def test_what_is_no_number_does_not_pass(
    backend: TorchBackend, pictures: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert np.isnan(compare(backend, Shifted(backend, np.nan), pictures).largest_px)  # type: ignore[arg-type]
    monkeypatch.setattr(export, "compare", lambda *_: Parity(1, 1, float("nan"), 0.0))
    with pytest.raises(DekeyError, match="nan px"):
        export_onnx(backend, tmp_path / "model.onnx", pictures[:1])


def test_without_pictures_there_is_no_proof(backend: TorchBackend, tmp_path: Path) -> None:
    with pytest.raises(DekeyError, match="no picture"):
        export_onnx(backend, tmp_path / "model.onnx", [])


def test_the_model_is_as_before(backend: TorchBackend, pictures: list[np.ndarray], tmp_path: Path) -> None:
    inputs = np.stack([picture[:64, :96] for picture in pictures])
    before = backend.run(inputs)
    export_onnx(backend, tmp_path / "model.onnx", pictures[:1])
    for name, values in backend.run(inputs).items():
        np.testing.assert_array_equal(values, before[name])
