"""What Lightning Pose is told and what it answers arrive whole, and it is told to train for as long as was asked."""

from __future__ import annotations

import csv
from pathlib import Path

import lightning_pose
import numpy as np
import pytest
from crops import Crops

import dekey
from dekey.data.embedded import load


def answers(labels: Path, path: Path) -> None:
    """Write a table of labels as the peer would answer it: a likelihood after each place, and nothing left empty."""
    with labels.open(newline="") as stream, path.open("w", newline="") as out:
        for number, row in enumerate(csv.reader(stream)):
            pairs = zip(row[1::2], row[2::2], strict=True)
            third = ("labels", row[1] if number == 1 else "", "likelihood")[number] if number < 3 else "0.9"
            csv.writer(out).writerow([row[0], *(cell for x, y in pairs for cell in (x or "1", y or "1", third))])


def test_labels_written_and_answered_are_found_without_an_error(tmp_path: Path) -> None:
    data = load("train").subset(range(12))
    crops = Crops(data, 128)
    lightning_pose.write_labels(crops, tmp_path, "labels.csv")
    answers(tmp_path / "labels.csv", tmp_path / "predictions.csv")
    keypoints, scores = lightning_pose.read_answers(tmp_path / "predictions.csv", len(data.schema.keypoints))
    found = crops.found(keypoints, scores)
    assert [len(one) for one in found] == [int((~sample.instances.crowd).sum()) for sample in data]
    values = dekey.evaluate(data, found, normaliser="sqrt_box_area").values
    assert values["p90_px"] < 0.01
    assert np.all(scores == 0.9)
    assert len(list((tmp_path / "labels").glob("*.png"))) == len(crops)


def test_what_is_not_annotated_stays_empty(tmp_path: Path) -> None:
    data = load("train").subset(range(2))
    data.instances.keypoints[0, 1] = np.nan
    data.instances.visibility[0, 1] = 0
    lightning_pose.write_labels(Crops(data, 128), tmp_path, "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[3][3:5] == ["", ""]
    assert "" not in rows[3][1:3] + rows[4]


def test_the_configuration_says_how_long(tmp_path: Path) -> None:
    training = lightning_pose.configuration(Crops(load("train"), 128), tmp_path, 600, 10, 3)["training"]
    assert (training["max_steps"], training["val_check_interval"]) == (600, 60)
    assert training["lr_scheduler_params"]["multisteplr"]["milestone_steps"] == [300, 400, 500]
    assert training["rng_seed_model_pt"] == 3


def test_a_step_is_timed_by_the_log() -> None:
    assert lightning_pose.step_seconds([(107.0, 29), (100.0, 9), (104.0, 19), (110.0, 29)]) == 0.5
    with pytest.raises(SystemExit, match="at least two steps"):
        lightning_pose.step_seconds([(100.0, 9)])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--input", "96"], "expected a positive multiple of 128"),
        (["--input", "-128"], "expected a positive multiple of 128"),
        (["--minutes", "0"], "expected more than none"),
        ([], "has no train.json and test.json"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        lightning_pose.main(["--data", "nowhere", *words])
    assert reason in capsys.readouterr().err
