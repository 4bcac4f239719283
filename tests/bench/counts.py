"""Counted, not measured: launches, bytes and peak memory of one training microbatch in bfloat16, Lockstep's plan for a GPU against PyTorch eager.
    python tests/bench/counts.py BUILD [DEVICE [MODEL:BATCH:SIZE ...]]
No GPU is needed. PyTorch runs on tensors without data under autocast, channels_last; a dispatch mode sees every operator: its operands read and its
results written once each, views and allocations aside. Lockstep's rows come from `lockstep plan --csv`, counted the same way (a call's operands once
each) and by walk (an operand as often as a pass walks over it, what the kernels ask of memory and cache). A launch of PyTorch's is an operator, though some have several kernels; the
copies of gradients into place, which only this way of looking makes, are left out. Memory: all storages alive at once, and SGD's momentum; Lockstep's
arena, slabs and copies. BARS are those that the project set itself, against PyTorch's count of the day when it did."""
import collections
import csv
import json
import pathlib
import subprocess
import sys
import tempfile

import timm
import torch
import torchvision
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NOT_LAUNCHED = {"device", "empty", "empty_like", "empty_strided", "new_empty_strided", "as_strided_", "copy_"}
KINDS = {"convolution": "convolution", "native_batch_norm": "batch norm", "max_pool2d": "pooling", "mean": "pooling"}
# model: most launches, most bytes an image, most memory, each as (share, of what)
BARS = {
    "resnet50": ((0.5, 594), (0.65, 395e6), 0.75),
    "efficientnet_b0": (None, (0.5, 290e6), None),
    "efficientnet_b3": ((0.4, 1516), (0.5, 1050e6), None),
}
JOB = """
data: absent.h5
model: {model}
epochs: 1
batch: {batch}
microbatch: {batch}
compute: bfloat16
input: {{size: {size}, resize: none}}
optimizer: {{kind: sgd, lr: 0.1, momentum: 0.9}}
"""


class Counter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.launches, self.bytes = collections.Counter(), collections.Counter()
        self.live, self.peak = {}, 0

    def keep(self, tensor):
        storage = tensor.untyped_storage()
        self.live.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        results = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        for tensor in results:
            self.keep(tensor)
        self.live = {key: item for key, item in self.live.items() if not item[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.live.values()))
        if not view and name not in NOT_LAUNCHED:
            tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)] + results
            self.launches[name] += 1
            self.bytes[name] += sum(t.numel() * t.element_size() for t in tensors)
        return out


