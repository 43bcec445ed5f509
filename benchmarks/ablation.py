"""What each part of training is worth: one thing at a time otherwise than by default, after the same time of a core.

    python benchmarks/ablation.py --data ../shared/data/wagon_hatch_half --minutes 3 --keep runs/ablation

Every row is `dekey train` for the same minutes with the same seeds. ``--together`` trains the rows of a seed all at once on the
same cores, which are then shared evenly, so that each gets the same time of a core whatever else happens on the machine; the
minutes are then those of the clock, and the seconds of a core stand beside each row. Then all are measured on the test labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import record
import runs

PLAIN_PICTURES = ("rotate", "scale", "shift", "flip", "settle", "colour", "blur", "erase", "cover")
VARIANTS: dict[str, list[str]] = {
    "as it is": [],
    "pictures of one size": ["augment.small=0"],
    "half the learning rate": ["optim.lr=0.001"],
    "twice the learning rate": ["optim.lr=0.004"],
    "no warm-up": ["optim.warmup=0"],
    "no moving average": ["optim.ema=0"],
    "batches twice as large": ["run.batch_size=8"],
    "batches half as large": ["run.batch_size=2"],
    "fp32": ["run.precision=fp32"],
    "flips to the end": ["augment.settle=0"],
    "pictures as they are": [f"augment.{name}=0" for name in PLAIN_PICTURES],
    "input 0.7 times as long": ["model.input_scale=0.7"],
    "decoder without laterals": ["model.decoder=plain"],
    "preset tiny": ["model.preset=tiny"],
}


def commands(arguments: argparse.Namespace, seed: int) -> dict[str, list[str]]:
    """Give the command of each row."""
    val = arguments.data / "val.json"
    common = ["train", str(arguments.data / "train.json"), "--budget", f"{60 * arguments.minutes:g}s", "--seed", str(seed)]
    common += ["--set", "model.pretrained=false", *(["--val", str(val)] if val.is_file() else [])]
    return {
        name: [*common, *(word for setting in settings for word in ("--set", setting))]
        for name, settings in VARIANTS.items()
        if not arguments.rows or name in arguments.rows
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="what each part of training is worth")
    parser.add_argument("--data", type=Path, required=True, help="folder with train.json, test.json and perhaps val.json")
    parser.add_argument("--minutes", type=float, default=3.0, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--keep", type=Path, required=True, metavar="DIR", help="where the runs are kept and found again")
    parser.add_argument("--rows", nargs="+", metavar="NAME", choices=VARIANTS, help="only these rows")
    parser.add_argument("--together", action="store_true", help="train all rows of a seed at once")
    parser.add_argument("--results", type=Path, default=record.RESULTS, help="folder for the JSON")
    arguments = parser.parse_args()
    arguments.data, arguments.keep = arguments.data.resolve(), arguments.keep.resolve()
    begun = record.facts()
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed in arguments.seeds:
        words = commands(arguments, seed)
        folders = {name: runs.folder_of(arguments.keep, name, arguments.minutes, seed) for name in words}
        runs.train_all(words, folders, arguments.together)
        for name, folder in folders.items():
            rows.setdefault(name, []).append(runs.figures(folder, arguments.data / "test.json"))
    payload = {
        "benchmark": "ablation",
        "data": arguments.data.name,
        "minutes": arguments.minutes,
        "seeds": arguments.seeds,
        "together": arguments.together,
        "rows": [{"name": name, "set": VARIANTS[name], "runs": of_seeds} for name, of_seeds in rows.items()],
    }
    print(record.write(f"ablation-{arguments.data.name}-{arguments.minutes:g}m", payload, begun, arguments.results))


if __name__ == "__main__":
    main()
