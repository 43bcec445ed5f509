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
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import record
import runs

SMALL = ["model.backbone=mobilenetv4_conv_small_050", "model.decoder_channels=[32, 32, 32]"]
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


def train(arguments: argparse.Namespace) -> dict[str, Path]:
    """Train all rows that are not there yet and give their folders."""
    rows = commands(arguments)
    folders = {name: runs.folder_of(arguments.keep, name, arguments.minutes, arguments.seed) for name in rows}
    runs.train_all(rows, folders, arguments.together)
    return folders


def measured(folder: Path, test: Path) -> dict[str, Any]:
    """Measure a run on the test labels and export it, beside its facts."""
    from dekey.export import export_onnx
    from dekey.models.checkpoint import load_torch_backend
    from dekey.training.prepare import held_out_crops

    onnx = folder / "model.onnx"
    if not onnx.exists():
        backend = load_torch_backend(folder / "model.safetensors", "cpu")
        export_onnx(backend, onnx, list(held_out_crops(folder / "config.yaml", 4)))
    return {**runs.figures(folder, test), "megabytes": round(onnx.stat().st_size / 1e6, 2)}


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
