"""Writes <network>.safetensors (random weights) and networks.json (inputs and outputs), for ../golden.rs.

    python make_networks.py        # needs torch and safetensors

Written from the papers' descriptions with torch.nn modules, apart from the Rust code; parameter names are Diffusion
Policy's for the U-Net.
"""

import json
import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).parent
HORIZON, N_ACT, N_COND, BATCH = 8, 7, 53, 3
LABELS = [0, 17, 99]


class SinusoidalPosEmb(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        half = self.dim // 2
        freq = torch.exp(torch.arange(half, dtype=torch.float64) * -(math.log(10000) / (half - 1))).to(torch.float32)
        angle = x[:, None].float() * freq[None, :]
        return torch.cat((angle.sin(), angle.cos()), dim=-1)


class Conv1dBlock(nn.Module):
    def __init__(self, n_in, n_out, kernel, groups):
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv1d(n_in, n_out, kernel, padding=kernel // 2), nn.GroupNorm(groups, n_out), nn.Mish()
        )

    def forward(self, x):
        return self.block(x)


class Resample(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x)


class ResidualBlock(nn.Module):
    def __init__(self, n_in, n_out, cond, kernel, groups):
        super().__init__()
        self.blocks = nn.ModuleList([Conv1dBlock(n_in, n_out, kernel, groups), Conv1dBlock(n_out, n_out, kernel, groups)])
        self.cond_encoder = nn.Sequential(nn.Mish(), nn.Linear(cond, 2 * n_out))
        self.residual_conv = nn.Conv1d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        self.n_out = n_out

    def forward(self, x, cond):
        out = self.blocks[0](x)
        scale, bias = self.cond_encoder(cond).reshape(-1, 2, self.n_out, 1).unbind(1)
        return self.blocks[1](scale * out + bias) + self.residual_conv(x)


class UNet(nn.Module):
    def __init__(self, widths, kernel, groups, embed):
        super().__init__()
        cond = embed + N_COND
        block = lambda i, o: ResidualBlock(i, o, cond, kernel, groups)
        dims = [N_ACT, *widths]
        pairs = list(zip(dims[:-1], dims[1:]))
        self.diffusion_step_encoder = nn.Sequential(
            SinusoidalPosEmb(embed), nn.Linear(embed, 4 * embed), nn.Mish(), nn.Linear(4 * embed, embed)
        )
        self.down_modules = nn.ModuleList()
        for i, (n_in, n_out) in enumerate(pairs):
            last = i == len(pairs) - 1
            down = nn.Identity() if last else Resample(nn.Conv1d(n_out, n_out, 3, 2, 1))
            self.down_modules.append(nn.ModuleList([block(n_in, n_out), block(n_out, n_out), down]))
        self.mid_modules = nn.ModuleList([block(widths[-1], widths[-1]) for _ in range(2)])
        self.up_modules = nn.ModuleList()
        for n_in, n_out in reversed(pairs[1:]):
            up = Resample(nn.ConvTranspose1d(n_in, n_in, 4, 2, 1))
            self.up_modules.append(nn.ModuleList([block(2 * n_out, n_in), block(n_in, n_in), up]))
        self.final_conv = nn.Sequential(Conv1dBlock(widths[0], widths[0], kernel, groups), nn.Conv1d(widths[0], N_ACT, 1))

    def forward(self, x, t, cond):
        c = torch.cat([self.diffusion_step_encoder(t), cond], dim=-1)
        x, skips = x.moveaxis(-1, -2), []
        for first, second, down in self.down_modules:
            x = second(first(x, c), c)
            skips.append(x)
            x = down(x)
        for block in self.mid_modules:
            x = block(x, c)
        for first, second, up in self.up_modules:
            x = up(second(first(torch.cat([x, skips.pop()], dim=1), c), c))
        return self.final_conv(x).moveaxis(-1, -2)


class TwoLayers(nn.ModuleList):
    def forward(self, x):
        return x + self[1](nn.functional.mish(self[0](nn.functional.mish(x))))


class ResidualMlp(nn.Module):
    def __init__(self, hidden, blocks, embed):
        super().__init__()
        self.embed = SinusoidalPosEmb(embed)
        self.time = nn.ModuleList([nn.Linear(embed, 2 * embed), nn.Linear(2 * embed, embed)])
        self.input = nn.Linear(HORIZON * N_ACT + embed + N_COND, hidden)
        self.blocks = nn.ModuleList([TwoLayers([nn.Linear(hidden, hidden) for _ in range(2)]) for _ in range(blocks)])
        self.output = nn.Linear(hidden, HORIZON * N_ACT)

    def forward(self, x, t, cond):
        emb = self.time[1](nn.functional.mish(self.time[0](self.embed(t))))
        h = self.input(torch.cat([x.flatten(1), emb, cond], dim=-1))
        for block in self.blocks:
            h = block(h)
        return self.output(h).view_as(x)


torch.manual_seed(5)
CONFIGS = {
    "unet1d": ({"widths": [8, 12, 16], "kernel": 5, "groups": 4, "step_embed": 8}, UNet(
        [8, 12, 16], 5, 4, 8)),
    "residual_mlp": ({"hidden": 24, "blocks": 2, "step_embed": 8}, ResidualMlp(24, 2, 8)),
}
cases = []
for kind, (config, net) in CONFIGS.items():
    with torch.no_grad():
        for name, p in net.named_parameters():
            if p.dim() == 1 and "block.1" in name:
                p.add_(0.3 * torch.randn_like(p))  # so that the normalisation's scale and bias matter
        x, cond = torch.randn(BATCH, HORIZON, N_ACT), torch.randn(BATCH, N_COND)
        out = [net(x, torch.full((BATCH,), t), cond).flatten().tolist() for t in LABELS]
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, HERE / f"{kind}.safetensors")
    shape = {"horizon": HORIZON, "n_act": N_ACT, "n_cond": N_COND, "batch": BATCH}
    cases.append({"network": {"kind": kind, **config}, **shape, "x": x.flatten().tolist(), "cond": cond.flatten().tolist(),
                  "labels": LABELS, "eps": out})
(HERE / "networks.json").write_text(json.dumps(cases) + "\n")
