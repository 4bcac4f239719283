"""The rival of step.py: PyTorch eager's whole update (forward, loss, backward, SGD with momentum). Reads lines "FORMAT STEPS" from standard
input and prints seconds per step; ends with its peak memory."""
import resource
import sys
import time

import timm
import torch
import torchvision

model_name, batch, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(threads)
torch.manual_seed(0)
images = torch.rand(batch, 3, size, size)
labels = torch.randint(0, 10, (batch,))
ready = {}


def create(name):
    """torchvision's ResNets; timm's models else, with the stochastic depth that the other side has by default."""
    if name.startswith("resnet"):
        return torchvision.models.get_model(name, num_classes=10)
    return timm.create_model(name, num_classes=10, drop_rate=0.2, drop_path_rate=0.2)


def step(name):
    if name not in ready:
        layout = torch.channels_last if name == "channels_last" else torch.contiguous_format
        model = create(model_name).to(memory_format=layout).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        ready.clear()  # one model at a time: the peak memory is that of one
        ready[name] = model, optimizer, images.to(memory_format=layout)
    model, optimizer, inputs = ready[name]
    optimizer.zero_grad(set_to_none=True)
    torch.nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()


for line in sys.stdin:
    name, steps = line.split()
    step(name)  # warms up
    for _ in range(int(steps)):
        started = time.perf_counter()
        step(name)
        print(f"{time.perf_counter() - started:.6f}", end=" ")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