def pytorch(name, batch, size):
    """(launches, bytes, peak bytes, launches by kind, bytes by kind) of forward, loss and backward."""
    with FakeTensorMode():
        create = torchvision.models.get_model if name.startswith("resnet") else timm.create_model
        model = create(name, num_classes=1000).train()
        for p in model.parameters():
            p.data = p.data.contiguous(memory_format=torch.channels_last if p.dim() == 4 else torch.contiguous_format)
        images = torch.empty(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        labels = torch.empty(batch, dtype=torch.long)
        with Counter() as counter:
            for tensor in (*model.parameters(), *model.buffers(), images, labels):
                counter.keep(tensor)
            with torch.autocast("cpu", torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(model(images), labels)
            loss.backward()
        momentum = sum(p.numel() * p.element_size() for p in model.parameters())
    launches, moved = collections.Counter(), collections.Counter()
    for op, count in counter.launches.items():
        kind = next((kind for start, kind in KINDS.items() if op.startswith(start)), "activations, adds, copies, others")
        launches[kind] += count
        moved[kind] += counter.bytes[op]
    return sum(launches.values()), sum(moved.values()), counter.peak + momentum, launches, moved


def lockstep(build, device, name, batch, size, recompute="none"):
    """The rows of a microbatch, and the bytes of memory of a rank."""
    with tempfile.TemporaryDirectory() as folder:
        job = pathlib.Path(folder) / "job.yaml"
        job.write_text(JOB.format(model=name, batch=batch, size=size))
        command = [build / "bin/lockstep", "plan", job, "--classes", "1000", "--device", device, f"recompute={recompute}"]
        listed = [subprocess.run([*command, f], capture_output=True, text=True, check=True).stdout for f in ("--csv", "--json")]
    rows = [row for row in csv.DictReader(listed[0].splitlines()) if row["stage"] in ("forward", "backward")]
    found = json.loads(listed[1])
    return rows, found["ranks"][0]["bytes"], found["plan"]["identity"]


def verdict(value, bar):
    if bar is None:
        return ""
    most = bar[0] * bar[1]
    return f" (at most {bar[0]} of {bar[1]:,.0f} = {most:,.0f}: {'reached' if value <= most else 'missed'})"


def compare(build, device, name, batch, size):
    rows, memory, identity = lockstep(build, device, name, batch, size)
    launches, moved, peak, kind_launches, kind_bytes = pytorch(name, batch, size)
    own = {key: sum(float(row[key]) for row in rows) for key in ("launches", "bytes", "operand_bytes")}
    bars = BARS.get(name, (None, None, None))
    print(f"\n### {name}, batch {batch}, {size} px, bfloat16\n\n{identity}\n")
    print("| counted, one microbatch | Lockstep | PyTorch eager | ratio |\n| --- | ---: | ---: | ---: |")
    print(f"| launches | {own['launches']:,.0f}{verdict(own['launches'], bars[0])} | {launches:,} | {own['launches'] / launches:.2f} |")
    image = own["operand_bytes"] / batch
    bar = bars[1] and (bars[1][0], bars[1][1] / 1e6)
    print(f"| MB an image, a call's operands once | {image / 1e6:.1f}{verdict(image / 1e6, bar)} | {moved / batch / 1e6:.1f} |"
          f" {own['operand_bytes'] / moved:.2f} |")
    print(f"| MB an image, every walk over them | {own['bytes'] / batch / 1e6:.1f} | | |")
    bar = bars[2] and (bars[2], peak / 1e6)
    print(f"| MB of memory | {memory / 1e6:,.0f}{verdict(memory / 1e6, bar)} | {peak / 1e6:,.0f} | {memory / peak:.2f} |")
    for level in ("convs", "all"):
        again, less, _ = lockstep(build, device, name, batch, size, level)
        total, launched = (sum(float(row[key]) for row in again) for key in ("operand_bytes", "launches"))
        print(f"| MB of memory, recompute: {level} ({launched:,.0f} launches, {total / batch / 1e6:.1f} MB an image) |"
              f" {less / 1e6:,.0f}{verdict(less / 1e6, bar)} | {peak / 1e6:,.0f} | {less / peak:.2f} |")
    kinds = collections.defaultdict(lambda: [0, 0, 0.0, 0.0])
    for row in rows:
        entry = kinds[row["kind"]]
        entry[row["stage"] == "backward"] += int(row["launches"])
        entry[2] += float(row["operand_bytes"])
        entry[3] += float(row["bytes"])
    print("\n| Lockstep, by kind of layer | launches fwd | bwd | MB an image, a call's operands once | every walk |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for kind, entry in sorted(kinds.items(), key=lambda item: -item[1][2]):
        print(f"| {kind} | {entry[0]} | {entry[1]} | {entry[2] / batch / 1e6:.1f} | {entry[3] / batch / 1e6:.1f} |")
    print("\n| PyTorch, by kind of operator | launches | MB an image |\n| --- | ---: | ---: |")
    for kind, total in kind_bytes.most_common():
        print(f"| {kind} | {kind_launches[kind]} | {total / batch / 1e6:.1f} |")


def main():
    torch.set_num_threads(1)
    device = sys.argv[2] if len(sys.argv) > 2 else "h100"
    wanted = sys.argv[3:] or ["resnet50:256:224", "efficientnet_b0:256:224", "efficientnet_b3:128:300", "resnet18:256:224"]
    for words in wanted:
        name, batch, size = words.split(":")
        compare(pathlib.Path(sys.argv[1]), device, name, int(batch), int(size))


main()
