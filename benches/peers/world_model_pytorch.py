"""Updates per second of the state world model, written as one writes it in PyTorch: the peer of `reverie bench dreams --part speed`.

Reads {"config": {...}, "updates": n, "threads": n} on standard input, prints one JSON line. The same sizes, the same batches (random
numbers instead of play), the same loss, AdamW over all parameters, gradients clipped; plain modules, eager mode.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

STATE, N_ACT = 51, 7


def dense(n_in, n_out):
    return nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out, eps=1e-3), nn.SiLU())


class Gru(nn.Module):
    def __init__(self, n_in, deter):
        super().__init__()
        self.linear = nn.Linear(n_in + deter, 3 * deter)
        self.norm = nn.LayerNorm(3 * deter, eps=1e-3)

    def forward(self, x, h):
        reset, candidate, update = self.norm(self.linear(torch.cat([x, h], -1))).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return h + torch.sigmoid(update - 1) * (candidate - h)


def symlog(x):
    return torch.sign(x) * torch.log1p(torch.abs(x))


class WorldModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        stoch = c["groups"] * c["classes"]
        hidden, deter = c["hidden"], c["deter"]
        self.encoder = nn.Sequential(dense(STATE, c["embed"]), nn.Linear(c["embed"], c["embed"]))
        self.input = dense(stoch + c["actions_per_step"] * N_ACT, hidden)
        self.gru = Gru(hidden, deter)
        self.prior = nn.ModuleList(
            nn.Sequential(dense(deter, hidden), nn.Linear(hidden, stoch)) for _ in range(c["heads"])
        )
        self.posterior_h = nn.Linear(deter, hidden)
        self.posterior_e = nn.Linear(c["embed"], hidden)
        self.posterior = nn.Sequential(dense(hidden, hidden), nn.Linear(hidden, stoch))
        self.decoder = nn.Sequential(dense(deter + stoch, hidden), dense(hidden, hidden), nn.Linear(hidden, STATE))

    def probabilities(self, logits):
        c = self.c
        p = logits.unflatten(-1, (c["groups"], c["classes"])).softmax(-1)
        return p * (1 - c["unimix"]) + c["unimix"] / c["classes"]

    def forward(self, state, actions, begins, h, z):
        c = self.c
        from_seen = self.posterior_e(self.encoder(symlog(state)))
        latents, posteriors = [], []
        for t in range(state.shape[0]):
            keep = (1 - begins[t]).unsqueeze(-1)
            h, z = h * keep, z * keep
            h = self.gru(self.input(torch.cat([z, actions[t] * keep], -1)), h)
            posterior = self.probabilities(self.posterior(F.silu(self.posterior_h(h) + from_seen[t])))
            sample = torch.distributions.OneHotCategorical(probs=posterior.detach()).sample()
            z = (sample + posterior - posterior.detach()).flatten(-2)
            latents.append(torch.cat([h, z], -1))
            posteriors.append(posterior)
        latents, posterior = torch.stack(latents), torch.stack(posteriors)
        error = (self.decoder(latents) - symlog(state)).square().flatten(0, 1).mean(0)
        nll = 0.5 * (error + 1e-6).log().sum()
        prior = self.probabilities(torch.stack([head(latents[..., : c["deter"]]) for head in self.prior], -2))
        posterior = posterior.unsqueeze(2)

        def kl(q, p):
            return (q * (q.log() - p.log())).sum((-1, -2)).clamp_min(c["free_nats"]).mean()

        balance = c["kl_balance"]
        loss = nll + c["kl_scale"] * (balance * kl(posterior.detach(), prior) + (1 - balance) * kl(posterior, prior.detach()))
        return loss, h.detach(), z.detach()


def main():
    request = json.load(sys.stdin)
    c, updates = request["config"], request["updates"]
    torch.set_num_threads(request["threads"])
    torch.manual_seed(0)
    model = WorldModel(c)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=1e-5, weight_decay=c["weight_decay"])
    streams, sequence = c["streams"], c["sequence"]
    h = torch.zeros(streams, c["deter"])
    z = torch.zeros(streams, c["groups"] * c["classes"])
    seconds = []
    for _ in range(updates):
        begin = time.perf_counter()
        state = torch.rand(sequence, streams, STATE) * 2 - 1
        actions = torch.rand(sequence, streams, c["actions_per_step"] * N_ACT) * 2 - 1
        begins = (torch.rand(sequence, streams) < c["reset_probability"]).float()
        loss, h, z = model(state, actions, begins, h, z)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), c["grad_clip"])
        optimiser.step()
        seconds.append(time.perf_counter() - begin)
    seconds.sort()
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"torch": torch.__version__, "seconds_median": seconds[len(seconds) // 2], "parameters": parameters}))


if __name__ == "__main__":
    main()
