"""Who may include whom (docs/architecture.md)."""

import re

import pytest
from sources import program_sources, read

LAYERS = {
    "core": {"core"},
    "device": {"core", "device"},
    "nn": {"core", "device", "nn"},
    "optim": {"core", "device", "optim"},
    "dist": {"core", "device", "dist"},
    "io": {"core", "device", "io"},
    "train": {"core", "device", "nn", "optim", "dist", "io", "train"},
    "report": {"core", "io", "train", "report"},
    "jobs": {"core", "device", "nn", "optim", "dist", "io", "train", "report", "jobs"},
}
# header: the places that may include it
LIBRARIES = {
    "mpi.h": ("dist/comm_mpi.c",),
    "hdf5.h": ("io/",),
    "oneapi/": ("src/device/cpu/",),
    "dnnl": ("src/device/cpu/",),
    "omp.h": ("src/device/",),
    "nccl.h": ("dist/nccl/",),
    "cuda": ("src/device/cuda/",),
    "cudnn": ("src/device/cuda/",),
    "cublas": ("src/device/cuda/",),
    "yaml.h": ("src/core/options", "src/train/sweep_"),
    "hwloc.h": ("dist/",),
    "jpeglib.h": ("io/image/",),
    "turbojpeg.h": ("io/image/",),
    "spng.h": ("io/image/",),
    "webp/": ("io/image/",),
    "zip.h": ("io/model/torch_zip.c",),
    "libexif/": ("io/image/",),
    "Random123/": ("src/core/random.c",),
}


def layer(path):
    return path.removeprefix("src/").split("/")[0]


def violations(name, text):
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        quoted, header = match.group(1) == '"', match.group(2)
        for library, places in LIBRARIES.items():
            allowed = name.startswith(places)
            if (header == library or (not library.endswith(".h") and header.startswith(library))) and not allowed:
                found.append(f"{name}:{number}: {header} belongs to {' '.join(places)}")
        if not quoted:
            continue
        if header.startswith("proto/"):
            if layer(name) != "io":
                found.append(f"{name}:{number}: {header} belongs to io/")
        elif layer(header) not in LAYERS[layer(name)]:
            found.append(f"{name}:{number}: {layer(name)} may not include {header}")
    return found


def test_includes():
    names = program_sources()
    assert len(names) > 100
    found = [v for name in names for v in violations(name, read(name))]
    assert found == []


@pytest.mark.parametrize(
    "name, line",
    [
        ("src/core/log.c", '#include "device/device.h"'),
        ("src/nn/plan.c", '#include "dist/comm.h"'),
        ("src/device/device.c", '#include "nn/graph.h"'),
        ("io/data/pack.c", '#include "nn/model.h"'),
        ("dist/reducer.c", '#include "io/data/dataset.h"'),
        ("src/train/update.c", '#include "jobs/command.h"'),
        ("dist/reducer.c", "#include <mpi.h>"),
        ("src/train/meta.c", "#include <hdf5.h>"),
        ("src/nn/plan.c", "#include <oneapi/dnnl/dnnl.h>"),
        ("src/device/module.c", "#include <cuda_runtime_api.h>"),
        ("src/device/cpu/cpu.c", "#include <cudnn.h>"),
    ],
)
def test_a_wrong_include_is_found(name, line):
    assert len(violations(name, f"#include <stdio.h>\n{line}\n")) == 1
