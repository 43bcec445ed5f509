from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dekey.cli import main
from tests.cli.conftest import Place

QUICK = ["--seconds", "0.2", "--threads", "1", "--batch-size", "2", "--device", "cpu"]


def test_figures_as_json(small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(small_onnx), "--images", str(small_data.parent / "images"), "--json", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("opening ")
    answer = json.loads(out)
    assert answer["pictures"] == 12
    assert (answer["threads"], answer["batch_size"], answer["precision"]) == (1, 2, "fp32")
    assert set(answer["milliseconds"]) == {"read", "warp", "network", "answers", "whole", "network_alone"}
    for one in answer["milliseconds"].values():
        assert 0 < one["median"] <= one["p90"]
        assert one["calls"] >= 2
    assert set(answer["images_per_second"]) == {"one_at_a_time", "batches", "at_once"}
    assert answer["gflop_per_second"] == pytest.approx(
        answer["gflop_per_image"] / answer["milliseconds"]["network_alone"]["median"] * 1e3
    )
    assert answer["bytes"]["many"]["peak"] >= answer["bytes"]["one_at_a_time"]["peak"] >= answer["bytes"]["start"]["peak"]


def test_the_table_is_for_persons(small_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", str(small_onnx), *QUICK]) == 0
    out = capsys.readouterr().out
    for part in (
        "ONNX Runtime",
        "1, the first of 640x480",
        "1 objects",
        "median ms",
        "read ahead, batches of 2",
        "GFLOP",
        "MB",
    ):
        assert part in out, part
    assert max(map(len, out.splitlines())) <= 128


def test_one_picture_of_ones_own(small_onnx: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = next((small_data.parent / "images").iterdir())
    assert main(["benchmark", str(small_onnx), "--image", str(picture), "--json", *QUICK]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["pictures"], answer["first_picture"]["bytes"]) == (1, picture.stat().st_size)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seconds", "0"], "found --seconds 0"),
        (["--seconds", "nan"], "found --seconds nan"),
        (["--threads", "0"], "found 0 threads"),
        (["--batch-size", "0"], "found --batch-size 0"),
        (["--image", "PLACE"], "use --images"),
        (["--images", "PLACE/1.png"], "use --image"),
        (["--images", "PLACE/pictures"], "holds no image"),
        (["--image", "PLACE/gone.png"], "no pattern that matches"),
        (["--image", "a", "--images", "b"], "not allowed with"),
        (["--runtime", "torch"], "found runtime torch"),
        (["--device", "tpu"], "there is no device 'tpu'"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], expected: str, place: Place, complain: Callable[[list[str]], tuple[str, list[str]]]
) -> None:
    own = [word.replace("PLACE", str(place.folder)) for word in words]
    sentence, _ = complain(["benchmark", str(place / "model.onnx"), *own])
    assert expected in sentence


def test_a_model_that_is_none_is_one_sentence(place: Place, complain: Callable[[list[str]], tuple[str, list[str]]]) -> None:
    sentence, _ = complain(["benchmark", str(place / "gone.onnx")])
    assert "does not exist" in sentence
