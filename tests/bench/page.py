"""How long the page of `lockstep compare` takes to open in headless Chromium: 20 runs of 60 epochs and 2,400 updates, 1,000 images each.
    LOCKSTEP_BUILD=build/release python tests/bench/page.py
Prints bytes of the page, and milliseconds from the start of navigation until everything is laid out (smallest of nine), beside an
empty page in turn."""
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "parity"))
from test_compare import CHROMIUM, compare, make_run  # noqa: E402

CLOCK = """<script>addEventListener("load",function(){document.documentElement.offsetHeight;
document.title="ms "+performance.now()})</script>"""


def lengthen(run, epochs=60, per_epoch=40):
    lines = [json.loads(line) for line in run.joinpath("metrics.jsonl").read_text().splitlines()]
    finals, middle = [line for line in lines if line["type"] == "final"], []
    example = next(line for line in lines if line["type"] == "epoch")
    for epoch in range(1, epochs + 1):
        for update in range(per_epoch * (epoch - 1) + 1, per_epoch * epoch + 1):
            rate = 0.05 * (1 + math.cos(math.pi * update / (epochs * per_epoch)))
            middle.append(dict(type="update", epoch=epoch, update=update, lr=rate, loss=2 / (1 + update / 300)))
        middle.append(dict(example, epoch=epoch, update=per_epoch * epoch, train=dict(loss=1.5 / epoch, accuracy=0.4),
                           validation=dict(loss=1 / epoch + 0.3, accuracy=0.5, macro_f1=0.8 - 0.5 / epoch)))
    run.joinpath("metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [lines[0], *middle, *finals]))


def open_in_chromium(page):
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,2000", "--dump-dom",
                           f"file://{page}"], capture_output=True, text=True, timeout=120, check=True)
    return float(re.search(r"<title>ms ([\d.]+)", done.stdout).group(1))


def main():
    build = pathlib.Path(os.environ["LOCKSTEP_BUILD"])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        runs = [make_run(folder / f"recipe-{v}-seed-{s}", s, 0.4 + 0.05 * v, f"optimizer: {{lr: {0.01 * (v + 1)}}}\n", samples=1000)
                for v in range(10) for s in (1, 2)]
        for run in runs:
            lengthen(run)
        page, empty = folder / "report.html", folder / "empty.html"
        compare(build, *runs, "-o", page, "--resamples", 500)
        size = page.stat().st_size
        page.write_text(page.read_text().replace("</body>", CLOCK + "</body>"))
        empty.write_text(f"<!doctype html><title>empty</title><body>{CLOCK}</body>")
        times = [(open_in_chromium(page), open_in_chromium(empty)) for _ in range(9)]
        print(f"{size} bytes; opens in {min(t[0] for t in times):.0f} ms, an empty page in {min(t[1] for t in times):.0f} ms")


if __name__ == "__main__":
    main()
