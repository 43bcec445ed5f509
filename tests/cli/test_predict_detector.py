"""`dekey predict` with a detector, by an exported graph that finds bright spots."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import dekey
from dekey.cli import main
from dekey.data import Schema
from dekey.data.images import read_image
from dekey.runtime import Manifest

SCHEMA = Schema.create(["red", "purple"], ["centre", "right"], edges=[[0, 1]], present=[[True, True], [True, False]])
SIZE, OBJECTS = 128, 12


def spot_backend(**stated: Any) -> Any:
    """A network without weights to learn: where the mean of 9x9 px of red is highest lies the centre of a spot.

    Args:
        stated: what the manifest says otherwise.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional

    from dekey.models.checkpoint import TorchBackend

    count = stated.get("objects", OBJECTS)

    class Spots(nn.Module):
        def detect(self, images: Tensor) -> dict[str, Tensor]:
            mean = functional.avg_pool2d(images[:, [0, 2]].float() / 255, 9, 1, 4)
            heat = mean[:, :1]
            peaks = torch.where(heat == functional.max_pool2d(heat, 9, 1, 4), heat, torch.zeros_like(heat))
            # No two places have one score, so that every runtime gives the same order; what is no spot is below 0.
            scores, places = (peaks.flatten(1) - torch.linspace(1e-6, 1e-3, SIZE * SIZE)).topk(count)
            x, y = (places % SIZE).float() + 0.5, torch.div(places, SIZE, rounding_mode="floor").float() + 0.5
            centres = torch.stack([x, y], -1)
            ones = torch.ones_like(torch.stack([scores, scores], -1))
            return {
                "boxes": torch.cat([centres - 4.5, centres + 4.5], -1),
                "scores": scores,
                "labels": (mean[:, 1].flatten(1).gather(1, places) > 0.3).long(),
                "keypoints": torch.stack([centres, centres + torch.tensor([4.0, 0.0])], -2),
                "keypoint_scores": 0.8 * ones,
                "visibility": ones,
            }

    values: dict[str, Any] = {"region": "image", "objects": OBJECTS, "finds_boxes": True, "object_threshold": 0.6, **stated}
    manifest = Manifest(
        kind="center", keypoint_schema=SCHEMA.to_dict(), input_size=(SIZE, SIZE), padding=1.0, architecture={}, **values
    )
    return TorchBackend(Spots().eval(), manifest, torch.device("cpu"))


