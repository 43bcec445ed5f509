from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from dekey.data import Dataset, Instances, Schema
from dekey.errors import DekeyError
from dekey.metrics import evaluate
from dekey.report import HeatmapExample, Report, write_report
from dekey.report.mistakes import mistakes
from dekey.report.page import render

SECTIONS = ["summary", "results", "keypoints", "images", "learning", "heatmaps", "data", "training-pictures", "run", "notes"]
HOSTILE = "<script>alert(1)</script> \" ' & $\\frac{ {{ 7 * 7 }} \u202e\x07 \ud800 狮子"
LIMIT = 5 * 1024 * 1024
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a browser makes of the page: tags, attributes, text by section; complains about tags left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.images: list[str] = []
        self.text: dict[str, str] = {}
        self.section = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), f"a handler in <{tag}>"
            if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
                self.section = value or "" if tag == "section" else self.section
            if tag == "img" and name == "src":
                self.images.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text[self.section] = self.text.get(self.section, "") + data


def checked(text: str) -> Page:
    """Laws of every page."""
    page = Page(text)
    assert [name for name in page.ids if name in SECTIONS] == SECTIONS
    assert len(set(page.ids)) == len(page.ids), "an id occurs twice"
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    for address in page.addresses:
        assert address.startswith(("#", "data:image/jpeg;base64,")), address
        assert not address.startswith("#") or address[1:] in page.ids, f"{address} leads nowhere"
    for found in re.findall(r"url\(([^)]*)\)", text):
        assert found.startswith("#"), found
    assert "@import" not in text
    for image in page.images:
        data = np.frombuffer(base64.b64decode(image.split(",", 1)[1], validate=True), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
    assert len(text.encode()) <= LIMIT
    assert not re.search(r"(?<![\w-])nan(?![\w-])", " ".join(page.text.values()), re.IGNORECASE)
    return page


def scattered(count: int, keypoints: int, seed: int = 0) -> list[Instances]:
    random = np.random.default_rng(seed)
    boxes = np.array([[20.0, 10.0, 90.0, 80.0]])
    return [
        Instances.create(random.uniform(20, 80, (1, keypoints, 2)), boxes, visibility=random.integers(0, 3, (1, keypoints)))
        for _ in range(count)
    ]


def names(count: int) -> list[str]:
    return [f"point_{chr(97 + index // 26)}{chr(97 + index % 26)}" for index in range(count)]


@pytest.fixture(scope="module")
def real(read_set: Callable[[str], tuple[Dataset, Dataset]], make_report: Callable[..., Report]) -> tuple[Report, str]:
    report = make_report(*read_set("flies2"))
    return report, render(report)


def test_a_full_report_says_and_shows_everything(real: tuple[Report, str]) -> None:
    report, text = real
    page = checked(text)
    assert report.evaluation is not None
    assert report.baseline is not None
    summary = page.text["summary"].replace("\u00a0", " ")
    assert f"{report.evaluation['median_px']:.2f} px" in summary
    assert f"mean pose {report.baseline['median_px']:.1f} px" in summary
    assert "60 held-out images" in summary
    assert report.pretrained in summary
    assert len(page.images) == 6 + 6 + 13 + 3 + len(report.augmented) + 1
    for name in report.held_out.schema.keypoints:
        assert name in page.text["keypoints"]
        assert name in page.text["heatmaps"]
    assert page.tags.count("svg") == 1 + 1 + 7 + 3
    for name in ("optim.lr", "0.001", "256, 256, 256", "2 cores, AVX2", "versions.torch", "2 min 4 s"):
        assert name in page.text["run"]
    for note in (*report.notes, *report.evaluation.sentences()):
        assert note[1:] in page.text["notes"]


def test_the_same_report_gives_the_same_bytes(real: tuple[Report, str], tmp_path: Path) -> None:
    report, text = real
    target = tmp_path / "report.html"
    write_report(target, report)
    assert target.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [target]


def test_charts_take_their_colours_from_the_page(real: tuple[Report, str]) -> None:
    charts = "".join(re.findall(r"<svg.*?</svg>", real[1], re.DOTALL))
    assert not re.search(r"#000[12]0\d", charts)
    assert not re.search(r"(?:fill|stroke): #(?:000000|ffffff)", charts)
    assert "var(--model)" in charts
    assert "var(--baseline)" in charts


def test_hostile_names_stay_text(in_memory: Callable[..., Dataset], make_report: Callable[..., Report], tmp_path: Path) -> None:
    schema = Schema.create([HOSTILE], [HOSTILE, "b"])
    dataset = in_memory(schema, scattered(3, 2))
    report = replace(
        make_report(dataset, dataset),
        title=HOSTILE,
        config={HOSTILE: {HOSTILE: HOSTILE}},
        machine={HOSTILE: HOSTILE},
        times={HOSTILE: [HOSTILE]},
        model={HOSTILE: None},
        pretrained=HOSTILE,
        notes=[HOSTILE],
        log=[{"epoch": 0.0, "loss": 1.0, f"loss/{HOSTILE}": 1.0, "loss/b": 2.0}, {HOSTILE: 3.0}],
    )
    target = tmp_path / "report.html"
    write_report(target, report)
    text = target.read_text(encoding="utf-8")
    page = checked(text)
    assert "<script" not in text
    assert "{{ 7 * 7 }}" in page.text["notes"]
    for section in ("summary", "keypoints", "images", "data", "run", "notes"):
        assert "<script>alert(1)</script>" in page.text[section], section


def test_one_keypoint_one_image(in_memory: Callable[..., Dataset], make_report: Callable[..., Report]) -> None:
    lone = [Instances.create([[[40.0, 50.0]]])]
    dataset = in_memory(Schema.create(["thing"], ["tip"]), lone)
    found = [Instances.create([[[43.0, 54.0]]], scores=[0.9])]
    report = Report("one", dataset, dataset, found, evaluate(dataset, found))
    page = checked(render(report))
    assert "5.00 px" in page.text["summary"].replace("\u00a0", " ")
    assert "too few held-out images" in page.text["images"]
    assert "1 held-out image that" in page.text["summary"]
    assert len(page.images) == 1


def test_sixty_eight_keypoints_of_noise_stay_below_the_limit(in_memory: Callable[..., Dataset]) -> None:
    random = np.random.default_rng(0)
    dataset = in_memory(Schema.create(["face"], names(68)), scattered(14, 68), (400, 400))
    found = scattered(14, 68, seed=1)
    crop = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    example = HeatmapExample(crop, random.random((68, 64, 64), dtype=np.float32), random.uniform(0, 256, (68, 2)))
    report = Report(
        "noise",
        dataset,
        dataset,
        found,
        evaluate(dataset, found),
        heatmaps=[example] * 8,
        augmented=[(crop, scattered(1, 68)[0])] * 20,
        flipped=(crop, scattered(1, 68)[0]),
        log=[{"step": float(step), "loss": 1 / (step + 1)} for step in range(20_000)],
    )
    page = checked(render(report))
    assert len(page.images) == 6 + 6 + 16 + 6 + 12 + 1
    assert "16 of 68 keypoints" in page.text["heatmaps"]
    assert "40 worst of" in page.text["keypoints"]


@pytest.mark.parametrize("kind", ["unlabelled", "no objects", "no images", "nothing found", "not evaluated", "without arrays"])
def test_what_is_missing_is_a_sentence(kind: str, in_memory: Callable[..., Dataset]) -> None:
    schema = Schema.create(["thing"], ["a", "b"])
    nothing = Instances.empty(2)
    labels = {"unlabelled": [Instances.create(np.full((1, 2, 2), np.nan))] * 2, "no objects": [nothing] * 2, "no images": []}
    dataset = in_memory(schema, labels.get(kind, scattered(2, 2)))
    found = [nothing] * len(dataset) if kind == "nothing found" else scattered(len(dataset), 2, 1)
    evaluation = None if kind == "not evaluated" else evaluate(dataset, found)
    if kind == "without arrays" and evaluation is not None:
        evaluation = type(evaluation).from_dict(evaluation.to_dict(arrays=False))
    page = checked(render(Report("bare", dataset, dataset, found, evaluation, evaluation)))
    expected = {
        "unlabelled": ("images", "No held-out object has a labelled keypoint"),
        "no objects": ("keypoints", "No keypoint is both labelled and found"),
        "no images": ("summary", "On 0 held-out images"),
        "nothing found": ("images", "not found"),
        "not evaluated": ("results", "no evaluation"),
        "without arrays": ("images", "stored without the error of each keypoint"),
    }
    section, sentence = expected[kind]
    assert sentence in page.text[section].replace("\u00a0", " ")
    assert "no log" in page.text["learning"]
    assert "no heatmaps" in page.text["heatmaps"]
    assert "Nothing was recorded" in page.text["run"]
    assert "No picture was mirrored: no keypoint name says left or right" in page.text["training-pictures"]


def test_an_image_that_cannot_be_read_is_named_in_its_place(in_memory: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = in_memory(Schema.create(["thing"], ["a", "b"]), scattered(2, 2))
    dataset = replace(dataset, pictures=[dataset.pictures[0], tmp_path / "gone.jpg"])
    found = scattered(2, 2, 1)
    page = checked(render(Report("gone", dataset, dataset, found, evaluate(dataset, found))))
    assert len(page.images) == 1
    assert "gone.jpg" in page.text["images"]
    assert "does not exist" in page.text["images"]


def test_gaps_in_the_log_are_left_out(in_memory: Callable[..., Dataset]) -> None:
    dataset = in_memory(Schema.create(["thing"], ["a", "b"]), scattered(2, 2))
    log = [
        {"step": 1.0, "loss": float("nan"), "lr": 0.0},
        {"step": 2.0, "loss": 0.0, "val_median_px": float("inf")},
        {"step": 3.0, "loss": 2.0},
        {"loss": 2.0},
    ]
    page = checked(render(Report("gaps", dataset, dataset, log=log)))
    assert "training loss" in page.text["learning"]
    assert "learning rate" in page.text["learning"]
    assert "median error" not in page.text["learning"]


def test_an_earlier_report_survives_a_failure(in_memory: Callable[..., Dataset], tmp_path: Path) -> None:
    dataset = in_memory(Schema.create(["thing"], ["a", "b"]), scattered(1, 2))
    target = tmp_path / "report.html"
    target.write_text("earlier", encoding="utf-8")
    broken = Report("broken", dataset, dataset, augmented=[(np.zeros((4, 4)), Instances.empty(2))])  # type: ignore[list-item]
    with pytest.raises(DekeyError):
        write_report(target, broken)
    assert target.read_text(encoding="utf-8") == "earlier"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(DekeyError, match="does not exist"):
        write_report(tmp_path / "none" / "report.html", Report("empty", dataset, dataset))


def crowded(count: int, seed: int = 0) -> tuple[list[Instances], list[Instances]]:
    """Four objects an image; found with every kind of mistake, and with weak answers that do not count."""
    random = np.random.default_rng(seed)
    corners = np.array([[0.0, 0], [200, 0], [0, 200], [200, 200]])
    truth, found = [], []
    for _ in range(count):
        boxes = np.concatenate([corners, corners + 150], axis=1)
        places = corners[:, None] + [[20.0, 20], [130, 20], [75, 130]]
        truth.append(Instances.create(places, boxes, visibility=random.integers(1, 3, (4, 3))))
        poses = np.concatenate([places + random.normal(0, 0.5, places.shape), random.uniform(0, 400, (6, 3, 2))])
        poses[0, [0, 1]] = poses[0, [1, 0]]
        poses[1, 2] = places[0, 2]
        poses[2, 1] = [180, 290]
        poses[1, 0] += [12, 0]
        scores = np.concatenate([[0.9, 0.8, 0.7, 0.1, 0.5], np.full(5, 0.05)])
        places = np.concatenate([boxes, np.tile([180.0, 180, 240, 240], (6, 1))])
        found.append(Instances.create(poses, places, scores=scores))
    return truth, found


def test_a_detector_is_told_by_its_objects_and_its_mistakes(in_memory: Callable[..., Dataset]) -> None:
    truth, found = crowded(6)
    schema = Schema.create(["thing"], ["a", "b", "c"], sigmas=0.05)
    dataset = in_memory(schema, truth, (400, 400))
    measured = evaluate(dataset, found, boxes=True, score_threshold=0.3)
    report = Report("detector", dataset, dataset, found, measured)
    text = render(report)
    page = checked(text)
    summary = re.sub(r"\s+", " ", page.text["summary"])
    assert "18 of 24 objects were found (75.0 %), and 1 per image were invented" in summary.replace("1.00", "1")
    assert "from a score of 0.30 on" in summary
    assert f"{measured['box_AP']:.3f} of boxes and {measured['AP']:.3f} of poses" in summary
    assert "box average precision" in summary
    assert "By size (annotated area)" in page.text["results"]
    assert "occluded keypoints that are called so" in page.text["results"]
    assert "crops" not in page.text["images"]
    words = page.text["mistakes"]
    for expected in ("a at b", "c at c", "score 0.50", "150 px across", "at no keypoint", "invented", "sigmas of OKS"):
        assert expected in words, expected
    assert measured.failures
    assert measured.failures.keypoints == {"good": 24, "jitter": 6, "inversion": 12, "swap": 6, "miss": 6}
    told = mistakes(report)
    assert told
    assert [row[1] for row in told.section.tables[0].rows] == ["24", "6", "12", "6", "6"]
    assert [row[1] for row in told.section.tables[1].rows] == ["18", "6", "6"]
    shown = re.search(r'<section id="mistakes">.*?</section>', text, re.DOTALL)
    assert shown
    assert shown[0].count("<img") == 6 * 4
    given = replace(report, evaluation=evaluate(dataset, found))
    assert "mistakes" not in checked(render(given)).ids


def test_mistakes_of_noise_leave_the_page_below_the_limit(in_memory: Callable[..., Dataset]) -> None:
    truth, found = crowded(14)
    random = np.random.default_rng(0)
    dataset = in_memory(Schema.create(["thing"], ["a", "b", "c"]), truth, (400, 400))
    crop = random.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    example = HeatmapExample(crop, random.random((3, 64, 64), dtype=np.float32), random.uniform(0, 256, (3, 2)))
    page = checked(
        render(
            Report(
                "noise",
                dataset,
                dataset,
                found,
                evaluate(dataset, found, boxes=True, score_threshold=0.3),
                heatmaps=[example] * 8,
                augmented=[(crop, truth[0][:1])] * 20,
                flipped=(crop, truth[0][:1]),
            )
        )
    )
    assert "fixed 0.05 for every keypoint" in page.text["mistakes"]


def test_answers_must_fit_the_held_out_images(in_memory: Callable[..., Dataset]) -> None:
    dataset = in_memory(Schema.create(["thing"], ["a", "b"]), scattered(2, 2))
    with pytest.raises(ValueError, match="expected 2"):
        Report("short", dataset, dataset, found=scattered(1, 2))
