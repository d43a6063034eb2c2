"""Plans for end-to-end tests, each compiled once."""

from collections.abc import Iterator

import pytest
from exports import Plans


@pytest.fixture(scope="session")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plans]:
    yield Plans(tmp_path_factory.mktemp("plans"))
