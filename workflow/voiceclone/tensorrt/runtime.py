"""Runs a bundle's engines with TensorRT 10 or later; torch holds the memory of the GPU.

Keys and values stay on the GPU in buffers of one allocation. An engine reads them in place and gives the rows of the
new positions; one copy puts those of all layers behind the earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.backends.backend import Floats
from voiceclone.errors import ConfigError, DataError
from voiceclone.tensorrt.engines import Machine, engines_of, read_recorded
from voiceclone.tensorrt.standard import Array, StandardBackend


class TensorRTBackend(StandardBackend):
    """A :class:`voiceclone.backends.backend.Backend` over engines; one sentence at a time.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.

    Raises:
        ConfigError: an engine was not built for this machine.
    """

    name = "tensorrt"

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        import torch

        self._torch, self._stream = torch, torch.cuda.Stream()
        machine = Machine.here()
        self._engines = {}
        for engine in engines_of(folder, description, machine):
            plan = read_recorded(engine.path, engine.identity)
            if plan is None:
                raise ConfigError(
                    f"bundle {description['target']}: no engine of {engine.name} for {machine.gpu} and TensorRT "
                    f"{machine.tensorrt}",
                    f"build them, once, in some minutes: voiceclone bundle build {folder}",
                )
            self._engines[engine.name] = EngineRunner(engine.name, plan, self._stream)
        super().__init__(folder, description)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Use one stream for all work and all memory."""
        with self._torch.cuda.stream(self._stream), self._torch.inference_mode():
            yield

    def upload(self, array: Array) -> Any:
        """See :class:`StandardBackend`."""
        return self._torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def download(self, array: Any) -> Floats:
        """See :class:`StandardBackend`; waits for the stream."""
        return np.asarray(array.float().cpu().numpy())

    def run(self, graph: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any], profile: int) -> Mapping[str, Any]:
        """See :class:`StandardBackend`."""
        return self._engines[graph].run(inputs, outputs, profile)


class EngineRunner:
    """One engine with an execution context for each of its profiles.

    Args:
        name: of the graph, for messages.
        plan: the serialised engine, whose digest was checked.
        stream: ``torch.cuda.Stream`` on which everything runs.

    Attributes:
        types: ``torch.dtype`` of every output.
    """

    def __init__(self, name: str, plan: bytes, stream: Any) -> None:
        import tensorrt as trt
        import torch

        self.name, self._stream = name, stream
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DataError(f"engine of {name}: TensorRT cannot read it", "delete the folder 'engines' of the bundle")
        kinds = {trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16}
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.types = {
            name: kinds[self._engine.get_tensor_dtype(name)]
            for name in names
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        }
        # Memory for the sizes of the own profile alone.
        strategy = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self._contexts: list[Any] = []
        self._bound: dict[int, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
        for profile in range(self._engine.num_optimization_profiles):
            context = self._engine.create_execution_context(strategy)
            if context is None or not context.set_optimization_profile_async(profile, stream.cuda_stream):
                raise DataError(f"engine of {name}: no memory on the GPU for profile {profile}")
            self._contexts.append(context)
        stream.synchronize()

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], profile: int) -> Mapping[str, Any]:
        """Run on the stream, without waiting; the same objects as in the call before are not bound again.

        Args:
            inputs: contiguous tensors on the GPU by name.
            outputs: tensors to write to, by name; the others are allocated.
            profile: number of the profile that covers the shapes.

        Returns:
            All outputs by name.

        Raises:
            DataError: a shape is outside the profile, or the GPU failed.
        """
        context = self._contexts[profile]
        before = self._bound.pop(profile, (None, None))
        if not (before[0] is inputs and before[1] is outputs):
            outputs = self._bind(context, inputs, outputs)
        self._bound[profile] = inputs, outputs
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise DataError(f"engine of {self.name}: the GPU could not run it; TensorRT's message is above")
        return outputs

    def _bind(self, context: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Bind inputs and outputs to a context; allocates outputs that are not given."""
        import torch

        for name, tensor in inputs.items():
            if not context.set_input_shape(name, tuple(tensor.shape)):
                raise DataError(
                    f"engine of {self.name}: {name} of {tuple(tensor.shape)} is outside its profile",
                    "give shorter sentences: --split punctuation",
                )
            context.set_tensor_address(name, tensor.data_ptr())
        missing = context.infer_shapes()
        if missing:
            raise DataError(f"engine of {self.name}: inputs {missing} are not given")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in self.types if name not in outputs}
        made = {name: torch.empty(shape, dtype=self.types[name], device="cuda") for name, shape in shapes.items()}
        outputs = {**outputs, **made} if made else outputs
        for name, tensor in outputs.items():
            context.set_tensor_address(name, tensor.data_ptr())
        return outputs
