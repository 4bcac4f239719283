"""The rival of step.py: PyTorch eager's whole update (forward, loss, backward, SGD with momentum). Reads lines "FORMAT STEPS" from standard
input and prints seconds per step; ends with its peak memory: resident on the CPU, allocated on a GPU. COMPUTE bfloat16: autocast."""
import resource
import sys
import time

import timm
import torch
import torchvision

model_name, batch, size, threads, device, compute = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), *sys.argv[5:7]
on_gpu = device == "cuda"
torch.set_num_threads(threads)
torch.manual_seed(0)
torch.backends.cudnn.benchmark = True
images = torch.rand(batch, 3, size, size)
labels = torch.randint(0, 10, (batch,)).to(device)
ready = {}


def create(name):
    """torchvision's ResNets; timm's models else, with the stochastic depth that the other side has by default."""
    if name.startswith("resnet"):
        return torchvision.models.get_model(name, num_classes=10)
    return timm.create_model(name, num_classes=10, drop_rate=0.2, drop_path_rate=0.2)


def step(name):
    if name not in ready:
        layout = torch.channels_last if name == "channels_last" else torch.contiguous_format
        ready.clear()  # one model at a time: the peak memory is that of one
        model = create(model_name).to(device, memory_format=layout).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        ready[name] = model, optimizer, images.to(device, memory_format=layout)
    model, optimizer, inputs = ready[name]
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device, torch.bfloat16, enabled=compute == "bfloat16"):
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()


def timed(name, steps):
    """On a GPU one span of all steps: the host runs ahead."""
    spans = 1 if on_gpu else steps
    for _ in range(spans):
        started = time.perf_counter()
        for _ in range(steps // spans):
            step(name)
        if on_gpu:
            torch.cuda.synchronize()
        print(f"{(time.perf_counter() - started) / (steps // spans):.6f}", end=" ")


for line in sys.stdin:
    name, steps = line.split()
    for _ in range(5 if on_gpu else 1):
        step(name)  # warms up
    if on_gpu:
        torch.cuda.synchronize()
    timed(name, int(steps))
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(peak, flush=True)
