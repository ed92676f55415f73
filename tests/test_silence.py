"""Others that do not answer, or answer nonsense, are waited for with an end."""

import socket
import time

import pytest

from profilesearch.errors import UsageError
from profilesearch.scoring.engines import open_engine
from profilesearch.scoring.engines import ray as engine


def test_a_silent_cluster_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(engine, "ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        for prefix in ("", "ray://"):
            with pytest.raises(UsageError, match="there is no Ray cluster at"):
                open_engine("ray", address=prefix + address)
        assert time.monotonic() - start < 5
