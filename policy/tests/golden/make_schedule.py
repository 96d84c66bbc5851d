"""Writes schedule.json: what the schedulers of the `diffusers` package compute, for ../golden.rs.

    python make_schedule.py        # needs torch and diffusers
"""

import json
from pathlib import Path

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMScheduler

X = [-1.7, -0.4, 0.0, 0.3, 1.1]
EPS = [0.9, -0.2, 0.5, 0.31, -1.4]


def tensors():
    return torch.tensor([X], dtype=torch.float64), torch.tensor([EPS], dtype=torch.float64)


def in_f64(scheduler):
    """The package computes its tables in f32; the recurrences are exact in f64."""
    scheduler.betas = scheduler.betas.double()
    scheduler.alphas = 1.0 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, dim=0)
    scheduler.one = torch.tensor(1.0, dtype=torch.float64)
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    return scheduler


def ddpm(n_steps):
    s = in_f64(DDPMScheduler(n_steps, beta_schedule="squaredcos_cap_v2", clip_sample=True, variance_type="fixed_small"))
    s.set_timesteps(n_steps)
    rows = []
    for t in sorted({0, 1, 2, 3, n_steps // 4, n_steps // 2, n_steps - 2}):
        x, eps = tensors()
        # The noise of a step is what remains of a sample after its mean; a generator with a known draw separates them.
        draw = torch.Generator().manual_seed(7)
        sample = s.step(eps, t, x, generator=draw).prev_sample
        std = s._get_variance(t).sqrt().item() if t > 0 else 0.0
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(7), dtype=x.dtype)
        rows.append({"label": t, "mean": (sample - std * noise)[0].tolist(), "std": std})
    return rows


def ddim(n_steps, count):
    s = in_f64(DDIMScheduler(n_steps, beta_schedule="squaredcos_cap_v2", clip_sample=True, timestep_spacing="leading"))
    s.set_timesteps(count)
    labels = s.timesteps.tolist()
    rows = []
    for i, t in enumerate(labels):
        x, eps = tensors()
        after = s.step(eps, t, x, eta=0.0, use_clipped_model_output=True).prev_sample
        rows.append({"label": t, "next": labels[i + 1] if i + 1 < len(labels) else None, "mean": after[0].tolist()})
    return rows


def schedule(n_steps):
    plain = DDPMScheduler(n_steps, beta_schedule="squaredcos_cap_v2")
    return {
        "n_steps": n_steps,
        "alphas_cumprod": plain.alphas_cumprod.tolist(),
        "ddpm": ddpm(n_steps),
        "ddim": ddim(n_steps, 10),
    }


out = {"diffusers": diffusers.__version__, "x": X, "eps": EPS, "schedules": [schedule(100), schedule(20)]}
Path(__file__).with_name("schedule.json").write_text(json.dumps(out, indent=1) + "\n")
