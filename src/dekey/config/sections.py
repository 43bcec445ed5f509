"""Every setting of a training run: its value, its default and its meaning in one place.

`Config` is read by builders only; parts take plain values.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dekey.errors import DekeyError

Channels = Annotated[int, Field(ge=1, le=8192)]
Length = Annotated[int, Field(ge=16, le=4096)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Section):
    """What to learn from.

    Attributes:
        train: annotation file, or several whose classes and keypoints are joined by name.
        val: annotation file of held-out images, or several; without it `val_fraction` of each file of `train` is held out.
        images: folder of the images, where it is not beside the annotation file.
        val_fraction: share of the images to hold out.
        region: "box" cuts objects out, "image" takes whole images; auto looks whether every object has a box.
        padding: how much larger than the box a crop is.
        memory_gb: memory for decoded pictures; auto takes a quarter of what is free.
        workers: threads that prepare batches; auto takes half the cores, at most eight.
        sigmas: OKS constants, one for all keypoints or one each; without them there is no OKS-AP.
        normaliser: what NME and PCK are relative to; None takes the default of `dekey.evaluate`.
    """

    train: Path | tuple[Path, ...]
    val: Path | tuple[Path, ...] | None = None
    images: Path | None = None
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    region: Literal["auto", "box", "image"] = "auto"
    padding: float = Field(default=1.25, ge=1, le=4)
    memory_gb: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = "auto"
    sigmas: tuple[float, ...] | None = None
    normaliser: str | None = None

    @property
    def train_files(self) -> tuple[Path, ...]:
        """The files of `train`, one or more."""
        return (self.train,) if isinstance(self.train, Path) else self.train

    @property
    def val_files(self) -> tuple[Path, ...]:
        """The files of `val`, none where images are held out of `train`."""
        return () if self.val is None else (self.val,) if isinstance(self.val, Path) else self.val

    @field_validator("train", "val", mode="before")
    @classmethod
    def _checked_files(cls, value: Any) -> Any:
        """Take one file or a list of them; a list of one is that one."""
        many = isinstance(value, (list, tuple))
        files = value if many else [value]
        if not files:
            raise ValueError("expected a label file, or a list of them")
        for file in files:
            # Told here, because of a union pydantic tells what is wrong with each kind of value.
            if not isinstance(file, (str, Path)) and (many or file is not None):
                raise ValueError("input is not a valid path, or a list of them")
        repeated = [file for index, file in enumerate(files) if many and Path(file) in map(Path, files[:index])]
        if repeated:
            raise ValueError(f"{repeated[0]} occurs twice, expected each file once")
        return files[0] if many and len(files) == 1 else value

    @field_validator("sigmas", mode="before")
    @classmethod
    def _one_is_a_list_too(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (int, float)) else value


class ModelConfig(_Section):
    """The network. Where it is read, ``preset`` may stand for several of these; see `dekey.config.presets`.

    Attributes:
        kind: the family. heatmap: one object that fills a crop or the image; center: any number of objects anywhere, found
            with their boxes and classes; article: box and keypoints of the one object of an image by regression; auto looks
            at the data.
        backbone: timm name of the convolutional half.
        pretrained: "auto" takes timm's weights where they can be had, true insists, false starts from random ones.
        decoder_channels: channels of each transposed convolution.
        decoder: how features are carried back up: lateral (transposed convolutions with the backbone's finer features
            added), plain (without them), unpooling (with switches), or bilinear.
        input_size: height and width in px, or auto: what the objects of the data fill, 96 to 128 on a CPU, to 256 on CUDA; for
            a center model so that a typical object spans 48, within 320 to 416 on a CPU, to 832 on CUDA.
        input_scale: how many times as long as that the sides of an auto input are, rounded to multiples of 32.
        sigma: standard deviation of the heatmaps' Gaussians, in cells.
        peak_weight: how much more than a background cell a cell at a peak counts in the mean squared error; auto is 10 for
            fewer than 500 objects, where a network else answers with empty maps for long, and 0 for more; for a center
            model, whose maps are trained by cross-entropy, 4.
        objects: how many objects an image a center model can answer with; auto takes twice the most that an image of the
            data has, at least 20.
    """

    kind: Literal["auto", "heatmap", "center", "article"] = "auto"
    backbone: str = "hgnetv2_b0"
    pretrained: bool | Literal["auto"] = "auto"
    decoder_channels: tuple[Channels, ...] = Field(default=(64, 64, 64), min_length=1, max_length=6)
    decoder: Literal["lateral", "plain", "unpooling", "bilinear"] = "lateral"
    input_size: tuple[Length, Length] | Literal["auto"] = "auto"
    input_scale: float = Field(default=1.0, ge=0.25, le=4)
    sigma: float = Field(default=1.5, ge=0.5, le=8)
    peak_weight: Annotated[float, Field(ge=0, le=1000)] | Literal["auto"] = "auto"
    objects: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"


class AugmentConfig(_Section):
    """How far training bends its pictures; see `dekey.training.augment.Augment`.

    Attributes:
        rotate: auto takes half as much again as the objects of the data are turned, and full turns where they lie in all
            directions.
        settle: share of the run, at its end, without flips. Labels are often systematically a little to one side; a flipped
            picture contradicts them, and only pictures as they are teach where the labels really lie. A detector of objects
            that lie in all directions sees quarter turns there instead of full ones, because only they leave boxes exact.
        small: passes over the data, at the beginning, whose pictures are 0.7 times as long and wide, so that a step takes half
            as long; they end with half of the run at the latest. auto is 8 for a center model and 0 for the others, whose
            inputs are small as they are, with a teacher, and from the weights of a trained model.
        zoom: chance that a scene is shown close to one of its objects, up to three times as large; above 0 the model also takes
            a second look at each object that it found.
    """

    rotate: Annotated[float, Field(ge=0, le=180)] | Literal["auto"] = "auto"
    scale: float = Field(default=0.25, ge=0, le=2)
    shift: float = Field(default=0.08, ge=0, le=0.5)
    flip: float = Field(default=0.5, ge=0, le=1)
    settle: float = Field(default=0.35, ge=0, le=1)
    small: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"
    colour: float = Field(default=0.4, ge=0, le=1)
    blur: float = Field(default=0.1, ge=0, le=1)
    erase: float = Field(default=0.3, ge=0, le=1)
    cover: float = Field(default=0.1, ge=0, le=1)
    zoom: float = Field(default=0.0, ge=0, le=1)
    paste: float = Field(default=0.0, ge=0, le=1)


class OptimConfig(_Section):
    """How the weights move: AdamW, one warm-up, a cosine to zero, a moving average of the weights.

    Attributes:
        lr: highest learning rate.
        weight_decay: of matrices and kernels; norms and biases have none.
        warmup: share of the run in which the rate rises.
        ema: decay of the moving average a step; 0 turns it off.
        clip: largest norm of the gradient.
    """

    lr: float = Field(default=2e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup: float = Field(default=0.05, ge=0, le=0.5)
    ema: float = Field(default=0.998, ge=0, lt=1)
    clip: float = Field(default=10.0, gt=0)


class RunConfig(_Section):
    """How long, where, and what is kept.

    Attributes:
        budget: wall-clock seconds for training ("10m", "1h30m" are read too); ends the run where it is given.
        epochs: passes over the data; auto picks 20 to 400 by the number of objects, fewer for more.
        batch_size: objects a step, or scenes; auto is 16 on a CPU (8 for fewer than 500 objects, 4 for scenes) and 32 on CUDA;
            halved by itself where memory does not suffice.
        seed: decides initial weights, order, augmentation and held-out images.
        patience: rounds without improvement after which the run stops; a round is the time between two validations.
        precision: auto takes bf16 where the hardware has it (CUDA, AVX512-BF16, AMX), else fp32.
        device: auto, cpu or cuda.
        licence: licence of the weights, written into the model file.
    """

    budget: float | None = Field(default=None, gt=0)
    epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    seed: int = Field(default=0, ge=0, lt=1 << 32)
    patience: int | None = Field(default=15, ge=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: str = "auto"
    licence: str = "not stated"

    @field_validator("budget", mode="before")
    @classmethod
    def _read_budget(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_end(self) -> RunConfig:
        if self.budget is not None and self.epochs != "auto":
            raise ValueError("budget and epochs both say when the run ends, give one of them")
        return self


class StartConfig(_Section):
    """What the weights start from.

    Attributes:
        model: run folder or model.safetensors of a trained model whose network and weights are taken; None starts anew.
        keep: share of its channels that stay; the others are taken out before training.
    """

    model: Path | None = None
    keep: float = Field(default=1.0, ge=0.05, le=1)

    @model_validator(mode="after")
    def _something_to_keep(self) -> StartConfig:
        if self.model is None and self.keep < 1:
            raise ValueError("keep takes channels out of a trained model, name it with start.model")
        return self


class TeacherConfig(_Section):
    """Whom the network is to learn from besides the labels.

    Attributes:
        model: run folder or model.safetensors of a trained model of the same family that finds the same; None for no teacher.
        weight: how much its word counts beside the labels', whose terms count 1.
    """

    model: Path | None = None
    weight: float = Field(default=1.0, gt=0, le=100)


class Config(_Section):
    """The whole configuration of `dekey train`."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()
    start: StartConfig = StartConfig()
    teacher: TeacherConfig = TeacherConfig()

    def to_yaml(self) -> str:
        """Give the whole as YAML that `read_config` reads again."""
        import yaml

        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def parse_duration(text: str) -> float:
    """Read a duration: seconds, or numbers with h, m and s.

    Raises:
        DekeyError: if it is neither, or not positive.

    >>> parse_duration("1h30m"), parse_duration("90s"), parse_duration("2.5m")
    (5400.0, 90.0, 150.0)
    """
    match = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    try:
        hours, minutes, seconds = (float(part) if part else 0.0 for part in (match.groups() if match else ("x",)))
        total = hours * 3600 + minutes * 60 + seconds
    except ValueError:
        total = math.nan
    if not (total > 0 and math.isfinite(total)):
        raise DekeyError(f"found the duration '{text}', expected a positive one such as 90s, 10m or 1h30m")
    return total
