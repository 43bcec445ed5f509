"""The files of a run, each written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dekey.errors import DekeyError
from dekey.files import replacing, write_text

# Raised when a checkpoint could not be read by the next version.
CHECKPOINT_FORM = 2


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it makes.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def facts(self) -> Path:
        """Schema, machine, versions, times, where the weights started."""
        return self.path / "run.json"

    @property
    def log(self) -> Path:
        """A row a round."""
        return self.path / "log.csv"

    @property
    def checkpoint(self) -> Path:
        """Everything a killed run needs to go on."""
        return self.path / "last.ckpt"

    @property
    def model(self) -> Path:
        """The best weights so far, with their manifest."""
        return self.path / "model.safetensors"

    @property
    def evaluation(self) -> Path:
        """Figures on the held-out images."""
        return self.path / "evaluation.json"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    def check(self, resume: bool) -> None:
        """Check that the folder may be used; `make` makes it when there is something to write.

        Raises:
            DekeyError: if it holds a run and `resume` is not set, or it is to be resumed and holds none.
        """
        if resume:
            if not self.checkpoint.is_file():
                raise DekeyError(
                    f"{self.path} holds no {self.checkpoint.name} to resume from; leave --resume out to start anew"
                )
            return
        if self.path.exists() and not self.path.is_dir():
            raise DekeyError(f"{self.path} is a file, expected a folder for the run; name another one with --out")
        if self.checkpoint.exists() or self.model.exists():
            raise DekeyError(f"{self.path} already holds a run; go on with --resume, or name another folder with --out")

    def make(self) -> None:
        """Make the folder where there is none."""
        self.path.mkdir(parents=True, exist_ok=True)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write tensors and numbers; the earlier checkpoint stays until the new one is whole."""
        with replacing(self.checkpoint) as temporary:
            try:
                torch.save(dict(state), temporary)
            except RuntimeError as error:  # torch's zip writer tells of a full disk this way
                raise OSError(f"checkpoint {self.checkpoint} could not be written ({error})") from error

    def load_checkpoint(self) -> dict[str, Any]:
        """Read the checkpoint; only tensors and plain values are accepted.

        Raises:
            DekeyError: if it is broken or holds anything else.
        """
        try:
            state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises pickle, zip and runtime errors for a broken file
            raise DekeyError(f"{self.checkpoint} is no whole checkpoint; start anew with another --out") from error
        if not isinstance(state, dict) or state.get("form") != CHECKPOINT_FORM:
            raise DekeyError(f"{self.checkpoint} is no checkpoint of this dekey; start anew with another --out")
        return state

    def write_log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write all rows; columns are the union of their keys, in order of first appearance."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.log, text.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, see `write_text`."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
