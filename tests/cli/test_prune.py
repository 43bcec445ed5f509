from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

import dekey
from dekey.cli import main
from dekey.data.images import read_image
from dekey.files import sha256
from dekey.models.checkpoint import load_model

pytest.importorskip("torch_pruning")


@pytest.fixture(scope="module")
def pruned(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder of `small_run` with half of its channels, trained on for an epoch."""
    out = tmp_path_factory.mktemp("pruned") / "run"
    assert main(["prune", str(small_run), "--out", str(out), "--epochs=1", "--seed=3"]) == 0
    return out


def test_a_pruned_run_is_a_run_like_any_other(pruned: Path, small_run: Path) -> None:
    facts, before = (json.loads((folder / "run.json").read_text()) for folder in (pruned, small_run))
    digest = sha256(small_run / "model.safetensors")
    assert facts["parameters"] < 0.45 * before["parameters"]
    assert facts["weights"] == f"run, 50% of its channels (SHA-256 {digest})"
    assert facts["teacher"] == {"model": str(small_run), "sha256": digest}
    config = yaml.safe_load((pruned / "config.yaml").read_text())
    assert config["start"] == {"model": str(small_run), "keep": 0.5}
    assert config["run"]["epochs"] == 1
    assert config["run"]["seed"] == 3
    assert config["model"] == yaml.safe_load((small_run / "config.yaml").read_text())["model"]
    _, manifest = load_model(pruned / "model.safetensors")
    assert manifest.architecture["widths"]["decoder.norms.2"] == [16, 16]


def test_it_is_exported_and_answers_alike(pruned: Path, small_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(pruned), "--images", str(small_data.parent / "images")]) == 0
    image = read_image(min((small_data.parent / "images").iterdir()))
    box = np.array([[10.0, 10, 200, 150]])
    own, exported = (dekey.load(path, "cpu")(image, boxes=box) for path in (pruned, pruned / "model.onnx"))
    np.testing.assert_allclose(own.keypoints, exported.keypoints, atol=0.02)


def test_it_goes_on_from_its_checkpoint_without_the_run_it_came_from(
    pruned: Path, small_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    hidden = small_run.with_name("elsewhere")
    config = (small_run / "config.yaml").read_text()
    small_run.rename(hidden)
    try:
        small_run.mkdir()
        (small_run / "config.yaml").write_text(config)
        words = ["prune", str(small_run), "--out", str(pruned), "--resume"]
        assert main(words) == 2
        assert "say with --teacher where it lies now" in capsys.readouterr().err
        assert main([*words, "--teacher", str(hidden)]) == 0
        assert "already over" in capsys.readouterr().err
    finally:
        (small_run / "config.yaml").unlink(missing_ok=True)
        small_run.rmdir()
        hidden.rename(small_run)


def test_mistakes_are_told_before_torch_is_loaded(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in [
        ([str(tmp_path)], "found no config.yaml in"),
        ([str(small_run), "--keep", "1.5"], "configuration key 'start.keep' is 1.5"),
        ([str(small_run), "--keep", "0"], "configuration key 'start.keep' is 0.0"),
        ([str(small_run), "--epochs", "2", "--budget", "10s"], "give one of them"),
        ([str(small_run), "--resume", "--out", str(tmp_path / "none")], "holds no run to resume"),
        ([str(small_run), "--teacher", str(tmp_path)], "is a folder without model.safetensors"),
    ]:
        assert main(["prune", *words]) == 2
        error = capsys.readouterr().err
        assert told in error
        assert "loading torch" not in error


def test_a_run_may_start_from_another_as_it_is(
    small_run: Path, small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained on at a rate of nearly nothing, it answers as before; network, input and region follow from the model."""
    words = [str(small_data), "--epochs=1", "--device=cpu", "--set=data.workers=1", "--set=optim.lr=1e-9"]
    assert main(["train", *words, "--out", str(tmp_path / "run"), f"--set=start.model={small_run}"]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["model"]["backbone"] == "test_resnet"
    assert config["model"]["input_size"] == [64, 96]
    own, other = (load_model(folder / "model.safetensors")[0].state_dict() for folder in (small_run, tmp_path / "run"))
    weights = [name for name in own if "running" not in name and "num_batches" not in name]
    assert all(np.allclose(own[name], other[name], atol=1e-5) for name in weights)
    capsys.readouterr()
    values = json.loads(small_data.read_text())
    values["categories"][0]["keypoints"] = values["categories"][0]["keypoints"][::-1]
    swapped = tmp_path / "swapped.json"
    swapped.write_text(json.dumps(values))
    words[0] = str(swapped)
    folder = ["--images", str(small_data.parent), "--out", str(tmp_path / "other"), f"--set=start.model={small_run}"]
    assert main(["train", *words, *folder]) == 2
    assert "expected the same in the same order" in capsys.readouterr().err


def test_the_folder_at_hand_is_pruned_without_a_teacher_and_resumed(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.chdir(small_run)
    assert main(["prune", ".", "--out", str(out), "--epochs=1", "--teacher=none"]) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["teacher"]["model"] is None
    assert config["augment"]["small"] == 0
    assert main(["prune", ".", "--out", str(out), "--teacher=none", "--resume"]) == 0
    assert "already over" in capsys.readouterr().err
