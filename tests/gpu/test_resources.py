"""What the own kernels take of a GPU's registers and memory, read from the compiled module."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

MOST_REGISTERS = 128
MOST_SHARED = 28 << 10  # bytes of a block: 8 blocks share the 228 KiB of an H100


def cuobjdump():
    found = shutil.which("cuobjdump")
    beside = sorted(pathlib.Path(sys.prefix).glob("lib/python3*/site-packages/**/bin/cuobjdump"))
    if found is None and not beside:
        pytest.skip("needs cuobjdump (pip install nvidia-cuda-cuobjdump)")
    return found or beside[0]


def usages(text):
    pattern = r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)"
    return [(m[1], *map(int, m.groups()[1:])) for m in re.finditer(pattern, text)]


def test_kernels_are_bounded_and_spill_nothing(build):
    module = build / "lib/lockstep/lockstep_cuda.so"
    text = subprocess.run([cuobjdump(), "--dump-resource-usage", module], check=True, capture_output=True, text=True).stdout
    found = usages(text)
    print(*(f"{name}: {registers} registers, {shared} shared" for name, registers, _, shared, _ in found), sep="\n")
    assert len(found) >= 30
    over = [u for u in found if u[1] > MOST_REGISTERS or u[2] > 0 or u[3] > MOST_SHARED or u[4] > 0]
    assert over == []


def test_usage_is_read():
    assert usages(" Function _Z1kPf:\n  REG:8 STACK:16 SHARED:32 LOCAL:4 CONSTANT[0]:360") == [("_Z1kPf", 8, 16, 32, 4)]
