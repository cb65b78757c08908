"""Runs a bundle's engines with TensorRT 10 or later; torch holds the memory of the GPU.

Keys and values stay on the GPU in buffers of one allocation. An engine reads them in place and gives the rows of the
new positions; one copy puts those of all layers behind the earlier ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.errors import ConfigError, DataError
from voiceclone.inference.backend import BERT_CHANNELS, Floats
from voiceclone.inference.engines import Machine, engines_of, read_recorded
from voiceclone.inference.standard import HIDDEN_SCORE, Array, StandardBackend, grown

FIRST, STEP = 0, 1


class TensorRTBackend(StandardBackend):
    """A :class:`voiceclone.inference.backend.Backend` over engines; one sentence at a time.

    Args:
        folder: the bundle's folder.
        description: its ``bundle.json``.

    Raises:
        ConfigError: an engine was not built for this machine.
    """

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        import torch

        super().__init__(description)
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
        half = self._half
        self._nothing, self._hidden = half(1, self.heads, 1, self.width), half(1, 1, 1, 1).fill_(HIDDEN_SCORE)
        self._kept, self._mask = half(len(self.buffers), 1, self.heads, 0, self.width), half(1, 1, 1, 0)
        self._row = half(len(self.buffers), 1, self.heads, 1, self.width)
        self._logits = torch.zeros(1, self.codes, device="cuda")
        whole = (torch.zeros(1, 1, dtype=torch.int64, device="cuda") for _ in range(2))
        self._last = {**dict(zip(("ids", "positions"), whole, strict=True)), "bert": half(1, 1, BERT_CHANNELS)}
        torch.cuda.synchronize()

    def first_pass(self, inputs: Mapping[str, Array]) -> Floats:
        """See :class:`StandardBackend`."""
        with self._torch.cuda.stream(self._stream), self._torch.inference_mode():
            given = {name: self._torch.from_numpy(array).cuda() for name, array in inputs.items()}
            past = {"past_mask": self._hidden, **dict.fromkeys(self.buffers, self._nothing)}
            rows = self._half(len(self.buffers), 1, self.heads, given["ids"].shape[1], self.width)
            self._mask.fill_(HIDDEN_SCORE)
            return self._advance(FIRST, {**given, **past}, rows, 0)

    def next_step(self, inputs: Mapping[str, Array], past: int) -> Floats:
        """See :class:`StandardBackend`."""
        with self._torch.cuda.stream(self._stream), self._torch.inference_mode():
            for name in ("ids", "positions"):
                self._last[name].fill_(int(inputs[name][0, 0]))
            kept = {"past_mask": self._mask, **dict(zip(self.buffers, self._kept, strict=True))}
            return self._advance(STEP, {**self._last, **kept}, self._row, past)

    def _advance(self, profile: int, inputs: Mapping[str, Any], rows: Any, past: int) -> Floats:
        """Run, and put the new rows (2 layers, 1, heads, N, width) behind the ``past`` positions."""
        names = (f"new_{name}" for name in self.buffers)
        outputs = {"logits": self._logits, **dict(zip(names, rows, strict=True))}
        self._engines["text_to_semantic"].run(inputs, outputs, profile)
        end = past + rows.shape[3]
        if end > self._mask.shape[3]:
            self._grow(grown(end))
        self._kept[:, :, :, past:end].copy_(rows)
        self._mask[..., past:end].zero_()
        return np.asarray(self._logits[0].cpu().numpy())

    def _grow(self, capacity: int) -> None:
        kept, mask = self._kept, self._mask
        self._kept = self._half(*kept.shape[:3], capacity, self.width)
        self._mask = self._half(1, 1, 1, capacity).fill_(HIDDEN_SCORE)
        self._kept[:, :, :, : kept.shape[3]].copy_(kept)
        self._mask[..., : mask.shape[3]].copy_(mask)
        self._stream.synchronize()  # the old ones are freed

    def infer(self, graph: str, inputs: Mapping[str, Array]) -> Floats:
        """See :class:`StandardBackend`."""
        runner = self._engines[graph]
        with self._torch.cuda.stream(self._stream), self._torch.inference_mode():
            given = {
                name: self._torch.from_numpy(np.ascontiguousarray(array)).cuda().to(runner.types[name])
                for name, array in inputs.items()
            }
            (out,) = runner.run(given, {}, 0).values()
            return np.asarray(out.float().cpu().numpy())

    def _half(self, *shape: int) -> Any:
        return self._torch.zeros(shape, dtype=self._torch.float16, device="cuda")


class EngineRunner:
    """One engine with an execution context for each of its profiles.

    Args:
        name: of the graph, for messages.
        plan: the serialised engine, whose digest was checked.
        stream: ``torch.cuda.Stream`` on which everything runs.

    Attributes:
        types: ``torch.dtype`` of every input and output.
    """

    def __init__(self, name: str, plan: bytes, stream: Any) -> None:
        import tensorrt as trt
        import torch

        self.name, self._stream = name, stream
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise DataError(f"engine of {name}: TensorRT cannot read it", "delete the folder 'engines' of the bundle")
        kinds = {
            trt.DataType.FLOAT: torch.float32, trt.DataType.HALF: torch.float16, trt.DataType.INT64: torch.int64,
            trt.DataType.INT32: torch.int32, trt.DataType.BOOL: torch.bool,
        }  # fmt: skip
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.types = {name: kinds[self._engine.get_tensor_dtype(name)] for name in names}
        self._outputs = [n for n in names if self._engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        # Memory for the sizes of the own profile alone.
        strategy = trt.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        self._contexts = []
        for profile in range(self._engine.num_optimization_profiles):
            context = self._engine.create_execution_context(strategy)
            if context is None or not context.set_optimization_profile_async(profile, stream.cuda_stream):
                raise DataError(f"engine of {name}: no memory on the GPU for profile {profile}")
            self._contexts.append(context)
        stream.synchronize()

    def run(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], profile: int) -> dict[str, Any]:
        """Run on the stream, without waiting.

        Args:
            inputs: contiguous tensors on the GPU by name.
            outputs: where to write, by name; left out: a new tensor.
            profile: number of the profile that covers the shapes.

        Returns:
            All outputs by name.

        Raises:
            DataError: a shape is outside the profile, or the GPU failed.
        """
        import torch

        context = self._contexts[profile]
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
        made = dict(outputs)
        for name in self._outputs:
            if name not in made:
                shape = tuple(context.get_tensor_shape(name))
                made[name] = torch.empty(shape, dtype=self.types[name], device="cuda")
            context.set_tensor_address(name, made[name].data_ptr())
        if not context.execute_async_v3(self._stream.cuda_stream):
            raise DataError(f"engine of {self.name}: the GPU could not run it; TensorRT's message is above")
        return made
