from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tables = _script("tables")
record = _script("record")

FACTS: dict[str, Any] = {
    "machine": {"cpu": "A|B", "cores": 2, "flags": ["avx2"], "memory_gib": 8.0, "load_before": 0.0},
    "versions": {"python": "3.12.0", "torch": "2.6.0"},
    "commit": {"id": "0123456789abcdef", "dirty": False},
    "date": "2026-01-02T03:04:05+00:00",
}
START_UP = {"benchmark": "start_up", "rounds": 7, "rows": [{"command": "dekey --help", "best_s": 0.25, "median_s": 0.5}]}
PAGE = "# Title\n\n<!-- results:start_up -->\n<!-- /results -->\n\nText after.\n"


def _accuracy(method: str, seed: int, nme: float) -> dict[str, Any]:
    values = {"nme": nme, "median_px": 100 * nme, "p90_px": 200 * nme}
    return record.accuracy("faces", method, seed, 10, 128, 5.5, 26.0, values, {}) | FACTS


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "guides").mkdir(parents=True)
    (tmp_path / "README.md").write_text(PAGE)
    (tmp_path / "docs" / "guides" / "page.md").write_text(PAGE)
    (tmp_path / "docs" / "plain.md").write_text("no marker\n")
    return tmp_path


def test_the_tables_of_this_repository_are_those_of_its_results():
    assert tables.stale(ROOT) == []


def test_what_has_no_result_says_so(repository: Path):
    assert tables.main([], repository) == 0
    text = (repository / "README.md").read_text()
    assert "not measured" in text
    assert text.startswith("# Title\n")
    assert text.endswith("Text after.\n")


def test_check_fails_until_the_pages_are_written_and_changes_nothing(repository: Path):
    record.write("start_up", START_UP, FACTS, repository / "benchmarks" / "results")
    assert tables.main(["--check"], repository) == 1
    assert (repository / "README.md").read_text() == PAGE
    assert tables.main([], repository) == 0
    assert tables.main(["--check"], repository) == 0
    for page in ("README.md", "docs/guides/page.md"):
        text = (repository / page).read_text()
        assert "| `dekey --help` | 0.250 | 0.500 |" in text
        assert "torch 2.6.0" in text
        assert "commit 012345678;" in text
        assert "2026-01-02" in text
    record.write("start_up", START_UP | {"rounds": 9}, FACTS, repository / "benchmarks" / "results")
    assert tables.main(["--check"], repository) == 1


def test_seeds_share_a_row_with_their_mean_and_range():
    results = [_accuracy("one", 0, 0.03), _accuracy("one", 1, 0.05), _accuracy("two", 0, 0.02)]
    lines = tables.table("accuracy-faces", results).splitlines()
    assert lines[2].startswith("| one | 2 | 10 | 128² | 5.5 | 26.0 | 4.00 % (3.00 to 5.00) |")
    assert lines[2].endswith("| 2 |")
    assert lines[3].startswith("| two | 2 | 10 | 128² | 5.5 | 26.0 | 2.00 % | 2.00 | 4.00 |")
    assert len(lines) == 6


def test_runs_on_two_machines_are_never_averaged():
    other = _accuracy("one", 1, 0.05) | {"machine": FACTS["machine"] | {"cpu": "C"}}
    text = tables.table("accuracy-faces", [_accuracy("one", 0, 0.03), other])
    assert "3.00 %" in text
    assert "5.00 %" in text
    assert "CPU" in text
    assert r"A\|B" in text
    assert text.count("Measured on") == 2
    # Of one machine a sentence names all commits.
    later = _accuracy("two", 0, 0.02) | {"commit": {"id": "fedcba9876543210", "dirty": True}, "date": "2026-03-04T00:00:00"}
    text = tables.table("accuracy-faces", [_accuracy("one", 0, 0.03), later])
    assert text.count("Measured on") == 1
    assert "commits 012345678, fedcba987 with uncommitted changes; 2026-01-02 to 2026-03-04." in text


def test_the_ratio_of_throughput_is_that_of_medians_to_the_first_loop():
    rows = [
        {"loop": "plain", "images_per_second": [10.0, 12.0, 11.0], "waiting": [0.2, 0.2, 0.2]},
        {"loop": "dekey", "images_per_second": [22.0, 33.0, 44.0], "waiting": [0.01, 0.02, 0.03]},
    ]
    network = {"network": "resnet18", "input_size": 128, "batch_size": 32}
    result = {"benchmark": "throughput", "data": "faces", "rows": rows} | network | FACTS
    text = tables.table("throughput", [result])
    assert "| plain | 11.0 (10.0 to 12.0) | 1.00× | 20.0 % | 3 |" in text
    assert "| dekey | 33.0 (22.0 to 44.0) | 3.00× | 2.0 % | 3 |" in text


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("<!-- results:start_up -->\n", "has no"),
        ("<!-- results:start_up -->\n<!-- results:throughput -->\n<!-- /results -->\n", "has no"),
        ("<!-- results:start_upp -->\n<!-- /results -->\n", "there is no table 'start_upp'"),
    ],
)
def test_a_marker_that_cannot_be_filled_is_named_with_its_page(repository: Path, page: str, told: str):
    (repository / "docs" / "plain.md").write_text(page)
    with pytest.raises(SystemExit, match=f"plain.md.*{told}"):
        tables.stale(repository, write=True)
    assert (repository / "docs" / "plain.md").read_text() == page


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_result_is_named(tmp_path: Path, text: str):
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(SystemExit, match=r"one\.json"):
        tables.load(tmp_path)


def test_a_result_is_written_with_its_facts_and_without_leftovers(tmp_path: Path):
    path = record.write("start_up", START_UP, FACTS, tmp_path)
    assert json.loads(path.read_text()) == START_UP | FACTS
    assert [left.name for left in tmp_path.iterdir()] == ["start_up.json"]


def test_a_result_of_another_machine_stays(tmp_path: Path):
    other = FACTS | {"machine": FACTS["machine"] | {"cpu": "Intel(R) Xeon(R) Processor (family 6 model 207)", "cores": 1}}
    first = record.write("start_up", START_UP, FACTS, tmp_path)
    second = record.write("start_up", START_UP, other, tmp_path)
    assert (first.name, second.name) == ("start_up.json", "start_up-intel-xeon-family-6-model-207-1core.json")
    assert record.write("start_up", START_UP | {"rounds": 9}, other, tmp_path) == second
    assert json.loads(second.read_text())["rounds"] == 9
    assert json.loads(first.read_text())["machine"] == FACTS["machine"]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "payload"),
    [("../up", START_UP), ("", START_UP), ("fine", {"rows": []}), ("fine", {"benchmark": "x", "value": float("nan")})],
)
def test_a_result_that_cannot_be_kept_leaves_the_earlier_one_intact(tmp_path: Path, name: str, payload: dict[str, Any]):
    record.write("fine", START_UP, FACTS, tmp_path)
    with pytest.raises(ValueError, match=r".+"):
        record.write(name, payload, FACTS, tmp_path)
    assert json.loads((tmp_path / "fine.json").read_text()) == START_UP | FACTS
    assert [left.name for left in tmp_path.iterdir()] == ["fine.json"]


def test_an_accuracy_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="nme is nan"):
        _accuracy("one", 0, float("nan"))


def test_facts_name_the_machine_and_the_versions_without_a_path():
    facts = record.facts()
    assert facts["machine"]["cores"] >= 1
    assert {"python", "numpy"} <= set(facts["versions"])
    assert str(ROOT) not in json.dumps(facts)
