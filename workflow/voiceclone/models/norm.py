"""Weight normalisation (Salimans and Kingma 2016) under the public keys ``weight_g`` and ``weight_v``."""

from __future__ import annotations

import warnings
from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def weight_norm(module: Module) -> Module:
    """Split ``weight`` into magnitude and direction; the parametrised successor in torch would rename the keys."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module)


def remove_weight_norm(root: nn.Module) -> None:
    """Fold magnitude and direction into plain ``weight`` parameters in every submodule that has them."""
    for module in root.modules():
        if hasattr(module, "weight_g"):
            nn.utils.remove_weight_norm(module)
