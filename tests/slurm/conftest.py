"""A cluster must answer; a project whose trainings are met half-way."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.cluster_run import HERE, Run, slurm

from project import need_slurm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == HERE:
            item.add_marker(pytest.mark.slurm)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each interruption as often as ROUNDS of 'make test-slurm' says, at other moments of the training."""
    if "moment" in metafunc.fixturenames:
        rounds = int(os.environ.get("SLURM_TEST_ROUNDS", "1"))
        metafunc.parametrize("moment", [2, *(random.Random(number).randint(1, 8) for number in range(1, rounds))])


@pytest.fixture(autouse=True, scope="session")
def cluster() -> None:
    """Skip where no cluster answers; 'make test-slurm' starts one."""
    need_slurm()
    if "SLURM_TEST_HOME" not in os.environ:
        pytest.skip("these tests take nodes down: run them on a cluster of their own, with 'make test-slurm'")


@pytest.fixture
def project(tmp_path: Path, moment: int) -> Iterator[Run]:
    """An empty project, interrupted from a step on; whatever a test leaves of it is ended."""
    made = Run(tmp_path / "project", moment)
    yield made
    left = [number for number, _, state, _ in made.jobs() if state in ("PENDING", "RUNNING")]
    if left:
        slurm("scancel", "--signal=KILL", *left, check=False)


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """Digests of the models of trainings that nothing interrupted, without a cluster; after further options."""
    made: dict[tuple[str, ...], str] = {}

    def get(*kinds: str, options: tuple[str, ...] = ()) -> list[str]:
        for kind in kinds:
            if (kind, *options) not in made:
                run = Run(tmp_path_factory.mktemp("uninterrupted") / "project")
                run.run(str(run.model(kind).relative_to(run.root)), "--set-threads", f"train_{kind}=1", *options)
                made[kind, *options] = run.digests(kind)[0]
        return [made[kind, *options] for kind in kinds]

    return get
