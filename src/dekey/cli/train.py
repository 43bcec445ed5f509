"""``dekey train``: label files in, a run folder with model and report out."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dekey.cli.console import Progress, message
from dekey.errors import DekeyError

if TYPE_CHECKING:
    from dekey.config import Config
    from dekey.training import Progress as State
    from dekey.training import RunResult

HELP = "Train a model on label files; writes a run folder with the model, its figures and a report."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "annotations", metavar="ANNOTATIONS", nargs="+", help="label file to learn from; several are joined by their names"
    )
    parser.add_argument(
        "--val", metavar="FILE", action="append", help="labels of held-out images (default: a part of each of ANNOTATIONS)"
    )
    parser.add_argument("--images", metavar="DIR", help="folder where the image names start (default: beside the label file)")
    parser.add_argument("--out", metavar="DIR", help="run folder (default: runs/ and the label file's name, numbered if taken)")
    parser.add_argument(
        "--model", metavar="KIND", help="heatmap, center or article (default: what suits the data; it says which and why)"
    )
    parser.add_argument("--preset", metavar="NAME", help="network by size: tiny, small, medium or large (default: small)")
    parser.add_argument("--teacher", metavar="MODEL", help="run folder of a trained model to learn from besides the labels")
    parser.add_argument("--config", metavar="FILE", help="YAML file of settings")
    parser.add_argument("--budget", metavar="TIME", help="train for this long, such as 90s, 10m, 1h30m")
    parser.add_argument("--epochs", metavar="N", type=int, help="train for this many passes over the data")
    parser.add_argument(
        "--batch-size", metavar="N", type=int, help="crops or scenes a step (default: what suits data and device)"
    )
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--seed", metavar="N", type=int, help="start of every random draw (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of --out")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting, e.g. optim.lr=1e-3"
    )


def run(arguments: argparse.Namespace) -> int:
    """Train and say what came of it."""
    from dekey.config import read_config

    named = Path("runs") / default_name([Path(file) for file in arguments.annotations])
    out = Path(arguments.out or (named if arguments.resume else free_folder(named)))
    file = arguments.config
    if arguments.resume and file is None and (out / "config.yaml").is_file():
        file = out / "config.yaml"
    values = {
        "data": {"train": arguments.annotations, "val": arguments.val, "images": arguments.images},
        "model": {"kind": arguments.model, "preset": arguments.preset},
        "teacher": {"model": arguments.teacher},
        "run": {
            "budget": arguments.budget,
            "epochs": arguments.epochs,
            "batch_size": arguments.batch_size,
            "device": arguments.device,
            "seed": arguments.seed,
        },
    }
    train_and_tell(read_config(values, file, arguments.set), out, resume=arguments.resume)
    return 0


# A label file up to this size is read in less time than torch takes to load.
QUICKLY_READ = 50_000_000


def check_before_torch(config: Config, out: Path, *, resume: bool) -> None:
    """Find in a second the mistakes that `train` would find as well, but only when torch has been loaded.

    Raises:
        DekeyError: if a label file cannot be read, the two do not fit together, or the run folder cannot be used.
    """
    from dekey.formats import read, recognise
    from dekey.runtime.open import weights_of

    if out.exists() and not out.is_dir():
        raise DekeyError(f"{out} is a file, expected a folder for the run; name another one with --out")
    if not resume and any((out / name).exists() for name in ("last.ckpt", "model.safetensors")):
        raise DekeyError(f"{out} already holds a run; go on with --resume, or name another folder with --out")
    if resume and not (out / "last.ckpt").is_file():
        raise DekeyError(f"{out} holds no last.ckpt to resume from; leave --resume out to start anew")
    parent = next(folder for folder in out.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(out if out.exists() else parent, os.W_OK):
        raise DekeyError(f"--out {out} lies in a folder that cannot be written to; name another one")
    for model in (config.start.model, config.teacher.model):
        if model is not None and not resume:
            weights_of(model)
    for file in (*config.data.train_files, *config.data.val_files):
        recognise(file)
        if file.stat().st_size <= QUICKLY_READ:
            with Progress(f"reading {file.name}"):
                read(file, images=config.data.images)


def free_folder(folder: Path) -> Path:
    """Give the folder, or where it holds a run the first of ``folder-2``, ``folder-3`` … that does not."""
    number, chosen = 1, folder
    while chosen.exists() and any(chosen.iterdir() if chosen.is_dir() else [chosen]):
        number += 1
        chosen = folder.with_name(f"{folder.name}-{number}")
    return chosen


# Of a folder's name that is made of several.
LONGEST_NAME = 60


def default_name(annotations: Sequence[Path]) -> str:
    """Name a run after its label files; a file called ``train.json`` gives its folder's name.

    >>> default_name([Path("data/hands/train.json")]), default_name([Path("hands.json"), Path("data/flies/train.json")])
    ('hands', 'hands+flies')
    """
    generic = ("train", "annotations", "labels")
    names = [file.resolve().parent.name if file.stem in generic else file.stem for file in annotations]
    joined = "+".join(dict.fromkeys(names))
    return joined if len(names) == 1 or len(joined) <= LONGEST_NAME else f"{names[0][:LONGEST_NAME]}+{len(names) - 1}"


def train_and_tell(config: Config, out: Path, *, resume: bool = False) -> RunResult:
    """Train with progress on standard error and the result on standard output."""
    import time

    check_before_torch(config, out, resume=resume)
    message("loading torch")
    try:
        from dekey.training import train
    except OSError as error:  # a shared library of torch that does not fit the machine
        raise DekeyError(f"torch cannot be loaded ({error}); install it again") from error

    shown = -1e9
    bar: Progress | None = None

    def say(text: str) -> None:
        nonlocal bar
        if bar is not None:
            bar.__exit__(None, None, None)
            bar = None
        message(text)

    def watch(state: State) -> None:
        nonlocal bar, shown
        if bar is None:
            bar = Progress("training", unit="steps")
            bar.__enter__()
        if time.monotonic() - shown > 0.2:
            shown = time.monotonic()
            bar.show(_line(state))

    try:
        result = train(config, out, resume=resume, say=say, watch=watch)
    except KeyboardInterrupt:
        saved = (out / "last.ckpt").is_file()
        say(f"stopped; the run so far is in {out}, go on with --resume" if saved else "stopped before there was a checkpoint")
        raise
    except OSError as error:
        if (out / "last.ckpt").is_file():
            say(f"the run so far is in {out}, go on with --resume")
        if error.errno is None:  # raised by hand for what torch told in words
            raise DekeyError(f"{error}; see whether the disk is full") from error
        raise
    tell(result)
    return result


def _line(state: State) -> str:
    from dekey.cli.console import duration

    left = state.seconds / max(state.done, 1e-6) * (1 - state.done)
    parts = [
        f"training: {state.done:.0%}",
        f"epoch {state.epoch:.1f}",
        f"loss {state.loss:.4f}",
        f"{state.images_per_second:.0f} images/s",
        f"{state.waiting:.0%} waiting for data",
        f"{duration(left)} left",
    ]
    if state.best is not None:
        parts.insert(3, f"held-out error {state.best:.4f}")
    return ", ".join(parts)


def tell(result: RunResult) -> None:
    """Print the figures on the held-out images, the baseline beside them, and where the report is."""
    import json

    names = ("found_share", "extra_found_per_image", "median_px", "p90_px", "nme", "pck@0.05", "pck@0.1", "box_AP", "AP")
    measured = {name: result.evaluation[name] for name in names if name in result.evaluation}
    pose = {name: result.baseline[name] for name in names if name in result.baseline}
    notes = result.evaluation.sentences()
    if result.evaluation.boxes:
        notes.append("the mean pose is told each object's true box, which the model has to find")
    answer = {
        "held_out": measured,
        "mean_pose_baseline": pose,
        "normaliser": result.evaluation.normaliser,
        "notes": notes,
        "report": str(result.folder / "report.html"),
        "model": str(result.folder),
    }
    print(json.dumps(answer, indent=2, ensure_ascii=False))
