from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import dekey
from dekey.data.images import read_image
from dekey.errors import DekeyError
from dekey.runtime import OnnxBackend, OpenvinoBackend
from dekey.runtime.backends import OUTPUTS
from dekey.runtime.openvino import computes_bf16, import_openvino, no_telemetry

# Asked for without importing it: that would report to a web service.
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="needs dekey[openvino]")


@pytest.fixture(scope="module")
def inputs(small_data: Path) -> np.ndarray:
    files = sorted((small_data.parent / "images").iterdir())[:5]
    return np.stack([read_image(file)[:64, :96] for file in files])


@pytest.fixture(scope="module")
def pair(small_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as .xml and .bin, its manifest among OpenVINO's metadata."""
    from dekey.export.openvino import save_pair

    path = tmp_path_factory.mktemp("pair") / "tubes.xml"
    model = import_openvino().Core().read_model(os.fspath(small_onnx))
    save_pair(model, OnnxBackend(small_onnx).manifest, path)
    return path


@pytest.mark.parametrize("mode", ["latency", "throughput"])
@pytest.mark.parametrize("kind", ["onnx", "pair"])
def test_openvino_answers_as_onnx_runtime(kind: str, mode: str, small_onnx: Path, pair: Path, inputs: np.ndarray) -> None:
    expected = OnnxBackend(small_onnx)
    backend = OpenvinoBackend(small_onnx if kind == "onnx" else pair, "fp32", threads=2, mode=mode)  # type: ignore[arg-type]
    assert backend.manifest == expected.manifest
    assert backend.callers == (2 if mode == "throughput" else 1)
    answers, found = expected.run(inputs), backend.run(inputs)
    assert found.keys() == answers.keys() == set(OUTPUTS)
    sure = answers["keypoint_scores"] > 0.2
    for name, values in found.items():
        assert values.dtype == answers[name].dtype
        assert values.shape == answers[name].shape
    np.testing.assert_allclose(found["keypoint_scores"], answers["keypoint_scores"], atol=1e-4)
    np.testing.assert_allclose(found["keypoints"][sure], answers["keypoints"][sure], atol=0.02)


def test_several_threads_may_call_at_once(small_onnx: Path, inputs: np.ndarray) -> None:
    for backend in (OpenvinoBackend(small_onnx, threads=2, mode="throughput"), OnnxBackend(small_onnx, "cpu", 2, "throughput")):
        assert backend.callers == 2
        alone = [backend.run(inputs[row : row + 1]) for row in range(5)]
        with ThreadPoolExecutor(2) as pool:
            together = list(pool.map(lambda row: backend.run(inputs[row % 5][None]), range(40)))  # noqa: B023
        for position, answer in enumerate(together):
            for name, values in answer.items():
                np.testing.assert_array_equal(values, alone[position % 5][name])


def test_a_batch_of_none_has_the_shapes_of_a_batch(small_onnx: Path, inputs: np.ndarray) -> None:
    backend = OpenvinoBackend(small_onnx)
    for name, values in backend.run(inputs[:0]).items():
        assert values.shape == (0, *backend.run(inputs[:1])[name].shape[1:])


def test_bf16_is_close_to_fp32_and_not_the_same(small_onnx: Path, inputs: np.ndarray) -> None:
    if not computes_bf16():
        with pytest.raises(DekeyError, match="no instructions for it"):
            OpenvinoBackend(small_onnx, "bf16")
        pytest.skip("this processor has no bf16")
    exact, rounded = (OpenvinoBackend(small_onnx, one).run(inputs) for one in ("fp32", "bf16"))  # type: ignore[arg-type]
    assert 0 < np.abs(exact["keypoint_scores"] - rounded["keypoint_scores"]).max() < 0.1
    # The surer half of what so small a network says; how sure it is depends on the machine that trained it.
    sure = exact["keypoint_scores"] > np.median(exact["keypoint_scores"])
    assert sure.any()
    # Decoding itself stays in fp32: coordinates of a hundred pixels in bf16 would be whole ones.
    assert np.abs(exact["keypoints"] - rounded["keypoints"])[sure].max() < 0.6
    assert np.modf(rounded["keypoints"])[0].any()


def test_load_knows_the_files(small_onnx: Path, pair: Path, small_run: Path, small_data: Path) -> None:
    data = dekey.read(small_data)
    expected = dekey.load(small_onnx).predict_dataset(data)
    for model, runtime in ((pair, "auto"), (pair, "openvino"), (small_onnx, "openvino")):
        predictor = dekey.load(model, runtime=runtime)  # type: ignore[arg-type]
        assert isinstance(predictor.backend, OpenvinoBackend)
        for one, other in zip(predictor.predict_dataset(data), expected, strict=True):
            assert other.keypoint_scores is not None
            sure = other.keypoint_scores > 0.2
            np.testing.assert_allclose(one.keypoints[sure], other.keypoints[sure], atol=0.1)
    for model, runtime in (
        (pair, "onnx"),
        (pair, "torch"),
        (small_onnx, "torch"),
        (small_run, "openvino"),
        (small_run, "onnx"),
    ):
        with pytest.raises(DekeyError, match="found runtime"):
            dekey.load(model, runtime=runtime)  # type: ignore[arg-type]
    with pytest.raises(DekeyError, match="did you mean 'openvino'"):
        dekey.load(small_onnx, runtime="openvin")  # type: ignore[arg-type]
    with pytest.raises(DekeyError, match="OpenVINO runs on the CPU"):
        dekey.load(pair, "cuda")


def test_what_is_no_model_is_one_sentence(pair: Path, small_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.xml").write_bytes(pair.read_bytes())
    with pytest.raises(DekeyError, match=r"alone\.bin does not exist"):
        dekey.load(tmp_path / "alone.xml")
    for name, content in (("text", b"no model"), ("cut", pair.read_bytes()[:5000]), ("empty", b"")):
        (tmp_path / f"{name}.xml").write_bytes(content)
        (tmp_path / f"{name}.bin").write_bytes(b"")
        with pytest.raises(DekeyError, match="OpenVINO can read"):
            dekey.load(tmp_path / f"{name}.xml")
    bare = pair.read_text(encoding="utf-8").replace("manifest", "another")
    (tmp_path / "bare.xml").write_text(bare, encoding="utf-8")
    (tmp_path / "bare.bin").write_bytes(pair.with_suffix(".bin").read_bytes())
    with pytest.raises(DekeyError, match="carries no dekey manifest"):
        dekey.load(tmp_path / "bare.xml")
    other = pair.read_text(encoding="utf-8").replace("input_size&quot;:[64,96]", "input_size&quot;:[64,64]")
    (tmp_path / "other.xml").write_text(other, encoding="utf-8")
    (tmp_path / "other.bin").write_bytes(pair.with_suffix(".bin").read_bytes())
    with pytest.raises(DekeyError, match="does not fit its manifest"):
        dekey.load(tmp_path / "other.xml")


def test_a_pair_of_which_one_was_replaced_is_refused(pair: Path, tmp_path: Path) -> None:
    """Another network's .bin of the same length fits the graph; only the hash tells."""
    path = tmp_path / "tubes.xml"
    path.write_bytes(pair.read_bytes())
    weights = bytearray(pair.with_suffix(".bin").read_bytes())
    path.with_suffix(".bin").write_bytes(weights)
    assert dekey.load(path).manifest == dekey.load(pair).manifest
    weights[len(weights) // 2] ^= 1
    path.with_suffix(".bin").write_bytes(weights)
    with pytest.raises(DekeyError, match=r"tubes\.bin is not the file that was written with"):
        dekey.load(path)
    path.with_suffix(".bin").write_bytes(pair.with_suffix(".bin").read_bytes())
    path.write_text(pair.read_text(encoding="utf-8").replace("weights_sha256", "another"), encoding="utf-8")
    with pytest.raises(DekeyError, match=r"tubes\.bin is not the file that was written with"):
        dekey.load(path)


USES = {
    "openvino": """
from dekey.runtime import OpenvinoBackend
OpenvinoBackend(sys.argv[1])
import openvino.tools.ovc.telemetry_utils as utils
stub = utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
""",
    "nncf": """
import numpy as np
from dekey.export.int8 import quantise_openvino
from dekey.runtime.openvino import import_openvino
model = import_openvino().Core().read_model(sys.argv[1])
quantise_openvino(model, [np.zeros((64, 96, 3), dtype=np.uint8)])
from nncf.telemetry import wrapper
stub = not hasattr(wrapper, "Telemetry")
""",
}


@pytest.mark.parametrize("package", USES)
def test_nothing_is_reported_and_no_home_is_written_to(package: str, small_onnx: Path, tmp_path: Path) -> None:
    """With a home in which nobody has opted out, and every connection a fault."""
    if find_spec(package) is None:
        pytest.skip("needs dekey[quantize]")
    code = f"""
import json, socket, sys
tried = []
def refuse(*_, **__): tried.append(1); raise AssertionError("a connection")
socket.create_connection = socket.socket.connect = socket.getaddrinfo = refuse
{USES[package]}
print(json.dumps([stub, "openvino_telemetry" in sys.modules, tried]))
"""
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    environment.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-c", code, str(small_onnx)], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True, False, []]
    assert list(tmp_path.iterdir()) == []


def test_opening_a_model_imports_no_torch(small_onnx: Path) -> None:
    code = "import sys, dekey.runtime as own; own.OpenvinoBackend(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(small_onnx)], check=True, timeout=240)


def test_without_openvino_the_extra_is_named(small_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DekeyError, match=r'pip install "dekey\[openvino\]"'):
        dekey.load(small_onnx, runtime="openvino")


def test_two_threads_hide_the_telemetry_one_after_the_other() -> None:
    before = sys.modules.get("openvino_telemetry")
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait()
        with no_telemetry():
            order.append("second")

    other = threading.Thread(target=second)
    other.start()
    with no_telemetry():
        inside.set()
        other.join(0.2)
        order.append("first")
    other.join()
    assert order == ["first", "second"]
    assert sys.modules.get("openvino_telemetry") is before
