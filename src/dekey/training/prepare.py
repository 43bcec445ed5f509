"""From a configuration to the parts of a run: data, crops, network; every choice that "auto" leaves open is made here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dekey.config import Config, DataConfig, read_config
from dekey.data import Dataset, geometry, merge
from dekey.data.orientation import spread_of_orientation
from dekey.data.problems import find_problems
from dekey.errors import DekeyError
from dekey.formats import read
from dekey.metrics.distance import check_normaliser
from dekey.runtime.threads import usable_cores
from dekey.training.augment import Augment
from dekey.training.crops import CropSet, Region, choose_region
from dekey.training.family import Kind, choose_family
from dekey.training.fitting import (
    LARGEST_INPUT,
    LARGEST_SCENE,
    fitted_scales,
    fitting_rotation,
    fitting_size,
    scene_size,
    second_look,
)
from dekey.training.hardware import available_memory, choose_batch_size
from dekey.training.leaks import Leaks
from dekey.training.scenes import CLOSEST, SceneSet, with_boxes
from dekey.training.views import Views

Say = Callable[[str], None]

FEWEST_ANSWERS = 20
SCENE_PEAK_WEIGHT = 4.0
# Below this many objects every step counts more than its smoothness, and the peaks are lost among the background.
FEW_OBJECTS = 500
FEW_PEAK_WEIGHT = 10.0
# A detector of so few passes learns more from twice as many smaller pictures; after more of them they teach nothing.
SMALL_PASSES = 8.0
# Share of the free memory that decoded pictures may take by themselves.
PICTURE_SHARE = 0.25
SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Material:
    """What a run learns from and is measured on.

    Attributes:
        kind: family of the model.
        train, held_out: the two parts of the data, with one schema.
        region: crops around boxes, or whole images.
        input_size: (H, W) px.
        augment: with flips only where the schema knows the mirror pairs.
        views: what batches are drawn from.
        second_look: how large objects are shown in a second look, see `dekey.runtime.Manifest`.
        leaks: what of `held_out` looks the same as something of `train`; None where nobody looked.
    """

    kind: Kind
    train: Dataset
    held_out: Dataset
    region: Region
    input_size: tuple[int, int]
    augment: Augment
    views: Views
    second_look: float = 0.0
    leaks: Leaks | None = None

    @property
    def typical_size(self) -> float:
        """Root of the area of a typical object's box, px of the input."""
        instances = self.train.instances
        sides = np.sqrt(geometry.box_sizes(instances.boxes).prod(axis=1)) * fitted_scales(self.train, self.input_size)
        usable = sides[np.isfinite(sides) & ~instances.crowd]
        return float(np.median(usable)) if usable.size else min(self.input_size) / 2

    def views_of(self, dataset: Dataset, padding: float, memory: int = 0) -> Views:
        """Give the views of other data, cut as those of the run."""
        return views_of(self.kind, dataset, self.region, self.input_size, padding, memory)


def views_of(
    kind: Kind,
    dataset: Dataset,
    region: Region,
    input_size: tuple[int, int],
    padding: float,
    memory: int = 0,
    zoom: float = 1.0,
) -> Views:
    """Give what a family learns from: whole scenes, or objects one by one."""
    if kind == "center":
        return SceneSet(dataset, input_size, memory, zoom)
    return CropSet(dataset, region, input_size, padding, memory)


