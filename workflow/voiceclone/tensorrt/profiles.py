"""Sizes that TensorRT prepares engines for: least, usual and largest shape of every input, from the model.

An engine runs no shape outside its profiles. The text-to-semantic engine has two, because one graph serves a first pass
over many rows without a past, and steps of one row over a long past.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx

from voiceclone.speaking.backend import CACHE_STEP, MARGIN_FRAMES
from voiceclone.speaking.bundle import Reference
from voiceclone.tensorrt.standard import PART_FRAMES

Shape = list[int]
#: For each profile of a graph, for each input: the shapes ``min``, ``opt`` and ``max``.
Profile = Mapping[str, Mapping[str, Shape]]
Profiles = Mapping[str, Sequence[Profile]]
#: Least, usual and largest size.
Range = tuple[int, int, int]

#: Most semantic tokens of a piece (60 s), of a usual one, and of a reference clip (10 s), 25 a second.
TOKENS, USUAL_TOKENS, PROMPT_TOKENS = 1500, 125, 250
#: Semantic tokens per phone where nothing is known of a voice, and of a very hasty speaker.
USUAL_RATE, HASTY_RATE = 2.0, 0.5
#: Frames per token, and the slowest speed at which a piece of most tokens can still be spoken.
FRAMES_PER_TOKEN, SLOWEST = 2, 0.5
SCRIPT = "build_engines.sh"
HEADER = """\
#!/bin/sh
# Builds the engines of this bundle with trtexec of TensorRT 10 or later, for other programs that run them.
# voiceclone builds its own: voiceclone bundle build FOLDER
set -eu
cd "$(dirname "$0")"
mkdir -p engines
"""


@dataclass(frozen=True)
class Sizes:
    """How long texts and clips of a voice are.

    Attributes:
        phones: most phones of a piece of text.
        usual_phones: those of a usual one.
        prompt_phones: most phones of a reference clip.
        usual_prompt: rows that the voice's own clip takes, phones and tokens.
    """

    phones: int
    usual_phones: int
    prompt_phones: int
    usual_prompt: int

    @classmethod
    def of(cls, rates: Mapping[str, float], reference: Reference) -> Sizes:
        """From the voice's tokens per phone by language and its reference clip; hasty speech is twice as fast."""
        usual = min(rates.values(), default=USUAL_RATE)
        least = max(HASTY_RATE, usual / 2)
        counts = (math.ceil(TOKENS / least), math.ceil(USUAL_TOKENS / usual), math.ceil(PROMPT_TOKENS / least))
        return cls(*counts, len(reference.phones) + len(reference.tokens))

    @property
    def rows(self) -> int:
        """Most rows of a first pass."""
        return self.prompt_phones + PROMPT_TOKENS + self.phones

    @property
    def usual_rows(self) -> int:
        """Rows of a usual first pass."""
        return self.usual_prompt + self.usual_phones


def ranges(sizes: Sizes, steps_per_frame: int) -> dict[str, list[dict[str, Range]]]:
    """Sizes of the free dimensions of every graph by name, a dictionary per profile."""
    past = [-(-count // CACHE_STEP) * CACHE_STEP for count in (sizes.usual_rows + USUAL_TOKENS, sizes.rows + TOKENS)]
    frames = (1, FRAMES_PER_TOKEN * USUAL_TOKENS, math.ceil(FRAMES_PER_TOKEN * TOKENS / SLOWEST) + 1)
    part = (PART_FRAMES + 2 * MARGIN_FRAMES) * steps_per_frame
    first = {"rows": (1, sizes.usual_rows, sizes.rows), "past": (1, 1, 1)}
    step = {"rows": (1, 1, 1), "past": (CACHE_STEP, past[0], past[1])}
    codes, phones = (1, USUAL_TOKENS, TOKENS), (1, sizes.usual_phones, sizes.phones)
    return {
        "text_to_semantic": [first, step],
        "latent": [{"codes": codes, "phones": phones, "frames": frames}],
        "head": [{"frames": frames}],
        "frames": [{"frames": frames}],
        "tail": [{"steps": (steps_per_frame, min(part, frames[1] * steps_per_frame), part)}],
    }


def profiles(
    graphs: Mapping[str, onnx.ModelProto], sizes: Sizes, steps_per_frame: int
) -> dict[str, list[dict[str, dict[str, Shape]]]]:
    """The profiles of every graph: shapes of the inputs that have a free dimension."""
    found = ranges(sizes, steps_per_frame)
    return {name: [_shapes(model, free) for free in found[name]] for name, model in graphs.items()}


def _shapes(model: onnx.ModelProto, free: Mapping[str, Range]) -> dict[str, dict[str, Shape]]:
    out = {}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        if any(dim.dim_param for dim in dims):
            out[value.name] = {
                which: [free[dim.dim_param][place] if dim.dim_param else dim.dim_value for dim in dims]
                for place, which in enumerate(("min", "opt", "max"))
            }
    return out


def not_covered(model: onnx.ModelProto, found: Sequence[Profile]) -> list[str]:
    """Inputs whose free dimensions a profile leaves out, or whose shapes do not fit the input."""
    faults = [] if found else ["no profile"]
    for number, profile in enumerate(found):
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            shapes = [profile.get(value.name, {}).get(which) for which in ("min", "opt", "max")]
            if shapes == [None] * 3 and not any(dim.dim_param for dim in dims):
                continue
            if any(shape is None or len(shape) != len(dims) for shape in shapes):
                faults.append(f"profile {number}: input {value.name} has no shapes of {len(dims)} dimensions")
                continue
            for place, dim in enumerate(dims):
                low, usual, high = (shape[place] for shape in shapes if shape is not None)
                fixed = not dim.dim_param
                if not 0 < low <= usual <= high or (fixed and not low == high == dim.dim_value):
                    faults.append(f"profile {number}: input {value.name}, dimension {place}: {low}, {usual}, {high}")
    return faults


def trtexec(name: str, found: Sequence[Profile]) -> list[str]:
    """Arguments of the ``trtexec`` that builds a graph's engine, in the bundle's folder.

    From TensorRT 11 on all networks are strongly typed, and the option does nothing.
    """
    arguments = ["trtexec", f"--onnx={name}.onnx", f"--saveEngine=engines/{name}.engine", "--skipInference"]
    arguments += ["--stronglyTyped", "--noTF32"]
    for number, profile in enumerate(found):
        arguments += [f"--profile={number}"] if len(found) > 1 else []
        for which in ("min", "opt", "max"):
            shapes = (f"{key}:{'x'.join(map(str, shape[which]))}" for key, shape in profile.items())
            arguments.append(f"--{which}Shapes={','.join(shapes)}")
    return arguments


def build_script(found: Profiles) -> str:
    """A shell script with one ``trtexec`` per graph; names and numbers alone, nothing that a user wrote."""
    return HEADER + "".join(f"{shlex.join(trtexec(name, entry))}\n" for name, entry in found.items())
