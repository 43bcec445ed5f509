from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dekey.cli import main

NETWORK = [
    "--set=model.kind=heatmap",
    "--set=model.backbone=test_resnet",
    "--set=model.pretrained=false",
    "--set=model.input_size=[64, 96]",
    "--device=cpu",
]


def test_a_label_file_becomes_a_run_folder_and_figures(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "run"
    words = [str(small_data), "--out", str(out), "--epochs=2", "--batch-size=4", "--seed=3", "--set", "optim.lr=1e-3", *NETWORK]
    assert main(["train", *words]) == 0
    stdout, stderr = capsys.readouterr()
    answer = json.loads(stdout)
    assert answer["model"] == str(out)
    assert Path(answer["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert answer["held_out"].keys() == answer["mean_pose_baseline"].keys() >= {"median_px", "nme"}
    assert {"model.safetensors", "config.yaml", "evaluation.json", "log.csv", "run.json", "last.ckpt"} <= set(os.listdir(out))  # noqa: PTH208
    config = (out / "config.yaml").read_text()
    assert "lr: 0.001" in config
    assert "seed: 3" in config
    assert sum(line.startswith("weights: random weights, as asked") for line in stderr.splitlines()) == 1


def test_the_configuration_of_a_run_starts_the_same_run(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", str(small_data), "--out", str(first), "--epochs=1", "--set=data.workers=1", *NETWORK]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main(["train", str(small_data), "--out", str(second), "--config", str(first / "config.yaml")]) == 0
    assert json.loads(capsys.readouterr().out)["held_out"] == one["held_out"]


def test_a_finished_run_is_measured_again_on_resume(
    small_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["train", str(small_data), "--out", str(out), "--epochs=1", *NETWORK]) == 0
    one = json.loads(capsys.readouterr().out)
    assert main(["train", str(small_data), "--out", str(out), "--resume"]) == 0
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["held_out"] == one["held_out"]
    assert "already over" in stderr


def interrupted(words: list[str], seconds: float) -> tuple[int, list[str], str]:
    """Run `dekey train`, press Ctrl-C some seconds after training began; give exit code, standard error and output."""
    program = [sys.executable, "-c", "import sys; from dekey.cli import main; sys.exit(main())", "train"]
    running = subprocess.Popen([*program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stderr is not None
        said = []
        for line in running.stderr:
            said.append(line.rstrip("\n"))
            if line.startswith("training"):
                break
        time.sleep(seconds)
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=60)
        return running.returncode, said + stderr.splitlines(), stdout
    finally:
        running.kill()
        running.communicate()


@pytest.mark.slow
def test_the_keyboard_stops_a_run_that_can_go_on(small_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, lines, stdout = interrupted([str(small_data), "--out", str(out), "--epochs=3000", "--batch-size=2", *NETWORK], 3)
    assert (code, stdout) == (130, ""), lines
    assert lines[-2:] == [f"stopped; the run so far is in {out}, go on with --resume", "dekey: stopped by the keyboard"]
    assert not any("Traceback" in line for line in lines)
    assert (out / "last.ckpt").is_file()
    code, lines, _ = interrupted([str(small_data), "--out", str(out), "--resume"], 1)
    assert code == 130, lines
    steps = [int(found[1]) for line in lines if (found := re.match(r"going on at step (\d+)", line))]
    assert len(steps) == 1
    assert steps[0] > 0
