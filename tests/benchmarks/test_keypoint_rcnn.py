"""What Keypoint R-CNN is told and what it answers arrive whole, and its frame is dekey's: its own code is asked."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import keypoint_rcnn
import keypoint_rcnn_program as program
import numpy as np
import peers
import pytest
import race
import torch
from PIL import Image
from torchvision.models.detection.roi_heads import heatmaps_to_keypoints, keypoints_to_heatmap

from dekey.data import Instances
from dekey.data.embedded import load

TASK = {
    "minutes": 0.01,
    "input": 64,
    "backbone": "resnet18",
    "head_layers": 1,
    "head_channels": 16,
    "regions": 16,
    "batch": 2,
    "lr": 0.001,
    "clip": 10.0,
    "seed": 0,
    "bf16": False,
    "threads": 1,
    "looks": 1,
    "classes": 1,
    "keypoints": 2,
    "most_found": 3,
    "mirror": [0, 1],
}


def test_labels_written_and_read_are_found_without_an_error():
    data = load("train").subset(range(12))
    rows = keypoint_rcnn.records(data, teach=False)
    for row in rows:
        row["scores"] = [0.9] * len(row["boxes"])
        row["keypoint_scores"] = [[0.0 for _ in points] for points in row["keypoints"]]
        row["keypoints"] = [[point[:2] for point in points] for points in row["keypoints"]]
    found = keypoint_rcnn.from_records(rows, data.sizes, len(data.schema.keypoints))
    values = peers.evaluated(data, found)
    assert values["AP"] == 1
    assert values["box_AP"] == 1
    assert values["p90_px"] < 1e-3
    measured = peers.measure(data, found, data, found, 0.05)
    assert measured.threshold <= 0.9
    figures = peers.held_out_figures(measured.held_out, Path("nowhere"), 3)
    assert figures["part"] == "a part of train.json by seed 3"
    assert (figures["images"], figures["box_AP"]) == (12, 1)


def test_a_record_by_hand():
    """A box ends at the border; a keypoint outside goes to the box's edge; unlabelled is 0; crowds and slivers are left out."""
    instances = Instances.create(
        [[[20.0, 10.0], [99.0, 25.0]], [[1.0, 1.0], [2.0, 2.0]], [[5.0, 5.0], [6.0, 6.0]], [[50.0, 20.0], [np.nan, np.nan]]],
        boxes=[[-20, 0, 60, 20], [0, 0, 9, 9], [5, 5, 5.5, 30], [40, 10, 60, 30]],
        labels=[1, 0, 0, 0],
        visibility=[[1, 2], [2, 2], [2, 2], [2, 0]],
        crowd=[False, True, False, False],
    )
    row = keypoint_rcnn.to_record(instances, (40, 100), Path("a.png"))
    assert row["boxes"] == [[0, 0, 60, 20], [40, 10, 60, 30]]
    assert row["labels"] == [1, 0]
    assert row["keypoints"] == [[[20, 10, 1], [60, 20, 2]], [[50, 20, 2], [0, 0, 0]]]
    assert keypoint_rcnn.outside_share(instances) == pytest.approx(2 / 7, abs=1e-4)


def test_an_object_without_a_box_gets_its_hull_and_one_without_anything_goes():
    nothing = np.full((2, 2), np.nan)
    instances = Instances.create([[[4.0, 5.0], [14.0, 25.0]], nothing], visibility=[[2, 2], [0, 0]])
    assert keypoint_rcnn.to_record(instances, (40, 100), Path("a.png"))["boxes"] == [[4, 5, 14, 25]]


def test_images_without_a_labelled_keypoint_are_not_taught():
    data = load("train").subset(range(3))
    data.instances.visibility[:] = 0
    data.instances.keypoints[:] = np.nan
    assert len(keypoint_rcnn.records(data, teach=False)) == 3
    with pytest.raises(SystemExit, match="nothing to learn from"):
        keypoint_rcnn.records(data, teach=True)


def test_no_answer_is_no_object():
    row = {"boxes": [], "labels": [], "scores": [], "keypoints": [], "keypoint_scores": []}
    found = keypoint_rcnn.from_records([row], np.array([[40, 100]]), 3)[0]
    assert found.keypoints.shape == (0, 3, 2)
    assert found.boxes.shape == (0, 4)
    target = program.to_target({"boxes": [], "labels": [], "keypoints": []}, 3)
    assert (target["boxes"].shape, target["labels"].shape, target["keypoints"].shape) == ((0, 4), (0,), (0, 3, 3))


