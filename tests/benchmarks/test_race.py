"""The race takes turns, goes on where it stopped, and compares times only where they can be compared."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import memory
import peers
import pytest
import race
import race_rows
import record
import tables
import yolo_pose

FACTS: dict[str, Any] = {
    "machine": {"cpu": "A", "cores": 2, "flags": [], "memory_gib": 8.0, "load_before": 0.0},
    "versions": {"python": "3.12.0", "torch": "2.6.0"},
    "commit": {"id": "0123456789abcdef", "dirty": False},
    "date": "2026-01-02T03:04:05+00:00",
}
HELD_OUT = {"part": "val.json", "images": 34, "box_AP": 0.8, "median_px": 9.0}


def result(method: str, curve: list[list[float | None]], minutes: float = 10, seed: int = 0, **details: Any) -> dict[str, Any]:
    values = {"nme": 0.05, "median_px": 9.0, "p90_px": 20.0, "AP": 0.5, "box_AP": 0.75}
    given = {"held_out": HELD_OUT, "curve": curve, **details}
    payload: dict[str, Any] = record.accuracy("hatches", method, seed, minutes, 320, 5, 26, values, given)
    return payload | FACTS


DEKEY = [[60.0, 0.7, 8.0], [120.0, 0.9, 12.0], [180.0, 0.85, 8.5], [240.0, 0.95, 5.0]]


def test_as_good_means_both_figures_at_one_look():
    peer = result("peer", [[500.0, 0.8, None]])
    assert race_rows.as_good_after([peer], [[result("dekey", DEKEY)]]) == 180
    without = result("peer", [], held_out={key: value for key, value in HELD_OUT.items() if key != "median_px"})
    assert race_rows.as_good_after([without], [[result("dekey", DEKEY)]]) == 120
    better = result("peer", [], held_out=HELD_OUT | {"box_AP": 0.99})
    assert race_rows.as_good_after([better], [[result("dekey", DEKEY)]]) is None


@pytest.mark.parametrize("other", [{"images": 20}, {"part": "a part of train.json by seed 1"}])
def test_other_held_out_images_are_not_compared(other: dict[str, Any]):
    rival = result("dekey", DEKEY, held_out=HELD_OUT | other)
    assert race_rows.as_good_after([result("peer", [])], [[rival]]) is None


def test_every_seed_has_to_get_there_and_the_quickest_duration_counts():
    slow = [[300.0, 0.9, 5.0]]
    never: list[list[float | None]] = [[300.0, 0.1, 5.0], [400.0, None, None]]
    peer = result("peer", [])
    assert race_rows.as_good_after([peer], [[result("dekey", DEKEY), result("dekey", slow, seed=1)]]) == 240
    assert race_rows.as_good_after([peer], [[result("dekey", DEKEY), result("dekey", never, seed=1)]]) is None
    assert race_rows.as_good_after([peer], [[result("dekey", slow, 30)], [result("dekey", DEKEY)]]) == 180


def test_the_table():
    results = [
        result(
            "peer", [[200.0, 0.7, None], [400.0, 0.8, None], [600.0, 0.8, None]], ms_per_image={"torch": 30.0, "OpenVINO": 7.5}
        ),
        result("dekey", DEKEY, peak_memory_mib=1234.4),
        result("old", [], held_out={}),
    ]
    lines = tables.table("race", results).splitlines()
    assert len(lines) == 6
    rows = {line.split(" | ")[1]: line for line in lines[2:4]}
    assert rows["peer"].endswith("| 80.0 % | 6.7 min | 3.0 min | 7.5 (OpenVINO) | – | 1 |")
    assert rows["dekey"].endswith("| 80.0 % | 4.0 min |  | – | 1234 | 1 |")
    assert tables.table("race", results[2:]) == "not measured"


def test_the_short_table_has_the_short_races_alone():
    results = [result("dekey", DEKEY, ms_per_image={"torch": 9.0}), result("dekey", DEKEY, minutes=30)]
    lines = tables.table("race_short", results).splitlines()
    assert lines[2] == "| hatches | dekey | 10 | 75.0 % | 50.0 % | 9.00 | – | 9.0 (torch) |"
    assert len(lines) == 5
    assert tables.table("race_short", results[1:]) == "not measured"


def test_the_short_table_is_of_the_machine_asked_last():
    newer = {"date": "2026-02-02T03:04:05+00:00", "machine": FACTS["machine"] | {"cpu": "B"}}
    results = [result("dekey", DEKEY), result("peer", DEKEY) | newer, result("dekey", DEKEY, minutes=30)]
    text = tables.table("race_short", results)
    assert [line.split(" | ")[1] for line in text.splitlines()[2:-2]] == ["peer"]
    assert "Measured on B," in text
    assert "Measured on A," not in text


def test_batch_sizes_are_compared_where_there_are_several():
    results = [
        result("dekey", DEKEY, batch_size=4),
        result("dekey, run.batch_size=2", DEKEY, batch_size=2),
        result("dekey, run.batch_size=8, optim.lr=0.1", DEKEY, batch_size=8),
        result("dekey", DEKEY, minutes=30, batch_size=4),
        result("peer", DEKEY, batch_size=16),
    ]
    lines = tables.table("batch_sizes", results).splitlines()
    assert lines[2:4] == [
        "| hatches | 10 | 2 | 2 | 5.0 | 75.0 % | 50.0 % | 5.00 % | 9.00 | 20.00 |",
        "| hatches | 10 | 2 | 4 | 5.0 | 75.0 % | 50.0 % | 5.00 % | 9.00 | 20.00 |",
    ]
    assert not lines[4]
    with pytest.raises(ValueError, match="2 scenes a step"):
        tables.table("batch_sizes", [*results, result("dekey, run.batch_size=2", DEKEY, batch_size=2)])


def test_batch_sizes_of_two_machines_are_not_compared():
    other = {"machine": FACTS["machine"] | {"cpu": "B"}}
    alone = [result("dekey", DEKEY, batch_size=4), result("dekey, run.batch_size=2", DEKEY, batch_size=2) | other]
    assert tables.table("batch_sizes", alone) == "not measured"
    text = tables.table("batch_sizes", [*alone, result("dekey", DEKEY, batch_size=4) | other])
    assert [line.split(" | ")[3] for line in text.splitlines()[2:4]] == ["2", "4"]
    assert "Measured on A," not in text


def test_sizes_stand_in_order():
    sizes = [("large", 5000, 4000), ("small", 300, 0)]
    rows = [{"name": name, "install": name, "mib": mib, "accelerator_mib": own, "packages": 9} for name, mib, own in sizes]
    lines = tables.table("install_size", [{"benchmark": "install_size", "rows": rows, **FACTS}]).splitlines()
    assert lines[4:6] == ["| small | `small` | 300 | 300 | 9 |", "| large | `large` | 5,000 | 1,000 | 9 |"]


def test_methods_take_turns_within_a_duration():
    order = list(race.legs([Path("a"), Path("b")], [30, 10], ["dekey", "yolo"], [0]))
    assert [(leg.minutes, leg.data.name, leg.name) for leg in order[:4]] == [
        (10, "a", "dekey"), (10, "a", "yolo"), (10, "b", "dekey"), (10, "b", "yolo"),
    ]  # fmt: skip
    assert len(order) == 8


def test_every_script_takes_the_words_that_the_race_gives():
    for name, method in race.METHODS.items():
        words = race.Leg(name, Path("hatches"), 10, 0).command(Path("there"), Path("results"))
        text = subprocess.run([*words[:2], "--help"], capture_output=True, text=True, check=True).stdout
        assert all(word in text for word in words[2:] if word.startswith("--")), name
        # What its results call it, or a resumed race would run it again and again.
        source = (race.HERE / method.script).read_text(encoding="utf-8")
        assert method.method.split(",")[0].rsplit(" ResNet", 1)[0] in source, name


SCRIPT = """
from pathlib import Path
import record
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
data, minutes = Path(words["--data"]).name, float(words["--minutes"])
if data == "bad":
    sys.exit(1)
