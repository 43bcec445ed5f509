from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dekey
from dekey.data.images import read_image
from dekey.errors import DekeyError
from dekey.formats.coco_results import read_results
from dekey.runtime import OnnxBackend
from dekey.runtime.manifest import MANIFEST_KEY

BLOCKED = ["lightning", "matplotlib", "onnx", "safetensors", "tensorboard", "timm", "torch", "torchvision"]
WITHOUT_TORCH = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def pictures(small_data: Path) -> list[Path]:
    return sorted((small_data.parent / "images").iterdir())


def without_torch(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", WITHOUT_TORCH + code, *words], capture_output=True, text=True, timeout=120)


def test_a_machine_without_torch_loads_and_answers_alike(small_onnx: Path, small_run: Path, small_data: Path) -> None:
    data = dekey.read(small_data)
    code = """
import json
import dekey
dataset = dekey.read(sys.argv[2])
found = dekey.load(sys.argv[1]).predict_dataset(dataset)
print(json.dumps([[one.keypoints.tolist(), one.scores.tolist()] for one in found]))
"""
    done = without_torch(code, str(small_onnx), str(small_data))
    assert done.returncode == 0, done.stderr
    expected = dekey.load(small_run, "cpu").predict_dataset(data)
    for (keypoints, scores), one in zip(json.loads(done.stdout), expected, strict=True):
        np.testing.assert_allclose(scores, one.scores, atol=1e-4)
        assert one.keypoint_scores is not None
        sure = one.keypoint_scores >= 0.2
        np.testing.assert_allclose(np.array(keypoints)[sure], one.keypoints[sure], atol=0.05)


def test_a_machine_without_torch_predicts_by_command(small_onnx: Path, small_data: Path, tmp_path: Path) -> None:
    words = ["predict", str(small_onnx), str(small_data.parent / "images"), "--boxes", str(small_data)]
    done = without_torch("from dekey.cli import main; sys.exit(main())", *words, "--out", str(tmp_path / "found.json"))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    data = dekey.read(small_data)
    expected = dekey.load(small_onnx).predict_dataset(data)
    found = read_results(tmp_path / "found.json", data)
    for one, other in zip(found, expected, strict=True):
        order = np.argsort(-other.scores, kind="stable")  # type: ignore[operator]
        np.testing.assert_allclose(one.keypoints, other.keypoints[order], atol=1e-6)


def test_a_run_folder_without_torch_is_told_what_to_install(small_run: Path, small_data: Path) -> None:
    words = ["predict", str(small_run), str(pictures(small_data)[0])]
    done = without_torch("from dekey.cli import main; sys.exit(main())", *words)
    assert done.returncode == 2
    assert 'pip install "dekey[train]"' in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    done = without_torch("import dekey; dekey.load(sys.argv[1])", str(small_run))
    assert done.stderr.splitlines()[-1].startswith("dekey.errors.DekeyError: torch is not installed, which ")


def test_the_graph_takes_uint8_pictures_in_any_number(small_onnx: Path, small_data: Path) -> None:
    backend = OnnxBackend(small_onnx)
    inputs = np.stack([read_image(file)[:64, :96] for file in pictures(small_data)[:5]])
    whole = backend.run(inputs)
    assert whole["keypoints"].shape == (5, 1, 2, 2)
    assert whole["labels"].dtype == np.int64
    for row in range(5):
        for name, values in backend.run(inputs[row : row + 1]).items():
            np.testing.assert_allclose(values[0], whole[name][row], atol=1e-3)


def test_suffix_and_path_may_be_written_any_way(small_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "MODEL.ONNX").write_bytes(small_onnx.read_bytes())
    assert dekey.load(str(tmp_path / "MODEL.ONNX"), "cpu", 2).schema.keypoints == ("head", "tail")


@pytest.mark.parametrize(
    ("device", "expected"), [("qpu", "there is no device 'qpu'"), ("cuda", "has no CUDA|could not start"), ("", "no device ''")]
)
def test_a_device_that_is_not_there_is_one_sentence(small_onnx: Path, device: str, expected: str) -> None:
    import onnxruntime

    if device == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has it")
    with pytest.raises(DekeyError, match=expected):
        dekey.load(small_onnx, device)


BAD_FILES: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "cut short": (lambda file: file.read_bytes()[:50_000], "is no ONNX model that can be run"),
    "text": (lambda _: b"not a model\n", "is no ONNX model that can be run.*; write it again with `dekey export`"),
    "empty": (lambda _: b"", "is no ONNX model that can be run|carries no dekey manifest"),
    "noise": (lambda _: np.random.default_rng(0).bytes(20_000), "is no ONNX model that can be run"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_model_is_one_sentence(
    kind: str, small_onnx: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, expected = BAD_FILES[kind]
    path = tmp_path / "model.onnx"
    path.write_bytes(make(small_onnx))
    with pytest.raises(DekeyError, match=expected) as caught:
        dekey.load(path)
    assert str(path) in str(caught.value)
    assert capfd.readouterr().err == ""  # ONNX Runtime does not chatter beside it


@pytest.mark.parametrize("name", ["gone.onnx", "folder.onnx", "gone", "folder", "text.pt"])
def test_a_path_that_is_no_model_is_one_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "text.pt").write_text("x")
    with pytest.raises(DekeyError, match=r"expected an \.onnx(, \.xml or \.keras)? file"):
        dekey.load(tmp_path / name)


def test_a_mode_that_is_not_there_is_one_sentence(small_onnx: Path) -> None:
    with pytest.raises(DekeyError, match=r"there is no mode 'throughputs' \(did you mean 'throughput'\?\)"):
        dekey.load(small_onnx, mode="throughputs")  # type: ignore[arg-type]


def rewritten(source: Path, target: Path, change: Callable[[object, dict[str, str]], None]) -> Path:
    import onnx

    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    change(model, metadata)
    onnx.helper.set_model_props(model, metadata)
    onnx.save_model(model, os.fspath(target))
    return target


def edit(**values: object) -> Callable[[object, dict[str, str]], None]:
    def change(_: object, metadata: dict[str, str]) -> None:
        metadata[MANIFEST_KEY] = json.dumps({**json.loads(metadata[MANIFEST_KEY]), **values})

    return change


def rename_output(model: object, _: dict[str, str]) -> None:
    for node in model.graph.node:  # type: ignore[attr-defined]
        for index, name in enumerate(node.output):
            node.output[index] = "other" if name == "visibility" else name
    for output in model.graph.output:  # type: ignore[attr-defined]
        output.name = "other" if output.name == "visibility" else output.name


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _, metadata: metadata.clear(), "carries no dekey manifest"),
        (edit(manifest_version=7), "newer dekey"),
        (edit(input_size=[64, 64]), "does not fit its manifest"),
        (rename_output, "does not fit its manifest"),
        (
            edit(
                keypoint_schema={
                    "classes": ["a"],
                    "keypoints": ["x", "y", "z"],
                    "edges": [],
                    "mirror": None,
                    "sigmas": None,
                    "present": [[True, True, True]],
                }
            ),
            "does not fit its manifest",
        ),
        (edit(keypoint_schema={}), "the stored schema is not whole"),
    ],
    ids=["no manifest", "future", "other size", "other outputs", "other keypoints", "broken schema"],
)
def test_a_model_whose_manifest_does_not_fit_is_refused_when_it_is_opened(
    change: Callable[[object, dict[str, str]], None], expected: str, small_onnx: Path, tmp_path: Path
) -> None:
    path = rewritten(small_onnx, tmp_path / "model.onnx", change)
    with pytest.raises(DekeyError, match=expected):
        dekey.load(path)
