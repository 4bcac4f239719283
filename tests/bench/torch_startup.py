"""The rival of startup.py: prints the Unix time at which PyTorch is about to start its first forward pass. Arguments: folder of the
training images, batch, workers of the DataLoader."""
import sys
import time

import torch
import torchvision
from torchvision.transforms import v2

folder, batch, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
transform = v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True),
                        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
images = torchvision.datasets.ImageFolder(folder, transform)
model = torchvision.models.resnet18(num_classes=len(images.classes)).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
batches = iter(torch.utils.data.DataLoader(images, batch, shuffle=True, num_workers=workers))
pixels, labels = next(batches)
started = time.time()
loss = torch.nn.functional.cross_entropy(model(pixels), labels)
assert torch.isfinite(loss)
print(f"{started:.6f}")
