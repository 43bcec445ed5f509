"""What a finished run leaves: figures on the held-out images, the mean pose beside them, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dekey.config import Config
from dekey.data import geometry
from dekey.metrics import Evaluation, evaluate, mean_pose_baseline
from dekey.metrics.shift import systematic_shift
from dekey.models.checkpoint import TorchBackend
from dekey.report import HeatmapExample, Report, write_report
from dekey.runtime import Predictor
from dekey.training.augment import Augment, flip_labels
from dekey.training.module import Row
from dekey.training.prepare import Material, Say
from dekey.training.run_folder import RunFolder, write_json

AUGMENTED_EXAMPLES = 8
HEATMAP_EXAMPLES = 4


@dataclass(frozen=True)
class RunResult:
    """What a finished run leaves.

    Attributes:
        folder: with model.safetensors, report.html, evaluation.json, log.csv, config.yaml and run.json.
        evaluation: on the held-out images.
        baseline: the mean pose of the training data on the same images.
    """

    folder: Path
    evaluation: Evaluation
    baseline: Evaluation


def measure_and_report(
    predictor: Predictor,
    config: Config,
    material: Material,
    folder: RunFolder,
    rows: Sequence[Row],
    facts: dict[str, Any],
    say: Say,
) -> RunResult:
    """Evaluate on all held-out images and write evaluation.json, run.json and report.html.

    Args:
        predictor: the best weights, in torch.
        config: of the run.
        material: of the run.
        folder: of the run.
        rows: of its log.
        facts: on weights, machine and times, stored in run.json.
        say: told what is being done.
    """
    say(f"measuring on {len(material.held_out)} held-out images")
    normaliser = config.data.normaliser
    found = predictor.predict_dataset(material.held_out)
    evaluation = evaluate(
        material.held_out,
        found,
        normaliser=normaliser,
        score_threshold=predictor.manifest.object_threshold,
        boxes=predictor.manifest.finds_boxes,
    )
    measured = systematic_shift(material.held_out, found, evaluation)
    shift = measured.sentence(evaluation.values.get("median_px", 0.0)) if measured else None
    if shift is not None:
        say(shift)
    # For a detector the mean pose is told each object's true box, which the detector has to find.
    pose = mean_pose_baseline(material.train, material.held_out, "box" if material.kind == "center" else material.region)
    baseline = evaluate(material.held_out, pose, normaliser=normaliser)
    write_json(folder.evaluation, {"model": evaluation.to_dict(), "baseline": baseline.to_dict(arrays=False)})
    times = _times(rows, facts)
    schema = material.train.schema
    leaks = None if material.leaks is None else material.leaks.to_dict()
    facts = {**facts, "leaks": leaks}
    write_json(folder.facts, {**facts, "times": times, "schema": schema.to_dict(), "region": material.region})
    say("writing the report")
    write_report(
        folder.report,
        Report(
            title=folder.path.name,
            train=material.train,
            held_out=material.held_out,
            found=found,
            evaluation=evaluation,
            baseline=baseline,
            model={
                "family": predictor.manifest.kind,
                "backbone": config.model.backbone,
                "decoder": f"{config.model.decoder}, {', '.join(map(str, config.model.decoder_channels))} channels",
                "parameters": facts["parameters"],
                "input": f"{material.input_size[1]}x{material.input_size[0]} px, {material.region}",
                "precision": facts["precision"],
                "objects a step": facts["batch_size"],
                **({"teacher": facts["teacher"]["model"]} if facts.get("teacher") else {}),
            },
            config=config.model_dump(mode="json"),
            machine=facts["machine"],
            times=times,
            pretrained=facts["weights"],
            log=rows,
            heatmaps=_heatmaps(predictor, material, config),
            augmented=_augmented(material, config.run.seed),
            flipped=_flipped(material),
            notes=_notes(config, shift, None if material.leaks is None else material.leaks.sentence()),
        ),
    )
    return RunResult(folder.path, evaluation, baseline)


def _times(rows: Sequence[Row], facts: dict[str, Any]) -> dict[str, float]:
    """Summarise where the time went; rates are medians over the rounds."""
    times = {"total s": float(facts["seconds"])}
    if rows:
        times |= {
            "training s": float(rows[-1]["seconds"]),
            "validation s": round(sum(row["val_seconds"] for row in rows), 1),
            "epochs": float(rows[-1]["epoch"]),
            "images per second": float(np.median([row["images_per_second"] for row in rows])),
            "share of time waiting for data": float(np.median([row["waiting"] for row in rows])),
        }
    return times


def _notes(config: Config, shift: str | None, leaks: str | None) -> list[str]:
    notes = [each for each in (leaks, shift) if each is not None]
    if config.data.val is None:
        notes.append(
            "The held-out images were drawn at random from the training file; where images resemble each other (frames of one "
            "video, pictures of one animal) hold whole groups out with a file of their own (--val)."
        )
    notes.append(
        "The best round was chosen on the held-out images, so their figures are slightly too good; an untouched test set "
        "measured with `dekey evaluate` gives the figure to quote."
    )
    return notes


def _heatmaps(predictor: Predictor, material: Material, config: Config) -> list[HeatmapExample]:
    assert isinstance(predictor.backend, TorchBackend)
    if material.kind == "article":
        return []
    examples = []
    views = material.views_of(material.held_out, config.data.padding)
    rng = np.random.default_rng(config.run.seed)
    for index in range(0, len(views), max(len(views) // HEATMAP_EXAMPLES, 1))[:HEATMAP_EXAMPLES]:
        picture, instances, _ = views.draw(index, Augment(), rng)
        if not len(instances):
            continue
        maps = predictor.backend.maps(picture[None])["keypoint_heatmap"][0]
        if material.kind == "center":
            maps = (1 / (1 + np.exp(-maps))).astype(np.float32)
        examples.append(HeatmapExample(picture, maps, instances.keypoints[0]))
    return examples


def _augmented(material: Material, seed: int) -> list[Any]:
    count = min(AUGMENTED_EXAMPLES, len(material.views))
    chosen = np.random.default_rng(seed).permutation(len(material.views))[:count]
    drawn = [material.views.draw(int(index), material.augment, np.random.default_rng((seed, int(index)))) for index in chosen]
    return [(picture, instance) for picture, instance, _ in drawn]


def _flipped(material: Material) -> Any:
    mirror = material.train.schema.mirror
    if mirror is None:
        return None
    picture, instance, _ = material.views.draw(0, Augment(), np.random.default_rng(0))
    flipped = instance.mapped(geometry.mirror(picture.shape[1]))
    return np.ascontiguousarray(picture[:, ::-1]), flip_labels(flipped, mirror)
