"""clang-tidy (.clang-tidy) on every source file: no finding. Minutes, so one test a folder, each on all cores."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from sources import ROOT, program_sources

PROGRAM = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")
# The functions that analyzer.h tells about are defined there.
PLAIN = {"src/core/error.c"}
FOLDERS = ["src/core", "src/device", "src/nn", "src/optim", "src/train", "dist", "io", "jobs"]


def build():
    if PROGRAM is None:
        pytest.skip("needs clang-tidy 14")
    if "version 14." not in subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("needs clang-tidy 14: other versions find other things")
    folder = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
    if not (folder / "compile_commands.json").exists():
        pytest.skip(f"{folder} has no compile_commands.json")
    return folder


def tidy(folder, name):
    words = [PROGRAM, "-p", folder, "--quiet", name]
    if name not in PLAIN:
        words += ["--extra-arg=-include", f"--extra-arg={ROOT}/tests/lint/analyzer.h"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if " error: " in line or " warning: " in line or line.startswith("error")]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_findings(folder):
    build_folder = build()
    known = {pathlib.Path(c["file"]) for c in json.loads((build_folder / "compile_commands.json").read_text())}
    names = [n for n in program_sources() if n.startswith(folder + "/") and n.endswith(".c")]
    assert names and [n for n in names if ROOT / n not in known] == []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [line for lines in pool.map(lambda n: tidy(build_folder, n), names) for line in lines]
    assert sorted(set(found)) == []


def test_a_fault_is_found(tmp_path):
    """The configuration reaches clang-tidy, and the analyzer follows lk_fail."""
    folder = build()
    source = tmp_path / "fault.c"
    source.write_text(
        '#include "core/error.h"\n'
        "static lk_status find(const int **out, int i, lk_error *err) {\n"
        "    static const int table[1] = {7};\n"
        "    *out = 0;\n"
        '    if (i != 0) return lk_fail(err, LK_ERR_DATA, "none");\n'
        "    *out = table;\n"
        "    return LK_OK;\n"
        "}\n"
        "int good(int i, lk_error *err) {\n"
        "    const int *p;\n"
        "    return find(&p, i, err) == LK_OK ? *p : 0;\n"
        "}\n"
        "int bad(int i, lk_error *err) {\n"
        "    const int *p;\n"
        "    return find(&p, i, err) == LK_OK ? 0 : *p;\n"
        "}\n"
    )
    words = [PROGRAM, f"--config-file={ROOT}/.clang-tidy", "--quiet", source, f"--extra-arg=-I{ROOT}/src",
             "--extra-arg=-include", f"--extra-arg={ROOT}/tests/lint/analyzer.h", "--"]
    found = subprocess.run(words, capture_output=True, text=True).stdout
    assert "fault.c:15:" in found and "NullDereference" in found and "fault.c:11:" not in found.replace("note", "")
