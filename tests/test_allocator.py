"""Memory that is used again is not cleared by the kernel again."""

import subprocess
import sys

import pytest

_PAGES = """
import resource
from profilesearch.system.allocator import keep_freed_memory

if {kept}:
    keep_freed_memory()
bytearray(50_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    bytearray(50_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is glibc's")
def test_freed_memory_is_used_again() -> None:
    def faults(kept: bool) -> int:
        run = subprocess.run([sys.executable, "-c", _PAGES.format(kept=kept)], capture_output=True, check=True)
        return int(run.stdout)

    assert faults(kept=True) * 10 < faults(kept=False)
