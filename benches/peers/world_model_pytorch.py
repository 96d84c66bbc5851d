"""Updates per second of the state world model, written as one writes it in PyTorch: the peer of `reverie bench dreams --part speed`.

Reads {"config": {...}, "updates": n, "threads": n} on standard input, prints one JSON line. The same sizes, the same batches (random
numbers instead of play), blind stretches, leads, heads and loss, AdamW over all parameters, gradients clipped. Eager mode, with what need not
be done step by step done for all steps at once, and heads in batched products, as ours are.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

STATE, N_ACT, LEAD, SIGHTED, LATE = 51, 7, 3, 3, 100
STEP = 0.02 / 0.04  # leash lengths that a full-scale action commands
LEASHES = 10.0  # in a half-range of a position
GAUSSIAN, TWO_VALUED = [9, 20], [17, 22, 23]
POSITIONS = [0, 1, 2, 18, 19, 20, 21]
OCTAVES = 6
WAVES = STATE + 2 * len(POSITIONS) * OCTAVES


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


class Heads(nn.Module):
    """Networks side by side, in batched products; hidden layers as in `dense`."""

    def __init__(self, count, layers, n_in, hidden, n_out):
        super().__init__()
        self.count, self.hidden = count, hidden
        self.first = nn.Linear(n_in, count * hidden)
        widths = [hidden] * (layers - 1) + [n_out]

        def uniform(*shape):
            return nn.Parameter((torch.rand(count, *shape) * 2 - 1) / hidden**0.5)

        self.weights = nn.ParameterList(uniform(hidden, width) for width in widths)
        self.biases = nn.ParameterList(uniform(1, width) for width in widths)
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(count, 1, hidden)) for _ in widths)
        self.offsets = nn.ParameterList(nn.Parameter(torch.zeros(count, 1, hidden)) for _ in widths)

    def rest(self, x, heads):
        for weight, bias, gain, offset in zip(self.weights, self.biases, self.gains, self.offsets):
            x = F.silu(F.layer_norm(x, (self.hidden,), eps=1e-3) * gain[heads] + offset[heads])
            x = torch.baddbmm(bias[heads], x, weight[heads])
        return x

    def forward(self, x):
        """[n, n_in] -> [n, heads, n_out]"""
        return self.rest(self.first(x).view(-1, self.count, self.hidden).transpose(0, 1), slice(None)).transpose(0, 1)

    def one(self, x, head):
        rows = slice(head * self.hidden, (head + 1) * self.hidden)
        x = F.linear(x, self.first.weight[rows], self.first.bias[rows])
        return self.rest(x.unsqueeze(0), slice(head, head + 1)).squeeze(0)


def symlog(x):
    return torch.sign(x) * torch.log1p(torch.abs(x))


def waves(state):
    angle = state[..., POSITIONS, None] * (torch.pi * 2.0 ** torch.arange(OCTAVES))
    return torch.cat([state, angle.sin().flatten(-2), angle.cos().flatten(-2)], -1)


@torch.no_grad()
def lead_after(lead, actions, before, after):
    rows = actions.unflatten(-1, (-1, N_ACT))[..., :LEAD] * STEP
    moved = (after[..., :LEAD] - before[..., :LEAD]) * LEASHES / rows.shape[-2]
    for row in range(rows.shape[-2]):
        lead = lead + rows[..., row, :] - moved
        lead = lead / lead.norm(dim=-1, keepdim=True).clamp_min(1)
    return lead


class WorldModel(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        stoch, hidden, deter, count = c["groups"] * c["classes"], c["hidden"], c["deter"], c["heads"]
        direct = WAVES + LEAD + c["actions_per_step"] * N_ACT
        self.encoder = nn.Sequential(dense(STATE, c["embed"]), nn.Linear(c["embed"], c["embed"]))
        self.input = dense(stoch + direct, hidden)
        self.gru = Gru(hidden, deter)
        self.prior_trunk = dense(deter + direct, hidden)
        self.prior_heads = Heads(count, 1, hidden, -(-hidden // 2), stoch)
        self.posterior_h = nn.Linear(deter, hidden)
        self.posterior_e = nn.Linear(c["embed"], hidden)
        self.posterior = nn.Sequential(dense(hidden, hidden), nn.Linear(hidden, stoch))
        self.decoder_heads = Heads(count, 3, deter + direct + stoch, hidden, STATE)
        self.register_buffer("spread", torch.zeros(2, STATE))
        self.register_buffer("two_valued", torch.tensor([float(i in TWO_VALUED) for i in range(STATE)]))
        self.register_buffer("gaussian", torch.tensor([i in GAUSSIAN + TWO_VALUED for i in range(STATE)]))
        self.batches = [0, 0]

    def probabilities(self, logits):
        c = self.c
        p = logits.unflatten(-1, (c["groups"], c["classes"])).softmax(-1)
        return p * (1 - c["unimix"]) + c["unimix"] / c["classes"]

    def scale(self, kind, error):
        self.batches[kind] += 1
        self.spread[kind].lerp_(error.detach(), 1 / min(self.batches[kind], LATE))
        return self.spread[kind].clone()

    def forward(self, state, leads, actions, begins, blind, learns, h, z, lead, x):
        c = self.c
        from_seen = self.posterior_e(self.encoder(symlog(state)))
        posteriors, all_known, foretold, any_blind = [], [], [], bool(blind.any())
        for t in range(state.shape[0]):
            keep = (1 - begins[t]).unsqueeze(-1)
            h, z, lead, x = h * keep, z * keep, lead * keep, x * keep
            before, taken = x, actions[t] * keep
            direct = torch.cat([waves(x.detach()), lead, taken], -1)
            h = self.gru(self.input(torch.cat([z, direct], -1)), h)
            known = torch.cat([h, direct], -1)
            posterior = self.probabilities(self.posterior(F.silu(self.posterior_h(h) + from_seen[t])))
            head, dark = t % c["heads"], blind[t].unsqueeze(-1)
            believed = posterior
            if any_blind:
                with torch.no_grad():
                    prior = self.probabilities(self.prior_heads.one(self.prior_trunk(known), head))
                believed = torch.where(dark.unsqueeze(-1) > 0, prior, posterior)
            sample = torch.distributions.OneHotCategorical(probs=believed.detach(), validate_args=False).sample()
            z = (sample + believed - believed.detach()).flatten(-2)
            given = torch.cat([known, z], -1)
            by_head = (x.unsqueeze(1) + self.decoder_heads(given)).clamp(-2, 2)
            told = by_head[:, head]
            told = told + ((told.sign() - told) * self.two_valued).detach()
            x = torch.where(dark > 0, told, state[t])
            lead = torch.where(dark > 0, lead_after(lead, taken, before, x), leads[t]) if any_blind else leads[t]
            posteriors.append(posterior)
            all_known.append(known)
            foretold.append(by_head)
        square = (symlog(torch.stack(foretold)) - symlog(state).unsqueeze(2)).square() + c["least_deviation"] ** 2
        errors = torch.where(self.gaussian, square, square.sqrt())
        half = torch.where(self.gaussian, 0.5, 1.0)
        counts = (1 - begins).unsqueeze(-1) * learns
        nll = 0
        for kind, rows in enumerate([1 - blind, blind]):
            weights = counts * rows.unsqueeze(-1)
            if weights.sum() > 0:
                error = (errors * weights.unsqueeze(-1)).sum((0, 1, 2)) / weights.sum()
                scale = self.scale(kind, error)
                nll = nll + ((error / scale + scale.log()) * half).sum() * weights.sum() / counts.sum()
        posterior = torch.stack(posteriors).unsqueeze(2)
        prior = self.prior_heads(self.prior_trunk(torch.stack(all_known).flatten(0, 1)))
        prior = self.probabilities(prior).unflatten(0, state.shape[:2])
        weights = learns * (1 - blind).unsqueeze(-1)
        weights = weights / weights.sum()

        def kl(q, p):
            return (q * (q.log() - p.log())).sum((-1, -2))

        to_prior = (kl(posterior.detach(), prior) * weights).sum()
        to_posterior = (kl(posterior, prior.detach()).clamp_min(c["free_nats"]) * weights).sum()
        loss = nll + c["kl_scale"] * (c["kl_balance"] * to_prior + (1 - c["kl_balance"]) * to_posterior)
        return loss, h.detach(), z.detach(), lead, x.detach()


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
    lead = torch.zeros(streams, LEAD)
    x = torch.zeros(streams, STATE)
    times = torch.arange(sequence).unsqueeze(-1)
    seconds = []
    for _ in range(updates):
        begin = time.perf_counter()
        state = torch.rand(sequence, streams, STATE) * 2 - 1
        leads = torch.rand(sequence, streams, LEAD) * 0.5
        actions = torch.rand(sequence, streams, c["actions_per_step"] * N_ACT) * 2 - 1
        begins = (torch.rand(sequence, streams) < c["reset_probability"]).float()
        first = torch.randint(SIGHTED, sequence, (streams,))
        first = torch.where(torch.rand(streams) < c["blind"], first, sequence)
        blind = (times >= first).float() * (1 - begins)
        learns = 1 - F.one_hot(torch.randint(0, c["heads"], (streams,)), c["heads"]).float()
        loss, h, z, lead, x = model(state, leads, actions, begins, blind, learns, h, z, lead, x)
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