def prepare(config: Config, device: str, say: Say) -> Material:
    """Read and check the data and make the crops.

    Args:
        config: the configuration of the run.
        device: "cpu" or "cuda", what it runs on.
        say: told of each choice in one sentence.

    Raises:
        DekeyError: if a file cannot be read, an image is missing, or the two parts name different keypoints.
    """
    train, held_out = _read_parts(config.data, config.run.seed, say)
    say(
        f"{len(train)} images with {len(train.instances)} objects to learn from, {len(held_out)} with "
        f"{len(held_out.instances)} held out; {len(train.schema.keypoints)} keypoints"
    )
    kind, why = choose_family(train, config.model.kind, config.data.region)
    say(f"model family: {kind} ({why})")
    region: Region
    if kind == "heatmap":
        region = choose_region(train) if config.data.region == "auto" else config.data.region
    else:
        region = "image"
        if kind == "center":
            train, held_out = with_boxes(train), with_boxes(held_out)
    check_region(kind, region, train, held_out)
    size = config.model.input_size
    if size != "auto":
        input_size = size
    elif kind == "center":
        input_size = scene_size(train, LARGEST_SCENE[device], config.model.input_scale)
    else:
        input_size = fitting_size(train, region, config.data.padding, LARGEST_INPUT[device], config.model.input_scale)
    what = "each object is a crop around its box" if region == "box" else "each image is shown whole"
    say(f"{what}, {input_size[1]}x{input_size[0]} px")
    settings = config.augment.model_dump(exclude={"settle", "small"})
    if train.schema.mirror is None and config.augment.flip:
        say(f"pictures are not flipped: {train.schema.mirror_note}")
        settings["flip"] = 0.0
    if settings["rotate"] == "auto":
        spread = spread_of_orientation(train.instances)
        settings["rotate"] = fitting_rotation(spread)
        say(f"pictures are turned by up to {settings['rotate']:.0f} degrees: the objects' own turns reach {spread:.0f}")
    gigabytes = config.data.memory_gb
    memory = int(PICTURE_SHARE * available_memory() if gigabytes == "auto" else gigabytes * 1e9)
    look = 0.0
    if settings["zoom"] and kind == "center":
        look = second_look(train, input_size)
        say("objects are also shown from close by, and each found one is looked at again")
    views = views_of(kind, train, region, input_size, config.data.padding, memory, CLOSEST if settings["zoom"] else 1.0)
    return Material(kind, train, held_out, region, input_size, Augment(**settings), views, look)


def check_region(kind: Kind, region: Region, train: Dataset, held_out: Dataset) -> None:
    """Raise DekeyError where the family cannot learn from the data as they are cut."""
    if kind == "heatmap":
        inspect, other = "`dekey inspect` shows what the file holds", "name other files with --val"
        for part, what, advice in ((train, "to learn from", inspect), (held_out, "held out", other)):
            if not (part.instances.labelled.any(axis=1) & ~part.instances.crowd).any():
                raise DekeyError(f"found no labelled keypoint in the {len(part)} images {what}, expected some; {advice}")
    if region == "box" or kind == "center":
        for part in (train, held_out):
            counted = part.instances[~part.instances.crowd]
            if not np.isfinite(counted.boxes).all():
                raise DekeyError(
                    "an object has no box, expected one for each; draw it, or with data.region=image train on images with one "
                    "object each"
                    if kind == "heatmap"
                    else "an object has neither box nor two keypoints apart, expected a box; `dekey inspect` names it"
                )
        if kind == "center" and not len(train.instances[~train.instances.crowd]):
            raise DekeyError("found no object in the images to learn from, expected some; `dekey inspect` shows what there is")
        return
    if len(train.schema.classes) > 1:
        raise DekeyError(
            f"found {len(train.schema.classes)} classes on whole images, which a {kind} model cannot tell apart; take "
            "--model center"
        )
    counts = np.bincount(train.image_of_instance()[~train.instances.crowd], minlength=1)
    if counts.max(initial=0) > 1:
        raise DekeyError(
            f"{int((counts > 1).sum())} of {len(train)} images have several objects, of which the {kind} model on whole images "
            "finds one; take --model center"
        )


def resolve(config: Config, material: Material, device: str) -> Config:
    """Give the configuration with every choice that "auto" left open; resolving it again changes nothing."""
    few = len(material.views) < FEW_OBJECTS
    batch_size = config.run.batch_size
    if batch_size == "auto":
        batch_size = choose_batch_size(device, material.kind == "center", few)
    peak_weight = config.model.peak_weight
    if peak_weight == "auto":
        peak_weight = SCENE_PEAK_WEIGHT if material.kind == "center" else FEW_PEAK_WEIGHT if few else 0.0
    objects = config.model.objects
    if objects == "auto":
        most = max(int(np.diff(part.starts).max(initial=0)) for part in (material.train, material.held_out))
        objects = min(max(2 * most, FEWEST_ANSWERS), 1000) if material.kind == "center" else 1
    small = config.augment.small
    if small == "auto":
        begins = config.teacher.model is None and config.start.model is None
        small = SMALL_PASSES if material.kind == "center" and begins else 0.0
    network = {"kind": material.kind, "input_size": material.input_size, "peak_weight": peak_weight, "objects": objects}
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"region": material.region}),
            "model": config.model.model_copy(update=network),
            "augment": config.augment.model_copy(update={"rotate": material.augment.rotate, "small": small}),
            "run": config.run.model_copy(update={"batch_size": batch_size}),
        }
    )