payload = record.accuracy(data, "stub", int(words["--seed"]), minutes, 8, 1, 1, {"nme": 1, "median_px": 1, "p90_px": 1}, {})
record.write(f"accuracy-{data}-{minutes:g}", payload, folder=Path(words["--results"]))
"""


def test_a_race_goes_on_where_it_stopped_and_outlives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    script = tmp_path / "stub.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(race.HERE)!r})\n{SCRIPT}")
    monkeypatch.setattr(race, "METHODS", {"stub": race.Method(str(script), "stub")})
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        for part in ("train.json", "test.json"):
            (tmp_path / name / part).write_text("{}")
    words = ["--data", str(tmp_path / "bad"), str(tmp_path / "good"), "--methods", "stub", "--environments", str(tmp_path)]
    words += ["--results", str(tmp_path / "results"), "--wait", "0", "--no-install", "--minutes"]
    assert race.main([*words, "10"]) == 1
    assert "2 runs, 2 of them now, 1 failed" in capfd.readouterr().err
    written = tmp_path / "results" / "accuracy-good-10.json"
    first = written.stat().st_mtime_ns
    assert race.main([*words, "10", "20"]) == 1
    assert "4 runs, 3 of them now, 2 failed" in capfd.readouterr().err
    assert written.stat().st_mtime_ns == first
    (tmp_path / "results" / "accuracy-good-20.json").unlink()
    assert race.main([*words[:1], *words[2:], "10"]) == 0  # the good one alone, there already
    assert "0 of them now" in capfd.readouterr().err
    assert race.main([*words[:1], *words[2:], "10", "--again"]) == 0
    assert written.stat().st_mtime_ns > first
    # A result of another machine is not this one's, and stays.
    other = json.loads(written.read_text())
    other["machine"]["cores"] += 1
    written.write_text(json.dumps(other))
    assert race.main([*words[:1], *words[2:], "10"]) == 0
    assert json.loads(written.read_text()) == other
    (own,) = (path for path in written.parent.iterdir() if path != written)
    assert json.loads(own.read_text())["machine"]["cores"] == other["machine"]["cores"] - 1


def test_memory_counts_children_and_a_file_of_two_names_once(tmp_path: Path):
    before = memory.proportional_mib(memory.os.getpid())
    if before is None:
        pytest.skip("this system does not tell a process's share of memory")
    code = "import sys; held = bytearray(80 << 20); print('held', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.readline()
    with memory.PeakMemory() as peak:
        pass
    child.stdin.close()
    child.wait()
    child.stdout.close()
    assert peak.mib is not None
    assert peak.mib > before + 70
    (tmp_path / "one").write_bytes(b"x" * (3 << 20))
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    (tmp_path / "three").symlink_to(tmp_path / "one")
    assert memory.folder_mib(tmp_path) == 3


def test_a_peer_that_fails_or_hangs_is_told_of(tmp_path: Path):
    with pytest.raises(SystemExit, match="left with 3"):
        peers.run([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, {}, 60)
    with pytest.raises(SystemExit, match="not done after"):
        peers.run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, {}, 0.3)


def test_what_yolo_says_is_read():
    said = "x\nSpeed: 1.5ms preprocess, 20.0ms inference, 0.5ms postprocess per image at shape (1, 3, 192, 320)\nResults saved"
    assert yolo_pose.read_speed(said) == 22
    assert yolo_pose.read_speed("nothing") is None
    row = {"epoch": "3", "time": "61.25", "metrics/mAP50-95(B)": "0.41"}
    assert yolo_pose.curve([row]) == [[61.2, 0.41, None]]


def test_an_environment_is_given_what_it_lacks_and_kept_where_it_lacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []
    broken = [False]

    def uv(command: list[str], **_: Any) -> None:
        calls.append(command)
        program = tmp_path / "bin" / "peer"
        program.parent.mkdir(exist_ok=True)
        if "install" in command:
            program.write_text("")
            if broken[0]:
                raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", uv)

    def steps(*packages: str) -> list[str]:
        calls.clear()
        assert peers.make_environment(tmp_path, "bin/peer", packages) == tmp_path / "bin" / "peer"
        return [command[1] for command in calls]

    broken[0] = True
    with pytest.raises(subprocess.CalledProcessError):
        steps("peer")
    broken[0] = False
    assert steps("peer") == ["pip"]
    assert steps("peer") == []
    assert steps("peer", "onnxruntime") == ["pip"]
    assert calls[0][-2:] == ["peer", "onnxruntime"]
    (tmp_path / "bin" / "peer").unlink()
    assert steps("peer", "onnxruntime") == ["venv", "pip"]


def test_what_found_nothing_is_told_of_in_a_sentence():
    peers.check_found({"nme": 0.1})
    with pytest.raises(SystemExit, match=r"box_AP 0.002\); give it more minutes"):
        peers.check_found({"box_AP": 0.002})
