from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from dekey.data import Dataset, Instances, Sample, Schema
from dekey.data.problem_kinds import problem
from dekey.errors import DekeyError
from dekey.report.doubts import write_doubts

SCHEMA = Schema.create(["face"], ["<b>eye</b>_l", "<b>eye</b>_r"])


def dataset() -> Dataset:
    image = np.full((60, 80, 3), 90, dtype=np.uint8)
    keypoints = [[[20.0, 30.0], [40.0, 30.0]]]
    one = Instances.create(keypoints, boxes=[[10.0, 20.0, 50.0, 40.0]])
    samples = [Sample(image, (60, 80), one, number, np.array([number + 10])) for number in range(3)]
    samples.append(Sample(Path("gone.png"), (60, 80), one, 3, np.array([13])))
    return Dataset.from_samples(SCHEMA, samples)


def finding(image: int, doubt: float):  # type: ignore[no-untyped-def]
    return problem(
        "unlikely-keypoint",
        "<script>far</script>",
        "gone.png" if image == 3 else f"image {image}",
        image + 10,
        doubt=doubt,
        keypoints=("<b>eye</b>_l",),
        expected=((25.0, 30.0),),
    )


def test_each_finding_has_its_pictures_in_the_order_given_and_nothing_is_fetched(tmp_path: Path) -> None:
    pair = problem("near-duplicate-image", "the same", "image 0", doubt=0.9, other="image 1")
    leak = problem("leaked-image", "the same", "image 0", doubt=0.9, other="val.json: image 2")
    record = problem("unreadable-record", "broken")
    found = [finding(0, 0.9), finding(1, 0.7), finding(2, 0.6), finding(3, 0.55), pair, leak, record]
    page = tmp_path / "page.html"
    calls: list[tuple[int, int]] = []
    write_doubts(
        page, "a <b>", dataset(), found, ["<i>"], others={"val.json": dataset()}, most=3, progress=lambda *c: calls.append(c)
    )
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 3 * 2 + 2 + 2
    assert "and 1 more" in text
    assert re.findall(r"0\.\d\d · <b>image (\d)", text)[:3] == ["0", "1", "2"]
    assert "unreadable-record · 1" in text
    assert "<script" not in text
    assert "<b>eye" not in text
    assert "<i>" not in text.partition("<main>")[2].partition('class="key"')[0]
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert calls[-1] == (6, 6)


def test_a_picture_that_cannot_be_read_becomes_a_sentence(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_doubts(page, "title", dataset(), [finding(3, 0.9)])
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert "does not exist" in text


def test_the_expected_place_is_drawn_beside_the_labelled_one(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_doubts(page, "title", dataset(), [finding(0, 0.9)])
    first, second = re.findall(r'<img src="([^"]+)"', page.read_text(encoding="utf-8"))
    assert first != second


def test_nothing_found_is_said(tmp_path: Path) -> None:
    write_doubts(tmp_path / "page.html", "title", dataset(), [])
    assert "Nothing was found" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(DekeyError, match="does not exist"):
        write_doubts(tmp_path / "gone" / "page.html", "title", dataset(), [])


def test_a_meaning_keeps_its_capitals(tmp_path: Path) -> None:
    write_doubts(tmp_path / "page.html", "a", dataset(), [problem("bad-sigmas", "no")], [])
    assert "<p>The OKS sigmas are not usable. To do:" in (tmp_path / "page.html").read_text(encoding="utf-8")
