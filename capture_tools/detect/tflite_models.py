"""MediaPipe's networks without MediaPipe: its model files, run by LiteRT.

The files (Apache 2.0) are those of the wheel mediapipe 0.10.21, the last one that holds them. An environment in which
that wheel lies serves them; otherwise `capture_tools/fetch_models.py` copies them into the environment.
Nothing of it is imported, so it has no say in the versions of Python and NumPy.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from avatar.base.errors import MissingDependencyError
from capture_tools.detect.native_logs import quiet_native_stderr

INSTALLED_MODELS = Path(sys.prefix) / "share" / "flame-avatar" / "models"
"""Where `capture_tools/fetch_models.py` puts the files."""
WHEEL = "mediapipe"
"""The package whose files do as well, where it is installed."""


def model_bytes(name: str) -> bytes:
    """The model file `name` ("face_detection_short_range.tflite", ...).

    Raises MissingDependencyError where it is not installed.
    """
    path = INSTALLED_MODELS / name
    if not path.is_file():
        path = next((file for file in _files_of_the_wheel() if file.name == name), path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingDependencyError(
            "a network that finds faces, hands or people is not installed",
            where=path,
            found=error.strerror,
            fix=f"{sys.executable} -m capture_tools.fetch_models",
        ) from error


def require_networks() -> None:
    """Raise MissingDependencyError, before any work, where the networks are not installed; they come all at once."""
    model_bytes("pose_landmark_full.tflite")  # the last to be added: earlier installations lack it


def _files_of_the_wheel() -> list[Path]:
    try:
        files = importlib.metadata.distribution(WHEEL).files or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.suffix == ".tflite"]


class Network:
    """One network, or a part of it, on one thread of the CPU. Not for use from two threads at once."""

    def __init__(self, model: bytes) -> None:
        with quiet_native_stderr():  # the first one announces its delegate
            from ai_edge_litert.interpreter import Interpreter

            self._interpreter: Any = Interpreter(model_content=model, num_threads=1)
            self._interpreter.allocate_tensors()
        self._inputs = [one["index"] for one in self._interpreter.get_input_details()]
        self._outputs = [one["index"] for one in self._interpreter.get_output_details()]

    def __call__(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """Float32 tensors in the order of the model's inputs -> its outputs, without the axis of the batch."""
        for index, values in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(index, values[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


class ModelParts:
    """A model file taken apart: its constants and the options of its operations, and parts of it as models.

    For models with operations that only MediaPipe has: the parts between them run, and the caller does the rest.
    """

    def __init__(self, model: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self._model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
        self._graph = self._model.subgraphs[0]
        self._index = {tensor.name.decode(): index for index, tensor in enumerate(self._graph.tensors)}
        self._operators = list(self._graph.operators)

    def constant(self, name: str) -> np.ndarray:
        """A half-precision constant as float32 in its shape."""
        tensor = self._graph.tensors[self._index[name]]
        values = self._model.buffers[tensor.buffer].data
        return np.asarray(values, np.uint8).view(np.float16).astype(np.float32).reshape(tensor.shape)

    def options(self, custom: str) -> list[dict[str, Any]]:
        """The options of all operations of the kind `custom` in their order."""
        from flatbuffers import flexbuffers

        kinds = [code.customCode for code in self._model.operatorCodes]
        ours = [operator for operator in self._operators if kinds[operator.opcodeIndex] == custom.encode()]
        loads: Any = flexbuffers.Loads
        return [loads(bytes(bytearray(operator.customOptions))) for operator in ours]

    def part(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """The model that computes the tensors `outputs` from the tensors `inputs`, named as in the file."""
        import flatbuffers

        first, last = [self._index[name] for name in inputs], [self._index[name] for name in outputs]
        maker = {int(made): operator for operator in self._operators for made in operator.outputs}
        wanted, known, used = list(last), set(first), set()
        while wanted:
            tensor = int(wanted.pop())
            if tensor not in known and tensor in maker:
                used.add(id(maker[tensor]))
                wanted.extend(maker[tensor].inputs)
            known.add(tensor)
        self._graph.operators = [operator for operator in self._operators if id(operator) in used]
        self._graph.inputs, self._graph.outputs = first, last
        self._model.signatureDefs = self._model.metadata = None
        builder = flatbuffers.Builder(1 << 22)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


@cache
def unit_values(low: float, high: float) -> np.ndarray:
    """What the 256 values of a pixel become for a network that wants `low` to `high`: float32 `[256]`, read-only.

    The product is rounded once, together with the sum, as in OpenCV's conversion.
    """
    scale = np.float32(np.float32(high - low) / np.float32(255))
    values = (np.arange(256) * float(scale) + low).astype(np.float32)
    values.flags.writeable = False
    return values
