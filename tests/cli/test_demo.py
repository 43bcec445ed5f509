from __future__ import annotations

import json
from pathlib import Path

import pytest

from dekey.cli import main


@pytest.mark.slow
def test_the_demo_goes_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--budget", "12s", "--out", str(out)]) == 0
    stdout, stderr = capsys.readouterr()
    answer = json.loads(stdout)
    assert answer["model"] == str(out)
    assert answer["held_out"]["median_px"] > 0
    assert answer["mean_pose_baseline"]["median_px"] > 0
    lines = stderr.splitlines()
    assert lines[0].startswith("dekey demo: 111 photographs")
    assert str((out / "report.html").resolve()) in stderr
    assert lines[-1] == f"next: dekey export {out}"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "http://" not in report.replace("http://www.w3.org", "")  # one file that needs no network
