"""An architecture of ours, read from its JSON, as a PyTorch module and as an ONNX model."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class Mix(nn.Module):
    """`(1 - lambda) a + lambda b`, lambda learnable."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.lerp(a, b, self.weight)


class Add(nn.Module):
    def forward(self, first: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        for other in others:
            first = first + other
        return first


class Concat(nn.Module):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return torch.cat(inputs, 1)


class Network(nn.Module):
    """Layers in topological order; each knows the places of its inputs."""

    def __init__(self, architecture: dict) -> None:
        super().__init__()
        self.image = tuple(architecture["input"])
        place: dict[int, int] = {}
        channels: dict[int, int] = {}
        modules: list[nn.Module] = []
        #: For each layer, its kind and the places of its inputs.
        self.kinds: list[str] = []
        self.inputs: list[list[int]] = []
        for layer in architecture["layers"]:
            sources = layer.get("inputs", [])
            widths = [channels[source] for source in sources] or [self.image[0]]
            module, channels[layer["id"]] = build(layer, widths)
            place[layer["id"]] = len(modules)
            modules.append(module)
            self.kinds.append(kind_of(layer))
            self.inputs.append([place[source] for source in sources])
        self.layers = nn.ModuleList(modules)
        self.output = place[architecture["output"]]
        self._relu_in_place(["batch_norm"])
        self._make_plan()

    def _make_plan(self) -> None:
        """For each layer: itself, the places of its inputs, and the outputs that nobody reads after it."""
        last = {place: max(self.readers(place), default=place) for place in range(len(self.kinds))}
        done = [[p for p in set(inputs) if last[p] == place] for place, inputs in enumerate(self.inputs)]
        self.plan = list(zip(self.layers, self.inputs, done))

    def readers(self, place: int) -> list[int]:
        """The layers that read the output of the one at `place`."""
        return [reader for reader, inputs in enumerate(self.inputs) if place in inputs]

    def _relu_in_place(self, kinds: list[str]) -> None:
        """A ReLU may overwrite the output of a layer of these kinds that it alone reads."""
        for place, kind in enumerate(self.kinds):
            if kind == "relu":
                source = self.inputs[place][0]
                self.layers[place].inplace = self.kinds[source] in kinds and self.readers(source) == [place]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        outputs: list[torch.Tensor | None] = []
        for layer, inputs, done in self.plan:
            outputs.append(layer(*[outputs[place] for place in inputs]) if inputs else image)
            for place in done:
                outputs[place] = None
        return outputs[self.output]

    def folded(self) -> Network:
        """This network, its batch norms folded into their convolutions; for evaluation. Folded layers are removed."""
        self.eval()
        for place in range(len(self.kinds)):
            readers = self.readers(place)
            if self.kinds[place] == "conv" and [self.kinds[reader] for reader in readers] == ["batch_norm"]:
                norm = readers[0]
                self.layers[place] = fuse_conv_bn_eval(self.layers[place], self.layers[norm])
                self._remove(norm)
                return self.folded()
        # Nothing is kept for a backward pass.
        self._relu_in_place(["batch_norm", "conv", "add", "mix", "concat"])
        self._make_plan()
        return self

    def _remove(self, gone: int) -> None:
        """Takes out a layer of one input; its readers read that input."""
        instead = self.inputs[gone][0]
        moved = [instead if place == gone else place for place in range(len(self.kinds))]
        moved = [place - (place > gone) for place in moved]
        del self.layers[gone]
        del self.kinds[gone]
        del self.inputs[gone]
        self.inputs = [[moved[place] for place in inputs] for inputs in self.inputs]
        self.output = moved[self.output]

    def optimizer(self, lr: float, momentum: float, weight_decay: float) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum; weight decay on kernels and matrices, as on our side."""
        decayed = [parameter for parameter in self.parameters() if parameter.dim() > 1]
        others = [parameter for parameter in self.parameters() if parameter.dim() <= 1]
        groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        # The fused implementation is PyTorch's fastest.
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=True, fused=True)


def kind_of(layer: dict) -> str:
    """What the layer is; of an activation, which."""
    return layer.get("function", layer["type"])


def padding(window: dict) -> tuple[int, int]:
    """That of a window, (height, width). PyTorch's layers pad opposite sides alike."""
    if len(window["padding"]) != 2:
        raise ValueError(f"expected an even padding, found {window['padding']}")
    return tuple(window["padding"])


def build(layer: dict, channels: list[int]) -> tuple[nn.Module, int]:
    """The module of one layer and its output channels, or features; `channels` are its inputs'."""
    kind, width = kind_of(layer), channels[0]
    match kind:
        case "input" | "relu":
            return (nn.ReLU() if kind == "relu" else nn.Identity()), width
        case "conv":
            window = layer["window"]
            conv = nn.Conv2d(
                width,
                layer["out_channels"],
                tuple(window["kernel"]),
                tuple(window["stride"]),
                padding(window),
                tuple(layer["dilation"]),
                layer["groups"],
                layer["bias"],
            )
            nn.init.kaiming_normal_(conv.weight)
            return conv, layer["out_channels"]
        case "batch_norm":
            return nn.BatchNorm2d(width, layer["eps"]), width
        case "pool":
            window = layer["window"]
            sizes = tuple(window["kernel"]), tuple(window["stride"]), padding(window)
            if layer["kind"] == "max":
                return nn.MaxPool2d(*sizes), width
            return nn.AvgPool2d(*sizes, count_include_pad=layer["kind"] == "average"), width
        case "global_average_pool":
            return nn.AdaptiveAvgPool2d(1), width
        case "add":
            return Add(), width
        case "mix":
            return Mix(), width
        case "concat":
            return Concat(), sum(channels)
        case "flatten":
            # All networks here flatten the output of a global pooling.
            return nn.Flatten(), width
        case "linear":
            return nn.Linear(width, layer["out_features"], layer["bias"]), layer["out_features"]
    raise ValueError(f"layer {layer['id']}: no PyTorch module for {kind}")


def to_onnx(network: Network, batch: int) -> bytes:
    """A folded network as an ONNX model with a fixed batch size."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, weights = [], []

    def weight(name: str, value: torch.Tensor) -> str:
        weights.append(numpy_helper.from_array(value.detach().contiguous().numpy(), name))
        return name

    def node(operator: str, inputs: list[str], output: str, **attributes: object) -> None:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))

    for place, (layer, kind) in enumerate(zip(network.layers, network.kinds)):
        inputs, output = [f"x{source}" for source in network.inputs[place]], f"x{place}"
        match kind:
            case "input":
                continue
            case "conv":
                parameters = [weight(f"w{place}", layer.weight)]
                if layer.bias is not None:
                    parameters.append(weight(f"b{place}", layer.bias))
                node(
                    "Conv",
                    inputs + parameters,
                    output,
                    kernel_shape=list(layer.kernel_size),
                    strides=list(layer.stride),
                    pads=list(layer.padding) * 2,
                    dilations=list(layer.dilation),
                    group=layer.groups,
                )
            case "batch_norm":
                names = ["weight", "bias", "running_mean", "running_var"]
                parameters = [weight(f"{name}{place}", getattr(layer, name)) for name in names]
                node("BatchNormalization", inputs + parameters, output, epsilon=layer.eps)
            case "relu":
                node("Relu", inputs, output)
            case "pool":
                is_max = isinstance(layer, nn.MaxPool2d)
                extra = {} if is_max else {"count_include_pad": int(layer.count_include_pad)}
                node(
                    "MaxPool" if is_max else "AveragePool",
                    inputs,
                    output,
                    kernel_shape=list(layer.kernel_size),
                    strides=list(layer.stride),
                    pads=list(layer.padding) * 2,
                    **extra,
                )
            case "global_average_pool":
                node("GlobalAveragePool", inputs, output)
            case "add":
                node("Sum", inputs, output)
            case "mix":
                other, own = weight(f"l{place}", layer.weight), weight(f"k{place}", 1 - layer.weight)
                node("Mul", [inputs[0], own], f"{output}.a")
                node("Mul", [inputs[1], other], f"{output}.b")
                node("Add", [f"{output}.a", f"{output}.b"], output)
            case "concat":
                node("Concat", inputs, output, axis=1)
            case "flatten":
                node("Flatten", inputs, output, axis=1)
            case "linear":
                parameters = [weight(f"w{place}", layer.weight)]
                if layer.bias is not None:
                    parameters.append(weight(f"b{place}", layer.bias))
                node("Gemm", inputs + parameters, output, transB=1)
            case _:
                raise ValueError(f"no ONNX operator for {kind}")
    first = next(place for place, kind in enumerate(network.kinds) if kind == "input")
    images = helper.make_tensor_value_info(f"x{first}", TensorProto.FLOAT, [batch, *network.image])
    logits = helper.make_tensor_value_info(f"x{network.output}", TensorProto.FLOAT, [batch, None])
    graph = helper.make_graph(nodes, "network", [images], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()