def test_the_peers_frame_is_the_corner_of_the_first_pixel():
    """A place is taught as the cell that holds it and answered as that cell's middle: no half pixel is added or lost."""
    region = torch.tensor([[10.0, 20.0, 66.0, 76.0]])  # 56 px: a cell of its map is a pixel
    places = torch.tensor([[[10.5, 20.5, 2.0], [30.5, 41.5, 1.0], [66.0, 76.0, 2.0], [9.9, 30.0, 2.0], [0.0, 0.0, 0.0]]])
    cells, valid = keypoints_to_heatmap(places, region, 56)
    assert valid.tolist() == [[1, 1, 1, 0, 0]]
    maps = torch.zeros(1, 5, 56 * 56).scatter_(2, cells[..., None], 10.0).reshape(1, 5, 56, 56)
    answered, _ = heatmaps_to_keypoints(maps, region)
    torch.testing.assert_close(answered[0, :2, :2], places[0, :2, :2])
    torch.testing.assert_close(answered[0, 2, :2], torch.tensor([65.5, 75.5]))  # on the border: the last cell


def test_a_mirrored_image_has_mirrored_places():
    image = torch.zeros(3, 4, 10, dtype=torch.uint8)
    image[:, 1, 2] = 255  # the pixel from x 2 to 3
    target = {
        "boxes": torch.tensor([[1.0, 0.0, 6.0, 4.0]]),
        "labels": torch.tensor([1]),
        "keypoints": torch.tensor([[[2.5, 1.5, 2.0], [0.0, 0.0, 0.0], [5.0, 3.0, 1.0]]]),
    }
    turned, changed = program.mirrored(image, target, [2, 1, 0])
    assert turned[0, 1, 7] == 255
    assert changed["boxes"].tolist() == [[4.0, 0.0, 9.0, 4.0]]
    assert changed["keypoints"].tolist() == [[[5.0, 3.0, 1.0], [0.0, 0.0, 0.0], [7.5, 1.5, 2.0]]]
    again, same = program.mirrored(turned, changed, [2, 1, 0])
    assert torch.equal(again, image)
    assert torch.equal(same["keypoints"], target["keypoints"])
    assert target["keypoints"][0, 0, 0] == 2.5  # the original is left alone


def test_the_learning_rate_warms_up_and_drops_twice():
    assert program.learning_rate(0) == pytest.approx(1e-3)
    assert program.learning_rate(0.05) == 1
    assert program.learning_rate(0.7) == 1
    assert program.learning_rate(0.8) == pytest.approx(0.1)
    assert program.learning_rate(0.99) == pytest.approx(0.01)


def write_task(folder: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 96, 3), dtype=np.uint8)).save(folder / "a.png")
    row = {"boxes": [[12, 6, 72, 42]], "labels": [0], "keypoints": [[[30, 15, 2], [0, 0, 0]]], "image": str(folder / "a.png")}
    for part in ("train", "val", "test"):
        (folder / f"{part}.json").write_text(json.dumps([row]))


def test_images_are_scaled_with_their_places(tmp_path: Path):
    write_task(tmp_path)
    ((image, target, factor),) = program.read_part(tmp_path / "train.json", 64, 2)
    assert image.shape == (3, 32, 64)
    assert factor == (64 / 96, 32 / 48)
    np.testing.assert_allclose(target["boxes"].numpy(), [[8, 4, 48, 28]], rtol=1e-6)
    np.testing.assert_allclose(target["keypoints"].numpy(), [[[20, 10, 2], [0, 0, 0]]], rtol=1e-6)
    assert target["labels"].tolist() == [1]  # 0 is the background


