"""What a user reads: --help of every command, the README."""

import os
import pathlib
import re
import subprocess

import pytest
from sources import ROOT, read, tracked

LOCKSTEP = pathlib.Path(os.environ["LOCKSTEP_BUILD"]) / "bin" / "lockstep"


def lockstep(*words):
    return subprocess.run([LOCKSTEP, *words], capture_output=True, text=True)


def commands():
    """The table of jobs/main.c."""
    return re.findall(r'\{"(\w+)", &lk_command_\w+, "[^"]+"\}', read("jobs/main.c"))


def test_every_subcommand_is_in_the_table():
    declared = set(re.findall(r"lk_command_(\w+)[,;]", read("jobs/command.h")))
    files = {n for n in declared if (ROOT / "jobs" / f"{n}.c").exists()}
    assert set(commands()) == files
    text = lockstep("--help").stdout
    assert all(re.search(rf"^  {name} +\S", text, re.M) for name in commands())


@pytest.mark.parametrize("name", commands())
def test_help_explains_every_option(name):
    done = lockstep(name, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith(f"usage: lockstep {name}")
    # Long left sides put their help on the next line.
    text = re.sub(r"\n +(?! *-)(?=\S)", "  ", done.stdout)
    listed = re.findall(r"^  (?:-\w, |    )--([\w.-]+)([^\n]*)$", text, re.M)
    assert "help" in [option for option, _ in listed]
    for option, rest in listed:
        assert re.search(r"(^| )\S+(  +|^  )[^\s\[]", rest) or re.match(r"  +[^\s\[]", rest), f"--{option} lacks help"


OPTION = re.compile(r'\{\s*(?:\.name = )?"([a-z][\w.-]*)",\s*(?:\.type = )?LK_OPTION_')


def test_every_option_of_the_sources_is_listed():
    helps = "".join(lockstep(name, "--help").stdout for name in commands())
    missing, count = [], 0
    for file in tracked(".c"):
        if not file.startswith("jobs/"):
            continue
        for name in OPTION.findall(read(file)):
            count += 1
            if not re.search(rf"--{re.escape(name)}\b", helps):
                missing.append(f"{file}: --{name}")
    assert missing == [] and count > 20


def test_every_key_of_a_job_is_listed_with_its_meaning():
    text = lockstep("train", "--help").stdout
    keys = re.findall(r'^    \w+\("([a-z][\w.]*)",', read("src/train/job_options.c"), re.M)
    assert len(keys) > 20
    missing = [key for key in keys if not re.search(rf"^  {re.escape(key)}[ \n].*\S", text, re.M)]
    assert missing == []


def test_usage_errors_have_status_2():
    for words in [[], ["trian"], ["--nothing"], *([name, "--no-such-option"] for name in commands())]:
        done = lockstep(*words)
        assert done.returncode == 2, words
        assert done.stdout == "" and done.stderr.startswith("lockstep: ") and done.stderr.count("\n") == 1, words
    assert "did you mean 'train'" in lockstep("trian").stderr


def test_version():
    version = re.search(r"VERSION (\d+\.\d+\.\d+)", read("CMakeLists.txt")).group(1)
    assert lockstep("--version").stdout == f"lockstep {version}\n"


def test_results_that_cannot_be_written_are_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([LOCKSTEP, "doctor", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "cannot write the results" in done.stderr


def test_a_reader_that_leaves_is_no_error():
    done = subprocess.run(f"{LOCKSTEP} doctor --help | true; exit ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash",
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_readme_names_both_commands():
    text = read("README.md")
    assert "bash jobs/quickstart.sh" in text and "bash tests/run.sh" in text
    for name in re.findall(r"\blockstep ([a-z]+)\b(?= [A-Z]|`|$)", text):
        assert name in commands() or name in ("trains",), name
