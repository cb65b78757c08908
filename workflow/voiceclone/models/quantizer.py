"""The frozen vector quantiser: one codebook, nearest neighbour by Euclidean distance (EnCodec's layout of keys)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Codebook(nn.Module):
    """Table of vectors with the statistics that its fitting kept; all buffers, so that nothing trains it."""

    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        vectors = torch.randn(size, dim)
        self.register_buffer("inited", torch.ones(1))
        self.register_buffer("cluster_size", torch.ones(size))
        self.register_buffer("embed", vectors)
        self.register_buffer("embed_avg", vectors.clone())


class _Layer(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self._codebook = Codebook(size, dim)


class _Residual(nn.Module):
    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([_Layer(size, dim)])


class Quantizer(nn.Module):
    """Vectors to codes and back, under the public keys ``vq.layers.0._codebook.*``."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.vq = _Residual(size, dim)

    @property
    def table(self) -> Tensor:
        """Vectors of the codes (K, D)."""
        return self.vq.layers[0]._codebook.embed  # type: ignore[union-attr,return-value]

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Codes int64 (B, 1, T) nearest to vectors (B, D, T)."""
        points, table = vectors.transpose(1, 2).float(), self.table.float()
        # |x|² is the same for all codes and left out.
        distances = table.square().sum(1) - 2 * points @ table.T
        return distances.argmin(-1).unsqueeze(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Vectors (B, D, T) of codes (B, 1, T)."""
        return nn.functional.embedding(codes.squeeze(1), self.table).transpose(1, 2)