def test_a_run_of_the_program_leaves_what_is_read(tmp_path: Path):
    """Training moves the weights and sees positives; the chosen weights answer inside the file's image."""
    write_task(tmp_path)
    program.train(TASK, tmp_path)
    history = json.loads((tmp_path / "history.json").read_text())
    assert history["steps"] >= 1
    assert len(history["looks"]) == 1
    assert history["images"] == history["steps"]
    trained, fresh = torch.load(tmp_path / "weights_0.pt", weights_only=True), program.build(TASK).state_dict()
    assert trained.keys() == fresh.keys()
    assert all(math.isfinite(value.double().sum()) for value in trained.values())
    program.test({**TASK, "look": 0}, tmp_path)
    answer = json.loads((tmp_path / "found_test.json").read_text())
    (found,) = keypoint_rcnn.from_records(answer["found"], np.array([[48, 96]]), 2)
    assert np.isfinite(found.keypoints).all()
    assert (found.boxes <= [96, 48, 96, 48]).all()


def test_every_part_of_the_network_learns_from_an_object(tmp_path: Path):
    write_task(tmp_path)
    ((image, target, _),) = program.read_part(tmp_path / "train.json", 64, 2)
    torch.manual_seed(0)
    losses = program.build(TASK).train()([image / 255, image / 255], [target, target])
    assert all(value > 0 for value in losses.values()), losses
    # A cell of 56 by 56 is to be found; a guess costs log(56²), and less would mean that nothing is asked.
    assert losses["loss_keypoint"].item() > 0.5 * math.log(56 * 56)


def test_the_shape_of_the_head_is_read():
    assert keypoint_rcnn.head("8x512") == (8, 512)
    for wrong in ("8", "x512", "0x4", "axb"):
        with pytest.raises(Exception, match="LAYERSxCHANNELS"):
            keypoint_rcnn.head(wrong)


def test_the_script_tests_its_best_look_and_writes_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The program is stood in for: its first look finds everything, its last nothing; the first one's weights are tested."""
    train, held_out = load("train"), load("test")
    parts = {"train": train.subset(range(9)), "val": train.subset(range(9, 15)), "test": held_out.subset(range(6))}
    tasks = []

    def answers(folder: Path, part: str) -> list[dict[str, Any]]:
        rows = json.loads((folder / f"{part}.json").read_text())
        for row in rows:
            row["scores"] = [0.8] * len(row["boxes"])
            row["keypoint_scores"] = [[1.0 for _ in points] for points in row["keypoints"]]
            row["keypoints"] = [[point[:2] for point in points] for points in row["keypoints"]]
        return rows

    def stand_in(command: list[str], folder: Path, variables: object, seconds: float) -> float:
        task = json.loads((folder / "task.json").read_text())
        tasks.append(task)
        if task["do"] == "train":
            good = answers(folder, "val")
            program.write(folder / "found_0.json", good)
            empty = {key: [] for key in ("boxes", "labels", "scores", "keypoints", "keypoint_scores")}
            program.write(folder / "found_1.json", [empty for _ in good])
            looks = [{"seconds": 30.0, "images": 18}, {"seconds": 60.0, "images": 36}]
            program.write(folder / "history.json", {"looks": looks, "images": 36, "steps": 9, "parameters": 5})
        else:
            program.write(folder / "found_test.json", {"found": answers(folder, "test"), "ms_per_image": 12.5})
        return 2048.0

    monkeypatch.setattr(peers, "splits", lambda data: (parts["train"], parts["val"], parts["test"]))
    monkeypatch.setattr(peers, "make_environment", lambda *given: tmp_path)
    monkeypatch.setattr(peers, "versions", lambda *given: {"torchvision": "1"})
    monkeypatch.setattr(peers, "run", stand_in)
    words = [
        "x",
        "--data",
        str(tmp_path / "tubes"),
        "--minutes",
        "1",
        "--environment",
        str(tmp_path),
        "--results",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", words)
    keypoint_rcnn.main()
    assert [task["do"] for task in tasks] == ["train", "test"]
    assert tasks[1]["look"] == 0
    assert tasks[0]["mirror"] == parts["train"].schema.mirror.tolist()  # type: ignore[union-attr]
    result = json.loads((tmp_path / "accuracy-tubes-keypoint_rcnn-resnet18-320px-1m-seed0.json").read_text())
    assert result["method"] == race.METHODS["keypoint_rcnn"].method
    assert result["detection"]["box_AP"] == 1
    assert result["epochs"] == 4
    assert result["images_per_second"] == 0.6
    details = result["details"]
    assert details["curve"] == [[30, 1, 0], [60, 0, None]]
    assert (details["peak_memory_mib"], details["ms_per_image"]) == (2048, {"torch": 12.5})
    assert details["held_out"]["images"] == 6
