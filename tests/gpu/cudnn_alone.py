"""The real cuDNN without a GPU: its libraries, and a driver that finds no device (docs/gpu.md)."""

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


def make_driver(folder):
    """A libcuda.so.1 that loads and finds no device: cuDNN then compiles its kernels and does not load them."""
    if toolkit() is None or not (toolkit() / "include/cuda.h").exists():
        pytest.skip("needs the CUDA toolkit's headers")
    names = [n for n in driver_names(toolkit() / "include/cuda.h") if f"int {n}(" not in OWN]
    assert len(names) > 300
    stubs = "".join(f"int {n}(void) {{ return 100; }}\n" for n in names)
    (folder / "driver.c").write_text("#define _GNU_SOURCE\n#include <dlfcn.h>\n" + OWN + stubs)
    command = ["cc", "-w", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "driver.c", "-o", "libcuda.so.1", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder


def ask(build, driver, library, *arguments, seconds=500):
    if library not in libraries():
        pytest.skip(f"there is no libcudnn.so.9 of the {library}")
    path = ":".join(map(str, [driver, *libraries()[library]]))
    return subprocess.run(
        [build / "bin/gpu_graphs", *arguments],
        env={**os.environ, "LD_LIBRARY_PATH": path},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def all_have_an_engine(done):
    """Every graph that was asked for was accepted, within the workspace that the device allows. Returns the last line, parsed."""
    *lines, last = done.stdout.splitlines()
    assert done.returncode == 0, "\n".join(line for line in lines if not line.startswith("ok ")) + done.stderr
    asked, there, refused, total, most = map(int, re.search(r"(\d+) of (\d+) graphs asked for, (\d+) refused; workspace (\d+) bytes in all, at most (\d+)", last).groups())
    accepted = [line for line in lines if line.startswith("ok ")]
    assert len(accepted) == asked and refused == 0
    sizes = [int(line.rsplit(" ", 1)[1]) for line in accepted]
    assert sum(sizes) == total and max(sizes) == most <= MOST_WORKSPACE
    return asked, there
