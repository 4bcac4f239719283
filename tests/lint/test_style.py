"""Sizes, words and state that the code keeps to (CONTRIBUTING.md)."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from sources import ROOT, functions, program_sources, read, tracked, without_comments

MAX_FUNCTION, MAX_FILE = 80, 600


def c_files():
    return tracked(".c", ".h", ".cu", ".cuh")


def test_functions_are_short():
    long = [
        f"{name}:{first}: {function} has {lines} lines"
        for name in c_files()
        for function, first, lines in functions(read(name))
        if lines > MAX_FUNCTION
    ]
    assert long == []


def test_files_are_short():
    long = [f"{n}: {len(read(n).splitlines())} lines" for n in c_files() if len(read(n).splitlines()) > MAX_FILE]
    assert long == []


def test_function_lengths_are_seen():
    body = "    f();\n" * 90
    text = f"static int table[] = {{\n    1,\n}};\n\nstatic int long_one(int a,\n    int b) {{\n{body}}}\n\nint g(void) {{ return 1; }}\n"
    assert functions(text) == [("long_one", 5, 93)]
    assert sum(len(functions(read(n))) for n in program_sources()) > 500


EXITS = re.compile(r"(?<![\w.>])(exit|abort|_exit|_Exit|quick_exit|raise)\s*\(")


def exits(name):
    text = without_comments(read(name))
    return [f"{name}:{i}: {m.group(1)}" for i, line in enumerate(text.split("\n"), 1) if (m := EXITS.search(line))]


def test_only_main_ends_the_process():
    """dist/ may: a rank that cannot reach the others any more must not strand them (P19); the second SIGINT ends at once (P22)."""
    allowed = ("jobs/main.c", "dist/comm_", "dist/watchdog", "src/train/signals.c")
    assert [e for name in program_sources() if not name.startswith(allowed) for e in exits(name)] == []


def test_exits_are_seen():
    assert EXITS.search("    exit(1);") and EXITS.search("if (x) abort();")
    assert not EXITS.search("lk_comm_abort(comm)") and not EXITS.search("functions->abort(c)")


def mutable_objects(build):
    """Objects in writable sections, as the linker will see them; .data.rel.ro is constant after relocation."""
    found = []
    objects = [(f, str(f).split(".dir/", 1)[1]) for f in pathlib.Path(build).glob("CMakeFiles/*.dir/**/*.o")]
    module = pathlib.Path(build) / "src/device/cuda"  # nvcc's own objects hold what registers kernels
    objects += [(f, f"src/device/cuda/{f.name}") for f in module.glob("CMakeFiles/lockstep_cuda.dir/*.c.o")]
    for file, place in sorted(objects):
        if not place.startswith(("src/", "dist/", "io/", "jobs/")):
            continue
        out = subprocess.run(["objdump", "-t", file], check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            match = re.match(r"\S+ .{6}O (\.(?:data|bss|tdata|tbss)\S*|\*COM\*)\s+\S+\s+(?:\.hidden )?(\S+)", line)
            if match and not match.group(1).startswith(".data.rel.ro"):
                found.append(f"{place}: {match.group(2)} in {match.group(1)}")
    return found


def test_no_mutable_variables_outside_functions():
    build = os.environ.get("LOCKSTEP_BUILD")
    if build is None or shutil.which("objdump") is None:
        pytest.skip("needs LOCKSTEP_BUILD and objdump (binutils)")
    if not list(pathlib.Path(build).glob("CMakeFiles/lk_core.dir/**/*.o")):
        pytest.skip(f"{build} holds no object files")
    assert mutable_objects(build) == []


def test_mutable_variables_are_seen(tmp_path):
    folder = tmp_path / "CMakeFiles" / "lk_x.dir" / "src"
    folder.mkdir(parents=True)
    source = tmp_path / "x.c"
    source.write_text(
        "static int counter = 1;\nint shared;\nconst char *const names[] = {\"a\"};\nstatic const int table[] = {1};\n"
        "int f(void) { static int calls; return counter++ + table[0] + calls++ + names[0][0]; }\n"
    )
    subprocess.run(["cc", "-O2", "-fPIC", "-c", source, "-o", folder / "x.c.o"], check=True)
    assert sorted(v.split()[1].split(".")[0] for v in mutable_objects(tmp_path)) == ["calls", "counter", "shared"]


WORDS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|(?<![\w.])/(?:home|root|mnt|work)/\w")


def test_no_unfinished_words_or_private_paths():
    names = tracked(".c", ".h", ".cu", ".cuh", ".py", ".sh", ".md", ".txt", ".yaml", ".yml", ".proto", ".cmake", ".sbatch")
    found = [
        f"{name}:{i}: {m.group()}"
        for name in names
        for i, line in enumerate(read(name).split("\n"), 1)
        if (m := WORDS.search(line))
    ]
    assert found == []


def public_headers(*folders):
    """Headers that others include; functions of a device's folder live in its table."""
    exempt = ("src/device/cpu/", "src/device/cuda/cuda.h", "src/device/reference/", "jobs/command.h")
    return [n for n in program_sources() if n.endswith(".h") and n.startswith(folders) and not n.startswith(exempt)]


def test_no_status_may_be_ignored():
    found = [
        f"{name}:{i}: {line}"
        for name in public_headers("src/", "dist/", "io/", "jobs/")
        for i, line in enumerate(read(name).split("\n"), 1)
        if re.match(r"lk_status \w+\(", line)
    ]
    assert found == []


def silent_on_ranks(text):
    """Declarations that take a communicator under a comment that does not say Collective or Not Collective. A comment
    counts down to the next; one on "every call below" counts down to the end."""
    found, comment, section, inside = [], "", "", False
    for i, line in enumerate(text.split("\n"), 1):
        if line.startswith("/*"):
            comment, inside = "", True
        if inside:
            comment += line
            inside = "*/" not in line
            if not inside and "very call below" in comment:
                section = comment
        elif re.match(r"[A-Za-z].*\blk_(comm|reducer) \*\*?\w+[,)]", line):
            local = re.search(r"\w+_(free|get\w*|set\w*|self\w*|functions?)\(", line)
            if "ollective" not in comment + section and not local:
                found.append(i)
    return found


def test_declarations_on_ranks_say_whether_they_are_collective():
    names = [n for n in public_headers("dist/", "src/train/") if not n.endswith(("_impl.h", "_internal.h"))]
    assert [f"{n}:{i}" for n in names for i in silent_on_ranks(read(n))] == []


def test_silence_is_seen():
    declaration = "LK_MUST_CHECK lk_status lk_comm_sum(lk_comm *comm, lk_error *err);\n"
    assert silent_on_ranks("/* Sums. */\n" + declaration) == [2]
    assert silent_on_ranks("/* Sums.\n * Collective. */\n" + declaration) == []
    assert silent_on_ranks("/* Every call below: Collective. */\n\n/* Sums. */\n" + declaration) == []


def formatter():
    for program in ["clang-format-14", "clang-format"]:
        if shutil.which(program):
            version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
            if "version 14." in version:
                return program
    pytest.skip("needs clang-format 14: other versions lay out some lines differently")


def test_clang_format():
    done = subprocess.run(
        [formatter(), "--dry-run", "-Werror", *c_files()], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, "\n".join(l for l in done.stderr.splitlines() if "error:" in l)
