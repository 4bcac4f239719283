"""The real cuDNN accepts every convolution graph of the models, asked without a GPU (docs/gpu.md)."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

MOST_WORKSPACE = 256 << 20  # LK_CUDA_WORKSPACE_LIMIT


def toolkit():
    nvcc = shutil.which("nvcc")
    return pathlib.Path(nvcc).resolve().parents[1] if nvcc else None


def libraries():
    """Folders in which a libcudnn.so.9 and what it loads lie: from PyPI beside this Python, and the toolkit's."""
    found = {}
    nvidia = sorted(pathlib.Path(sys.prefix).glob("lib/python3*/site-packages/nvidia"))
    for folder in nvidia:
        if (folder / "cudnn/lib/libcudnn.so.9").exists():
            found["pypi"] = [folder / "cudnn/lib", *folder.glob("cu1*/lib")]
    if toolkit() and (toolkit() / "lib64/libcudnn.so.9").exists():
        found["toolkit"] = [toolkit() / "lib64"]
    return found


def driver_names(header):
    """Functions of CUDA's driver, under all names that the header gives them."""
    text = header.read_text(encoding="utf-8", errors="replace")
    names = set(re.findall(r"CUresult\s+CUDAAPI\s+(cu[A-Z]\w*)\s*\(", text))
    return sorted(names | set(re.findall(r"#define\s+cu[A-Z]\w*\s+(?:__CUDA_API_PT\w+\()?(cu[A-Z]\w*)", text)))


OWN = """
int cuInit(unsigned flags) { (void)flags; return 0; }
int cuDeviceGetCount(int *count) { *count = 0; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuGetErrorString(int code, const char **text) { (void)code; *text = "no device"; return 0; }
int cuGetErrorName(int code, const char **text) { (void)code; *text = "CUDA_ERROR_NO_DEVICE"; return 0; }
int cuGetProcAddress_v2(const char *name, void **out, int version, unsigned long long flags, void *status) {
    (void)version, (void)flags, (void)status;
    void *self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW);
    *out = self ? dlsym(self, name) : 0;
    return *out ? 0 : 500; /* CUDA_ERROR_NOT_FOUND */
}
int cuGetProcAddress(const char *name, void **out, int version, unsigned long long flags) {
    return cuGetProcAddress_v2(name, out, version, flags, 0);
}
"""


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """A libcuda.so.1 that loads and finds no device: cuDNN then compiles its kernels and does not load them."""
    if toolkit() is None or not (toolkit() / "include/cuda.h").exists():
        pytest.skip("needs the CUDA toolkit's headers")
    folder = tmp_path_factory.mktemp("driver")
    names = [n for n in driver_names(toolkit() / "include/cuda.h") if f"int {n}(" not in OWN]
    assert len(names) > 300
    stubs = "".join(f"int {n}(void) {{ return 100; }}\n" for n in names)
    (folder / "driver.c").write_text("#define _GNU_SOURCE\n#include <dlfcn.h>\n" + OWN + stubs)
    command = ["cc", "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "driver.c", "-o", "libcuda.so.1", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder


def ask(build, driver, library, *arguments):
    if library not in libraries():
        pytest.skip(f"there is no libcudnn.so.9 of the {library}")
    path = ":".join(map(str, [driver, *libraries()[library]]))
    return subprocess.run(
        [build / "bin/gpu_graphs", *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": path},
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.mark.parametrize(
    "library, model, batch, types, graphs",
    [
        ("pypi", "resnet50", "256", ["float32", "bfloat16"], 136),
        ("toolkit", "resnet18", "256", ["float32", "bfloat16"], 64),
    ],
)
def test_every_convolution_has_an_engine(build, driver, library, model, batch, types, graphs):
    done = ask(build, driver, library, model, batch, *types)
    lines = done.stdout.splitlines()
    accepted = [line for line in lines if line.startswith("ok ")]
    assert done.returncode == 0, "\n".join(line for line in lines if not line.startswith("ok "))
    assert len(accepted) == graphs
    assert all(int(line.rsplit(" ", 1)[1]) <= MOST_WORKSPACE for line in accepted)


def test_a_shape_that_nobody_takes_is_refused(build, driver):
    """The question can be answered with no: more elements than cuDNN counts."""
    done = ask(build, driver, "pypi", "resnet18", str(1 << 40), "bfloat16")
    assert done.returncode == 1 and "refused" in done.stdout
