"""A smaller network by labels alone, by a teacher, and by pruning, after the same minutes: what each finds and what it costs.

    python benchmarks/shrink.py RUN --test ../shared/data/wagon_hatch_half/test.json --minutes 8 --keep runs/shrink

RUN is the folder of a trained model: the teacher, and what is pruned. Its training data, named in its config.yaml, must still
be there. Every row trains for the same minutes with the same seed: a small network on the labels alone, the same one taught by
RUN, half of RUN's channels fine-tuned, and the same with RUN as its teacher. ``--together`` trains all rows at once on the same
cores, which are then shared evenly, also with whatever else runs there: on a machine that is not quiet each row still gets the
same time of a core, which stands beside it. Then all are measured on the test labels and timed in ONNX Runtime, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import record
from trained import chosen

SMALL = ["model.backbone=mobilenetv4_conv_small_050", "model.decoder_channels=[32, 32, 32]"]
VALUES = ("box_AP", "AP", "found_share", "median_px", "p90_px", "nme")
ROUNDS = 5
CALLS = 40


def commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Give the command of each row."""
    import yaml

    run = str(arguments.run)
    config = yaml.safe_load((arguments.run / "config.yaml").read_text(encoding="utf-8"))
    data = config["data"]
    files = [data["train"]] if isinstance(data["train"], str) else data["train"]
    held_out = [] if data["val"] is None else [data["val"]] if isinstance(data["val"], str) else data["val"]
    small = ["train", *files, *(word for file in held_out for word in ("--val", file)), "--model", config["model"]["kind"]]
    settings = [f"data.region={data['region']}", f"model.input_size={config['model']['input_size']}", "model.pretrained=false"]
    small += [word for setting in (*settings, *SMALL) for word in ("--set", setting)]
    pruned = ["prune", run, "--keep", str(arguments.share)]
    rows = {
        "small, labels alone": small,
        "small, taught": [*small, "--teacher", run],
        "small, taught with weight 3": [*small, "--teacher", run, "--set", "teacher.weight=3"],
        f"pruned to {arguments.share:.0%}": [*pruned, "--teacher", "none"],
        f"pruned to {arguments.share:.0%}, taught": pruned,
    }
    common = ["--budget", f"{60 * arguments.minutes:g}s", "--seed", str(arguments.seed)]
    return {name: [*words, *common] for name, words in rows.items() if not arguments.rows or name in arguments.rows}


def folder_of(arguments: argparse.Namespace, name: str) -> Path:
    """Give the run folder of a row."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name)
    folder: Path = arguments.keep / f"{plain}-{arguments.minutes:g}m-seed{arguments.seed}"
    return folder


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Begin a row's training; what it says goes into a file beside its folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("wb") as log:
        command = [sys.executable, "-m", "dekey", *words, "--out", str(folder)]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def finish(running: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a row and note the seconds that it computed.

    Raises:
        SystemExit: if it failed.
    """
    _, status, used = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        raise SystemExit(f"{folder.name} failed, see {folder.with_suffix('.log')}")
    (folder / "benchmark.json").write_text(json.dumps({"cpu_seconds": round(used.ru_utime + used.ru_stime, 1)}))


def train(arguments: argparse.Namespace) -> dict[str, Path]:
    """Train all rows that are not there yet and give their folders."""
    rows = commands(arguments)
    folders = {name: folder_of(arguments, name) for name in rows}
    missing = [name for name, folder in folders.items() if not (folder / "benchmark.json").is_file()]
    running = []
    for name in missing:
        print(f"training: {name}", file=sys.stderr, flush=True)
        running.append((start(rows[name], folders[name]), folders[name]))
        if not arguments.together:
            finish(*running.pop())
    for process, folder in running:
        finish(process, folder)
    return folders


def measured(folder: Path, test: Path) -> dict[str, Any]:
    """Measure a run on the test labels and export it, beside its facts."""
    import dekey
    from dekey.export import export_onnx
    from dekey.models.checkpoint import load_torch_backend
    from dekey.training.prepare import held_out_crops

    predictor = dekey.load(folder, "cpu")
    dataset = dekey.read(test)
    manifest = predictor.manifest
    threshold = manifest.object_threshold if manifest.finds_boxes else None
    evaluation = dekey.evaluate(
        dataset, predictor.predict_dataset(dataset), score_threshold=threshold, boxes=manifest.finds_boxes, sigmas=0.05
    )
    onnx = folder / "model.onnx"
    if not onnx.exists():
        backend = load_torch_backend(folder / "model.safetensors", "cpu")
        export_onnx(backend, onnx, list(held_out_crops(folder / "config.yaml", 4)))
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    note = folder / "benchmark.json"
    return {
        "values": chosen(evaluation.values, VALUES),
        "parameters": facts["parameters"],
        "megabytes": round(onnx.stat().st_size / 1e6, 2),
        "epochs": facts["times"].get("epochs"),
        "images_per_second": facts["times"].get("images per second"),
        "cpu_seconds": json.loads(note.read_text(encoding="utf-8"))["cpu_seconds"] if note.is_file() else None,
        "input_size": list(manifest.input_size),
    }


def milliseconds(files: dict[str, Path], threads: int) -> dict[str, list[float]]:
    """Time each ONNX file in processes of its own, in turns: the median of a call in ms, one a round."""
    program = (
        "import sys, json, statistics; from pathlib import Path; from runtimes import times;"
        "print(json.dumps(statistics.median(times(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))))"
    )
    taken: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, file in files.items():
            command = [sys.executable, "-c", program, str(file), str(threads), str(CALLS)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parent)
            taken[name].append(round(json.loads(done.stdout), 3))
            time.sleep(0.3)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description="smaller networks by labels, by a teacher and by pruning")
    parser.add_argument("run", type=Path, help="folder of the trained model")
    parser.add_argument("--test", type=Path, required=True, help="label file of the test images")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each training")
    parser.add_argument("--share", type=float, default=0.5, help="of the channels that pruning keeps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, required=True, metavar="DIR", help="where the runs are kept and found again")
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="only these rows")
    parser.add_argument("--together", action="store_true", help="train all rows at once")
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    arguments.run, arguments.test = arguments.run.resolve(), arguments.test.resolve()
    arguments.keep = arguments.keep.resolve()
    begun = record.facts()
    folders = {"the teacher": arguments.run, **train(arguments)}
    rows = {name: measured(folder, arguments.test) for name, folder in folders.items()}
    taken = milliseconds({name: folder / "model.onnx" for name, folder in folders.items()}, arguments.threads)
    payload = {
        "benchmark": "shrink",
        "data": arguments.test.parent.name,
        "minutes": arguments.minutes,
        "seed": arguments.seed,
        "together": arguments.together,
        "threads": arguments.threads,
        "small": SMALL,
        "rows": [
            {"name": name, **row, "ms": taken[name], "median_ms": statistics.median(taken[name])} for name, row in rows.items()
        ],
    }
    name = f"shrink-{arguments.test.parent.name}-{arguments.minutes:g}m-seed{arguments.seed}"
    print(record.write(name, payload, begun, arguments.results))


if __name__ == "__main__":
    main()
