"""What this machine can do: bytes read per second and float32 operations of matrix products; one line of JSON."""

from __future__ import annotations

import torch
from workload import THREADS, report, timed

#: Far more than any cache.
BYTES = 512 * 2**20
SIDE = 2048


def main() -> None:
    torch.set_num_threads(THREADS)
    numbers, square = torch.zeros(BYTES // 4), torch.randn(SIDE, SIDE)
    read = min(timed(numbers.sum) for _ in range(6))
    product = min(timed(lambda: square @ square) for _ in range(6))
    report(read_gb_per_s=BYTES / 1e9 / read, gemm_gflop_per_s=2 * SIDE**3 / 1e9 / product)


if __name__ == "__main__":
    main()