def workers(config: DataConfig) -> int:
    """Give the number of threads that prepare batches."""
    return min(max(usable_cores() // 2, 1), 8) if config.workers == "auto" else max(config.workers, 1)


def _read_parts(config: DataConfig, seed: int, say: Say) -> tuple[Dataset, Dataset]:
    """Read the files and give what is learned from and what is held out, each made one data set; of each file a part."""
    wholes = [read(path, images=config.images) for path in config.train_files]
    pairs = list(zip(config.train_files, wholes, strict=True))
    if config.val_files:
        others = [read(path, images=config.images) for path in config.val_files]
        train = _joined(wholes)
        held_out = _of_names(_joined(others), train, config)
        pairs += zip(config.val_files, others, strict=True)
    else:
        # Each file by itself, so that every class is held out as often as it is learned from.
        try:
            halves = [whole.split(config.val_fraction, seed) for whole in wholes]
        except DekeyError as error:
            few = next(path for path, whole in pairs if len(whole) < 2)
            raise DekeyError(f"{few}: {error}") from error
        train, held_out = _joined([half[0] for half in halves]), _joined([half[1] for half in halves])
    if config.sigmas is not None:
        schema = train.schema.with_sigmas(config.sigmas)
        train, held_out = train.with_schema(schema), held_out.with_schema(schema)
    if config.normaliser is not None:
        check_normaliser(config.normaliser, train.schema)
    for path, part in pairs:
        problems = find_problems(part, progress=_now_and_then(f"checking the images of {path}", say))
        errors = [problem for problem in problems if problem.severity == "error"]
        if errors:
            rest = f" (and {len(errors) - 1} more problems; `dekey inspect {path}` lists them)" if len(errors) > 1 else ""
            raise DekeyError(f"{path}: {errors[0]}{rest}")
    shared = _listed_again(wholes)
    if shared:
        say(
            f"{shared} images are listed in several files: where a file does not label what the other does, the labels "
            "contradict each other, and an image may be held out and learned from; put all objects of an image in one file"
        )
    return train, held_out


def _joined(datasets: Sequence[Dataset]) -> Dataset:
    return datasets[0] if len(datasets) == 1 else merge(datasets)


def _of_names(held_out: Dataset, train: Dataset, config: DataConfig) -> Dataset:
    """Put held-out data under the classes and keypoints of the training data, in their order.

    Raises:
        DekeyError: if they have others, or do not have all.
    """
    known, own = train.schema, held_out.schema
    if own.keypoints == known.keypoints and own.classes == known.classes:
        return held_out
    if set(own.keypoints) == set(known.keypoints) and set(own.classes) == set(known.classes):
        # Merged after `train` without its images, the data get its names in their order.
        return merge([train.subset([]), held_out])
    assert config.val is not None
    raise DekeyError(
        f"{_names(config.val_files)} {'names' if len(config.val_files) == 1 else 'name'} other keypoints or classes than "
        f"{_names(config.train_files)}, expected the same; mend the names"
    )


def _names(files: Sequence[Path]) -> str:
    return ", ".join(map(str, files[:3])) + (f" and {len(files) - 3} more" if len(files) > 3 else "")


def _listed_again(datasets: Sequence[Dataset]) -> int:
    """Count the images that more than one of the data sets lists."""
    counts = Counter(path for dataset in datasets if len(datasets) > 1 for path in {str(one) for one in dataset.pictures})
    return sum(count > 1 for count in counts.values())


def _now_and_then(text: str, say: Say) -> Callable[[int, int], None]:
    """Give a callback that says every few seconds how far a long work is."""
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            say(f"{text}: {done} of {total}")

    return progress


def material_of(path: Path) -> tuple[Config, Material]:
    """Give the configuration at `path`, as a run resolved it, and the data it names.

    Raises:
        DekeyError: if the configuration or the data cannot be read.
    """
    config = read_config(path=path)
    return config, prepare(config, "cpu", lambda text: None)


def held_out_crops(path: Path, most: int) -> Iterator[NDArray[np.uint8]]:
    """Give up to `most` network inputs (H, W, 3) of the held-out images of the run whose configuration lies at `path`.

    Raises:
        DekeyError: if the configuration or the data it names cannot be read.
    """
    config, material = material_of(path)
    yield from crops_of(material.views_of(material.held_out, config.data.padding), most)


def crops_of(views: Views, most: int) -> Iterator[NDArray[np.uint8]]:
    """Give up to `most` network inputs (H, W, 3), spread evenly over the views, as they are."""
    rng = np.random.default_rng(0)
    for index in np.unique(np.linspace(0, len(views) - 1, min(most, len(views))).round().astype(int)):
        yield views.draw(int(index), Augment(), rng)[0]
