"""``dekey prune``: channels taken out of a trained model, and what is left trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from dekey.errors import DekeyError

HELP = "Take channels out of a trained model and train what is left on the same data; writes a run folder like any other."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("model", metavar="RUN", help="run folder of `dekey train`")
    parser.add_argument(
        "--out", metavar="DIR", help="run folder to write (default: RUN's name with -pruned, numbered if taken)"
    )
    parser.add_argument("--keep", metavar="SHARE", type=float, help="share of each layer's channels to keep (default: 0.5)")
    parser.add_argument("--teacher", metavar="MODEL", help="model to learn from besides the labels, or none (default: RUN)")
    parser.add_argument("--budget", metavar="TIME", help="train for this long, such as 90s, 10m (default: as RUN was)")
    parser.add_argument("--epochs", metavar="N", type=int, help="train for this many passes over the data")
    parser.add_argument("--device", metavar="NAME", help="auto, cpu or cuda (default: as RUN was)")
    parser.add_argument("--seed", metavar="N", type=int, help="start of every random draw (default: as RUN was)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of --out")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change one setting, e.g. optim.lr=1e-3"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prune, train on and say what came of it."""
    from dekey.cli.train import free_folder, train_and_tell
    from dekey.config import read_config

    source = Path(arguments.model)
    file = source / "config.yaml"
    if not file.is_file():
        raise DekeyError(
            f"found no config.yaml in {source}, expected the folder of a `dekey train` run; its data are trained on"
        )
    whole = source.resolve()  # a run may be named by "."
    named = (whole if source.name in ("", "..") else source).with_name(f"{whole.name}-pruned")
    out = Path(arguments.out or (named if arguments.resume else free_folder(named)))
    if arguments.resume:
        if not (out / "config.yaml").is_file():
            raise DekeyError(f"{out} holds no run to resume, expected one of `dekey prune`; leave --resume out to start anew")
        moved = {"teacher": {"model": None if arguments.teacher == "none" else arguments.teacher}}
        config = read_config(moved, out / "config.yaml", arguments.set)
    else:
        config = read_config(None, file, [*changes(arguments), *arguments.set])
    train_and_tell(config, out, resume=arguments.resume)
    return 0


def changes(arguments: argparse.Namespace) -> list[str]:
    """Give what differs from the settings of the run that is pruned, as values of --set."""
    source = arguments.model
    teacher = source if arguments.teacher is None else None if arguments.teacher == "none" else arguments.teacher
    keep = 0.5 if arguments.keep is None else arguments.keep
    # What RUN began with, smaller pictures, is for weights that know nothing.
    changed = {"start.model": source, "start.keep": keep, "teacher.model": teacher, "augment.small": "auto"}
    if arguments.budget is not None:
        changed |= {"run.budget": arguments.budget, "run.epochs": "auto"}
    if arguments.epochs is not None:
        # Of both read_config says that one is to be given.
        changed |= {"run.epochs": arguments.epochs, "run.budget": arguments.budget}
    for name in ("device", "seed"):
        if getattr(arguments, name) is not None:
            changed[f"run.{name}"] = getattr(arguments, name)
    return [f"{key}={_yaml(value)}" for key, value in changed.items()]


def _yaml(value: object) -> str:
    import json

    return json.dumps(value)
