"""The cases of cuda.rs in PyTorch, beside the times that cuda.rs wrote to a file.

usage: python3 cuda.py FILE
"""

import statistics
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F

BATCH, WARM_UP, SAMPLES, RUNS = 64, 20, 15, 10


def tensor(shape, scale):
    count = torch.Size(shape).numel()
    return ((torch.arange(count, dtype=torch.float64) * 0.754877).sin() * scale).float().reshape(shape).cuda()


def microseconds(run):
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(SAMPLES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(RUNS):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / RUNS)
    return statistics.median(times)


def layer(x, parameters, function):
    """Forward without and with backward pass, whose gradients start at ones."""
    arguments = [x, *parameters]

    @torch.no_grad()
    def forward():
        function(*arguments)

    def both():
        variables = [a.detach().requires_grad_() for a in arguments]
        y = function(*variables)
        torch.autograd.grad(y, variables, torch.ones_like(y))

    return microseconds(forward), microseconds(both)


def convolution(channels, out, size, kernel, groups):
    x, weight = tensor([BATCH, channels, size, size], 1.0), tensor([out, channels // groups, kernel, kernel], 0.1)
    name = f"conv {kernel}x{kernel} {channels}->{out} g{groups} {size}x{size}"
    return name, lambda f: layer(f(x), [f(weight)], lambda x, w: F.conv2d(x, w, padding=kernel // 2, groups=groups))


def norm(channels, size):
    x, gamma, beta = tensor([BATCH, channels, size, size], 1.0), tensor([channels], 1.0), tensor([channels], 0.1)
    function = lambda x, g, b: F.relu(F.batch_norm(x, None, None, g, b, training=True))
    return f"batch norm, relu {channels} {size}x{size}", lambda f: layer(f(x), [gamma, beta], function)


def pool(channels, size):
    x = tensor([BATCH, channels, size, size], 1.0)
    return f"max pool 2x2 {channels} {size}x{size}", lambda f: layer(f(x), [], lambda x: F.max_pool2d(x, 2))


def step(name, batch):
    def run(f):
        layers, channels = [], 3
        for width, halve in [(32, False), (32, True), (64, False), (64, True), (128, False)]:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)] if halve else []
            channels = width
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)).cuda()
        net = net.to(memory_format=torch.channels_last) if f is not NCHW else net
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True, fused=True)
        images, labels = f(tensor([batch, 3, 32, 32], 1.0)), torch.arange(batch).cuda() % 10

        def train():
            optimiser.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimiser.step()

        time = microseconds(train)
        return time, time

    return f"{name}, batch {batch}", run


def NCHW(x):
    return x.contiguous()


def NHWC(x):
    return x.to(memory_format=torch.channels_last)


def main():
    ours = {}
    for line in open(sys.argv[1]):
        if line.count("\t") == 2:
            name, forward, both = line.rstrip("\n").split("\t")
            ours[name] = float(forward), float(both)
    sizes = [(3, 32, 32, 3, 1), (32, 32, 32, 3, 1), (32, 64, 16, 3, 1), (64, 64, 16, 3, 1), (64, 128, 8, 3, 1)]
    sizes += [(64, 64, 16, 1, 1), (64, 64, 16, 3, 64), (32, 32, 28, 3, 32)]
    cases = [convolution(*s) for s in sizes] + [norm(32, 32), norm(64, 16), pool(32, 32)]
    for batch in [64, 512]:
        cases += [step(name, batch) for name in ["step", "step, timed", "step, timed, TF32"]]
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    print("microseconds, forward / forward and backward; ratio to the better of PyTorch's two, backward included")
    print(f"{'':32} {'ours':>15} {'PyTorch NCHW':>15} {'channels last':>15} ratio")
    for name, run in cases:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = "TF32" in name
        torch.backends.cudnn.deterministic = "timed" not in name
        torch.backends.cudnn.benchmark = "timed" in name
        nchw, nhwc = run(NCHW), run(NHWC)
        mine = ours.get(name, (float("nan"),) * 2)
        cells = " ".join(f"{a:7.0f}/{b:7.0f}" for a, b in [mine, nchw, nhwc])
        print(f"{name:32} {cells} {mine[1] / min(nchw[1], nhwc[1]):5.2f}", flush=True)


main()
