"""The program of docs/commands/export.md, which knows nothing of dekey, answers as dekey does."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dekey
from dekey.data import Dataset
from dekey.export import export_onnx
from dekey.models.checkpoint import load_torch_backend

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands" / "export.md"


def program_of(model: Path) -> Callable[..., dict[str, Any]]:
    """Run the definitions of the page's program on a model."""
    (text,) = re.findall(r"```python no-run\n(import json\n.*?)\nfound = ", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert text.count('"hands.onnx"') == 1
    names: dict[str, Any] = {}
    exec(compile(text.replace('"hands.onnx"', repr(str(model))), str(PAGE), "exec"), names)
    find: Callable[..., dict[str, Any]] = names["find"]
    return find


def test_it_answers_as_dekey_does(shapes_run: Path, shapes: Callable[..., Dataset], tmp_path: Path) -> None:
    pictures = [sample.read_image() for sample in shapes(9, seed=5)]
    export_onnx(load_torch_backend(shapes_run / "model.safetensors", "cpu"), tmp_path / "shapes.onnx", pictures)
    find, model = program_of(tmp_path / "shapes.onnx"), dekey.load(tmp_path / "shapes.onnx")
    seen = 0
    for picture in pictures:
        answer, own = find(picture), model(picture)
        np.testing.assert_array_equal(answer["labels"], own.labels)
        np.testing.assert_allclose(answer["boxes"], own.boxes, atol=1e-3)
        np.testing.assert_allclose(answer["keypoints"], own.keypoints, atol=1e-3)
        np.testing.assert_allclose(answer["scores"], own.scores, atol=1e-6)
        seen += len(own)
    assert seen >= 9


@pytest.mark.parametrize("shape", [(270, 480), (135, 100)])
def test_it_cuts_out_and_maps_back_as_dekey_does(small_onnx: Path, shape: tuple[int, int], small_data: Path) -> None:
    import cv2

    picture = cv2.imread(str(min((small_data.parent / "images").iterdir())))[: shape[0], : shape[1], ::-1]
    picture = np.ascontiguousarray(picture)
    box = [20.0, 30.0, shape[1] - 25.0, shape[0] - 20.0]
    answer = program_of(small_onnx)(picture, box)
    own = dekey.load(small_onnx)(picture, np.array([box]))
    # The two inputs differ at the border of what is averaged.
    np.testing.assert_allclose(answer["keypoints"], own.keypoints, atol=2.0)
