"""Writes reference.json: what PyTorch computes for a few cases of every operation.

Needs torch (2.15.0 made the checked-in file; a CPU build is enough):

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch
    /tmp/torch/bin/python kernels/tests/pytorch/reference.py

Inputs are not stored. Value i of tensor number k is `sin(0.37 i + 0.11 i^2 + 1.3 k)`, computed in f64 here and
in the test. Every output is multiplied by such a tensor of its own (number 9) and summed, which
gives the output gradient.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def tensor(number, shape):
    count = math.prod(shape)
    values = [math.sin(0.37 * i + 0.11 * i * i + 1.3 * number) for i in range(count)]
    return torch.tensor(values).reshape(shape)


def flat(t):
    # Twelve digits: far below the tolerance of the test.
    return [float(f"{v:.12g}") for v in t.detach().flatten().tolist()]


def case(op, shapes, settings, f):
    arguments = [tensor(k, shape).requires_grad_() for k, shape in enumerate(shapes)]
    output = f(*arguments)
    (output * tensor(9, output.shape)).sum().backward()
    return {
        "op": op,
        "shapes": shapes,
        "settings": settings,
        "output_shape": list(output.shape),
        "output": flat(output),
        "gradients": [flat(a.grad) for a in arguments],
    }


def pad(x, padding, value=0.0):
    # (height, width), or top, left, bottom and right, which PyTorch's own operations do not take.
    top, left, bottom, right = padding if len(padding) == 4 else 2 * tuple(padding)
    return F.pad(x, (left, right, top, bottom), value=value)


def conv(x, weight, bias, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    shapes = [x, weight] + ([[weight[0]]] if bias else [])
    walk = dict(stride=stride, dilation=dilation, groups=groups)
    return case("conv2d", shapes, settings, lambda x, *a: F.conv2d(pad(x, padding), *a, **walk))


def max_pool(x, kernel, stride, padding):
    settings = dict(kernel=kernel, stride=stride, padding=padding)
    return case("max_pool2d", [x], settings, lambda x: F.max_pool2d(pad(x, padding, -math.inf), kernel, stride))


def avg_pool(x, kernel, stride, padding):
    settings = dict(kernel=kernel, stride=stride, padding=padding)
    return case("avg_pool2d", [x], settings, lambda x: F.avg_pool2d(pad(x, padding), kernel, stride))


def avg_pool_excluding_padding(x, kernel, stride, padding):
    settings = dict(kernel=kernel, stride=stride, padding=padding)

    def f(x):
        if len(padding) == 2:
            return F.avg_pool2d(x, kernel, stride, padding, count_include_pad=False)
        # The part of each window that is no padding.
        inside = F.avg_pool2d(pad(torch.ones_like(x), padding), kernel, stride)
        return F.avg_pool2d(pad(x, padding), kernel, stride) / inside

    return case("avg_pool2d_excluding_padding", [x], settings, f)


def norm_train(x, relu):
    def f(x, gamma, beta):
        y = F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)
        return F.relu(y) if relu else y

    return case("batch_norm_train", [x, [x[1]], [x[1]]], dict(eps=1e-5, relu=relu), f)


def norm_eval(x, relu):
    # Tensors 5 and 6 are the statistics; a variance is positive.
    mean, variance = tensor(5, [x[1]]), tensor(6, [x[1]]).abs() + 0.5

    def f(x, gamma, beta):
        y = F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=1e-5)
        return F.relu(y) if relu else y

    return case("batch_norm_eval", [x, [x[1]], [x[1]]], dict(eps=1e-5, relu=relu), f)


def cross_entropy(shape):
    targets = tensor(4, shape).abs()
    targets = targets / targets.sum(1, keepdim=True)
    return case("cross_entropy", [shape], {}, lambda x: F.cross_entropy(10 * x, targets))


def activation(name, f):
    # Far enough to both sides for every piece of every function.
    return case("activation", [[5, 9]], dict(activation=name), lambda x: f(8 * x))


def group_norm(x, groups):
    f = lambda x, gamma, beta: F.group_norm(x, groups, gamma, beta, eps=1e-5)
    return case("group_norm", [x, [x[1]], [x[1]]], dict(groups=groups, eps=1e-5), f)


def channel_shuffle(x, groups):
    return case("channel_shuffle", [x], dict(groups=groups), lambda x: F.channel_shuffle(x, groups))


def local_response_norm(x, size, alpha, beta, bias):
    settings = dict(size=size, alpha=alpha, beta=beta, bias=bias)
    return case("local_response_norm", [x], settings, lambda x: F.local_response_norm(x, size, alpha, beta, bias))


cases = [
    conv([2, 3, 7, 6], [4, 3, 3, 3], True, padding=(1, 1)),
    conv([2, 2, 9, 12], [3, 2, 3, 5], False, stride=(2, 3), padding=(1, 2)),
    conv([1, 4, 8, 7], [6, 2, 3, 2], True, dilation=(2, 3), groups=2),
    conv([2, 3, 6, 5], [6, 1, 3, 3], True, stride=(2, 1), padding=(1, 1), groups=3),
    conv([2, 5, 4, 4], [7, 5, 1, 1], True, stride=(2, 2)),
    conv([1, 1, 11, 10], [2, 1, 5, 5], False, padding=(4, 2)),
    conv([2, 3, 8, 8], [4, 3, 3, 3], True, stride=(2, 2), padding=(0, 0, 1, 1)),
    conv([2, 8, 7, 6], [16, 8, 3, 3], True, padding=(2, 0, 1, 3)),
    conv([2, 3, 6, 9], [6, 1, 3, 3], True, stride=(1, 2), padding=(0, 1, 2, 0), groups=3),
    conv([2, 4, 5, 6], [5, 4, 1, 1], True, padding=(0, 0, 2, 1)),
    conv([1, 2, 7, 6], [3, 2, 2, 3], False, padding=(0, 3, 4, 1), dilation=(2, 1)),
    max_pool([2, 2, 6, 8], (2, 2), (2, 2), (0, 0)),
    max_pool([1, 2, 7, 9], (3, 2), (2, 1), (1, 1)),
    avg_pool([2, 2, 6, 8], (2, 2), (2, 2), (0, 0)),
    avg_pool([1, 2, 7, 9], (3, 3), (2, 2), (1, 1)),
    max_pool([1, 2, 5, 9], (2, 2), (2, 2), (0, 0, 1, 1)),
    max_pool([1, 2, 7, 9], (3, 3), (2, 2), (0, 1, 2, 0)),
    avg_pool([1, 2, 5, 9], (2, 2), (2, 2), (0, 0, 1, 1)),
    avg_pool([1, 2, 7, 9], (3, 3), (2, 2), (0, 1, 2, 0)),
    avg_pool_excluding_padding([1, 2, 6, 8], (2, 2), (2, 2), (0, 0)),
    avg_pool_excluding_padding([1, 2, 7, 9], (3, 4), (2, 1), (1, 2)),
    avg_pool_excluding_padding([1, 2, 7, 9], (3, 3), (2, 2), (0, 1, 2, 0)),
    avg_pool_excluding_padding([1, 2, 5, 9], (2, 2), (2, 2), (0, 0, 1, 1)),
    case("global_avg_pool2d", [[2, 3, 5, 4]], {}, lambda x: F.adaptive_avg_pool2d(x, 1)),
    norm_train([3, 2, 4, 5], False),
    norm_train([3, 2, 4, 5], True),
    norm_eval([3, 2, 4, 5], False),
    norm_eval([3, 2, 4, 5], True),
    case("relu", [[3, 7]], {}, F.relu),
    case("linear", [[3, 9], [5, 9], [5]], {}, F.linear),
    cross_entropy([4, 6]),
    case("mix", [[2, 3, 4], [2, 3, 4], [1]], {}, lambda a, b, w: (1 - w) * a + w * b),
    activation("relu", F.relu),
    activation("relu6", F.relu6),
    activation("leaky_relu", F.leaky_relu),
    activation("sigmoid", torch.sigmoid),
    activation("tanh", torch.tanh),
    activation("silu", F.silu),
    activation("gelu", F.gelu),
    # By its definition: in f64 too the gradient of F.hardsigmoid multiplies by a sixth rounded to f32.
    activation("hard_sigmoid", lambda x: F.relu6(x + 3) / 6),
    activation("hard_swish", F.hardswish),
    activation("clip", lambda x: torch.clamp(x, -1.5, 4.0)),
    group_norm([2, 6, 4, 5], 1),
    group_norm([2, 6, 4, 5], 3),
    group_norm([2, 6, 4, 5], 6),
    group_norm([3, 8], 2),
    case("multiply", [[2, 3, 4, 5], [2, 3, 4, 5]], {}, lambda x, gate: x * gate),
    case("multiply", [[2, 3, 4, 5], [2, 3, 1, 1]], {}, lambda x, gate: x * gate),
    case("prelu", [[2, 3, 4, 5], [3]], {}, F.prelu),
    case("prelu", [[4, 5], [5]], {}, F.prelu),
    channel_shuffle([2, 6, 4, 5], 2),
    channel_shuffle([2, 6, 4, 5], 3),
    # PyTorch's own is that of ONNX for odd sizes alone.
    local_response_norm([2, 7, 4, 5], 1, 0.8, 0.75, 0.5),
    local_response_norm([2, 7, 4, 5], 3, 0.8, 0.75, 0.5),
    local_response_norm([2, 7, 4, 5], 5, 2.0, 1.3, 1.0),
    local_response_norm([2, 3, 4, 5], 9, 2.0, 0.5, 1.0),
]

path = pathlib.Path(__file__).with_name("reference.json")
lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
path.write_text(f'{{"torch":"{torch.__version__.split("+")[0]}","cases":[\n{lines}\n]}}\n')
