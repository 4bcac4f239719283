"""The repository's own sources, read once for all checks of this folder."""

import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def tracked(*endings):
    """Files that git knows or would add, by ending; a source archive without git: all files there are."""
    done = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True
    )
    if done.returncode == 0:
        names = done.stdout.splitlines()
    else:
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if p.is_file() and "build" not in p.parts]
    return sorted(n for n in set(names) if n.endswith(endings) and (ROOT / n).exists())


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def program_sources():
    return [n for n in tracked(".c", ".h", ".cu", ".cuh") if n.startswith(("src/", "dist/", "io/", "jobs/"))]


def without_comments(text):
    """Comments and the insides of strings become blanks; line numbers stay."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


def functions(text):
    """(name, first line, lines) of every function body. Leans on clang-format: bodies end with a brace in column 0."""
    found, start, lines = [], None, without_comments(text).split("\n")
    for number, line in enumerate(lines):
        if start is None and re.match(r"[A-Za-z_]", line) and not line.startswith(
            ("typedef", "struct", "enum", "union", "extern")
        ):
            start = number
        if start is None:
            continue
        head = " ".join(lines[start : number + 1])
        if line == "}":
            name = re.search(r"(\w+)\s*\(", head)
            found.append((name.group(1) if name else "?", start + 1, number - start + 1))
            start = None
        elif "{" not in head and line.rstrip().endswith(";"):
            start = None
        elif line.startswith("};") or (head.count("{") == head.count("}") > 0 and line.rstrip().endswith((";", "}"))):
            start = None
    return found