def picture(size: tuple[int, int], spots: list[tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Spots of 9x9 px by left, top and blue."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    for left, top, blue in spots:
        image[top : top + 9, left : left + 9] = 255, 0, blue
    return image


NEAR = [(20, 30, 0), (70, 80, 255)]
FAR = [(20, 30, 0), (123, 100, 255), (400, 300, 0), (490, 60, 0)]


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, a small picture and a large one."""
    from dekey.export import export_onnx

    folder = tmp_path_factory.mktemp("spots")
    export_onnx(spot_backend(), folder / "spots.onnx", [picture((SIZE, SIZE), NEAR)])
    crops = spot_backend(region="box", objects=1, finds_boxes=False, object_threshold=0.0)
    export_onnx(crops, folder / "crops.onnx", [picture((SIZE, SIZE), NEAR)])
    Image.fromarray(picture((SIZE, SIZE), NEAR)).save(folder / "near.png")
    Image.fromarray(picture((384, 512), FAR)).save(folder / "far.png")
    return folder


def records(capsys: pytest.CaptureFixture[str], *words: object) -> list[dict[str, Any]]:
    assert main(["predict", *map(str, words)]) == 0
    answer: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return answer


def test_every_object_has_box_class_score_and_the_keypoints_of_its_class(
    spots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = sorted(records(capsys, spots / "spots.onnx", spots / "near.png"), key=lambda each: each["bbox"][0])
    assert [each["category_id"] for each in found] == [1, 2]
    assert [each["bbox"] for each in found] == [[20, 30, 9, 9], [70, 80, 9, 9]]
    assert found[0]["keypoints"] == pytest.approx([24, 34, 0.8, 28, 34, 0.8])
    assert found[1]["keypoints"] == pytest.approx([74, 84, 0.8])
    assert all(each["score"] == pytest.approx(1.0, abs=1e-2) for each in found)


def test_tiles_and_scales_find_what_the_whole_picture_hides(spots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Fitted into 128 px a spot is a fourth as wide, and too faint over 9x9 px."""
    model, file = spots / "spots.onnx", spots / "far.png"
    assert records(capsys, model, file) == []
    for words in (["--tiles=128"], ["--tiles=128", "--overlap=0.5"], ["--scales=1,4"], ["--scales", "1", "--scales", "4"]):
        found = sorted(records(capsys, model, file, *words), key=lambda each: each["bbox"][0])
        assert [each["bbox"][:2] for each in found] == [[left, top] for left, top, _ in FAR]
        assert [each["category_id"] for each in found] == [1, 2, 1, 1]


def test_torch_and_onnx_look_alike_at_tiles(spots: Path) -> None:
    image = read_image(spots / "far.png")
    ours = dekey.Predictor(spot_backend(), tiles=128)(image)
    theirs = dekey.load(spots / "spots.onnx", tiles=128, batch_size=3)(image)
    assert len(ours) == len(FAR)
    np.testing.assert_allclose(theirs.keypoints, ours.keypoints, atol=1e-3)
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)


def test_the_threshold_decides_what_counts(spots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = spots / "edge.png"
    image = picture((SIZE, SIZE), [(20, 30, 0)])
    image[80:89, 60:69] = 140, 0, 0  # a dim one
    Image.fromarray(image).save(file)
    assert len(records(capsys, spots / "spots.onnx", file)) == 1
    assert len(records(capsys, spots / "spots.onnx", file, "--threshold=0.5")) == 2
    assert records(capsys, spots / "spots.onnx", file, "--threshold=1") == []


def test_drawings_show_the_boxes(spots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(spots / "spots.onnx"), str(spots / "near.png"), "--draw", str(tmp_path / "drawn")]
    assert len(records(capsys, *words)) == 2
    drawn, plain = read_image(tmp_path / "drawn" / "near.jpg"), read_image(spots / "near.png")
    changed = np.abs(drawn.astype(int) - plain).max(-1) > 60
    for left, top, _ in NEAR:
        assert np.any(changed[top + 4, left : left + 2])  # the left side of the box
        assert np.any(changed[max(top - 12, 0) : top, left : left + 20])  # class and score above it


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--threshold=2"], "threshold of 2, expected a score from 0 to 1"),
        (["--threshold=nan"], "threshold of nan"),
        (["--threshold=high"], "invalid float value"),
        (["--tiles=5"], "tiles of 5 px, expected 16 or more"),
        (["--tiles=many"], "invalid int value"),
        (["--tiles=64", "--overlap=1"], "overlap of 1, expected a share"),
        (["--overlap=0.3"], "found --overlap without --tiles or --scales"),
        (["--scales=big"], "found --scales big, expected numbers"),
        (["--scales=1,,2"], "found --scales 1,,2, expected numbers"),
        (["--scales=0"], "scale 0, expected"),
        (["--scales=-2"], "scale -2, expected"),
        (["--tiles=64"], "found tiles or scales for a model of one object for each crop"),
        (["--scales=2"], "found tiles or scales for a model of one object for each crop"),
        (["--threshold=0.5"], "found a threshold of 0.5 for a model of crops"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(
    words: list[str], expected: str, spots: Path, complain: Callable[[list[str]], tuple[str, list[str]]]
) -> None:
    assert expected in complain(["predict", str(spots / "crops.onnx"), str(spots / "near.png"), *words])[0]


def test_a_detector_takes_no_boxes(spots: Path, place: Any, complain: Callable[[list[str]], tuple[str, list[str]]]) -> None:
    words = ["predict", str(spots / "spots.onnx"), str(place / "1.png"), "--boxes", str(place / "train.json")]
    assert "found --boxes for" in complain(words)[0]


def test_a_picture_cut_into_too_many_views_is_one_sentence(
    spots: Path, place: Any, complain: Callable[[list[str]], tuple[str, list[str]]]
) -> None:
    words = ["predict", str(spots / "spots.onnx"), str(spots / "far.png"), "--tiles=16", "--overlap=0.9"]
    assert "views, expected at most 4096" in complain(words)[0]
