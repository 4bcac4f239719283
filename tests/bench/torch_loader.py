"""The rival of loader.py: torchvision's ImageFolder and transforms in PyTorch's DataLoader. Arguments: folder of the training images. Reads
lines "WORKERS PREFETCH KIND COUNT" from standard input (KIND: uint8, or float for ToTensor and Normalize) and prints the seconds that COUNT
samples took in batches of 64."""
import sys
import time

import torch
import torchvision
from torchvision.transforms import v2

folder = sys.argv[1]
crop = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip()]
finish = {"uint8": [v2.PILToTensor()], "float": [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
                                                 v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]}
loaders = {}


class Order(torch.utils.data.Sampler):
    """A fresh random order of `count` samples."""

    def __init__(self, size):
        self.size, self.count = size, 0

    def __iter__(self):
        return iter(i % self.size for i in torch.randperm(max(self.size, self.count))[:self.count].tolist())

    def __len__(self):
        return self.count


def load(workers, prefetch, kind, count):
    key = workers, prefetch, kind
    if key not in loaders:
        images = torchvision.datasets.ImageFolder(folder, v2.Compose(crop + finish[kind]))
        options = {"prefetch_factor": prefetch, "persistent_workers": True} if workers else {}
        loaders[key] = torch.utils.data.DataLoader(images, 64, sampler=Order(len(images)), num_workers=workers, **options)
    loaders[key].sampler.count = count
    started = time.perf_counter()
    assert sum(len(labels) for _, labels in loaders[key]) == count
    return time.perf_counter() - started


for line in sys.stdin:
    workers, prefetch, kind, count = line.split()
    print(f"{load(int(workers), int(prefetch), kind, int(count)):.6f}", flush=True)
