"""Sampling with a shared prefill: each prompt runs through the model once, then G rows decode from its cache.

A draw depends only on (seed, step, sample id, completion index). Every row has its own counter-based random
stream, and a token is found by inverting the distribution function in float64. So the same row draws the same
tokens in any batch, up to the last bits of its logits.

Shapes: B prompts, G completions each, R = B * G rows, P longest prompt, L cache length, A position axes, V
    vocab.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.prompt import Prompt
from mixed_r1.rollout.base import Completion, RolloutRequest, SamplingParams, SaveWeights

__all__ = ["ModelSampler", "random_stream", "sample_completions"]


class ModelSampler:
    """Samples from the very model that is trained, in this process: nothing has to be pushed."""

    def __init__(self, adapter: ModelAdapter, *, max_rows: int = 256) -> None:
        self.adapter = adapter
        self.max_rows = max_rows

    def push(self, version: int, save: SaveWeights) -> None:
        pass

    def generate(self, request: RolloutRequest) -> list[list[Completion]]:
        return sample_completions(
            self.adapter,
            request.prompts,
            request.keys,
            num_completions=request.num_completions,
            params=request.params,
            seed=request.seed,
            step=request.step,
            image_features=request.image_features,
            max_rows=self.max_rows,
        )

    def close(self) -> None:
        pass


@torch.no_grad()
def sample_completions(
    adapter: ModelAdapter,
    prompts: Sequence[Prompt],
    keys: Sequence[str],
    *,
    num_completions: int,
    params: SamplingParams,
    seed: int = 0,
    step: int = 0,
    image_features: Sequence[Tensor | None] | None = None,
    max_rows: int = 256,
) -> list[list[Completion]]:
    """Draw ``num_completions`` completions of every prompt.

    Args:
        adapter: the model family; its ``banned_tokens`` are never drawn, its ``stop_tokens`` end a
            completion.
        prompts: B encoded prompts, any mix of text and images.
        keys: B names of the rows; with ``seed``, ``step`` and the completion's index they alone decide the
            random numbers.
        image_features: what ``adapter.image_features([prompt])`` gave for each prompt, to skip the vision
            tower.
        max_rows: prompts decoded together times ``num_completions``; longer batches are cut, short prompts
            first.

    Returns:
        B lists of ``num_completions`` completions, in the order of ``prompts``.
    """
    if len(keys) != len(prompts):
        raise ValueError(f"keys must have one entry per prompt, got {len(keys)} for {len(prompts)} prompts")
    if num_completions < 1:
        raise ValueError(f"num_completions must be at least 1, got {num_completions}")
    # Prompts of like length go together: little padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    batch_size = max(1, max_rows // num_completions)
    results: list[list[Completion]] = [[] for _ in prompts]
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        features = None if image_features is None else [image_features[i] for i in chosen]
        uniforms = np.concatenate(
            [
                random_stream(seed, step, keys[i], g, params.max_new_tokens)[None]
                for i in chosen
                for g in range(num_completions)
            ]
        )
        batch = _Decoder(adapter, [prompts[i] for i in chosen], features, num_completions, params, uniforms)
        rows = batch.run()
        for slot, i in enumerate(chosen):
            results[i] = rows[slot * num_completions : (slot + 1) * num_completions]
    return results


def random_stream(seed: int, step: int, key: str, index: int, length: int) -> np.ndarray:
    """``length`` float64 uniforms in [0, 1): Philox keyed by a hash of (seed, step, key of the row,
    completion index)."""
    digest = hashlib.blake2b(
        f"{seed}\0{step}\0{key}\0{index}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little"))).random(length)


@dataclass
class _Row:
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampling_logprobs: list[float] = field(default_factory=list)


class _Decoder:
    """One batch of rows: prefill, expand, decode; finished rows leave the batch."""

    def __init__(
        self,
        adapter: ModelAdapter,
        prompts: Sequence[Prompt],
        features: Sequence[Tensor | None] | None,
        num_completions: int,
        params: SamplingParams,
        uniforms: np.ndarray,
    ) -> None:
        self.adapter = adapter
        self.params = params
        self.prompts = prompts
        self.num_completions = num_completions
        self.device = adapter.output_weight.device
        self.uniforms = torch.from_numpy(uniforms).to(self.device)  # [R, max_new_tokens]
        present = [f for f in features or adapter.feature_list(prompts) if f is not None]
        self.image_features = torch.cat(present) if present else None
        self.cache = DynamicCache(config=adapter.model.config)

    def run(self) -> list[Completion]:
        training = self.adapter.model.training
        self.adapter.model.eval()  # in training mode, layers under gradient checkpointing drop the cache
        try:
            return self._decode()
        finally:
            self.adapter.model.train(training)

    def _decode(self) -> list[Completion]:
        # Prefill: every prompt runs once, then its cache is repeated for its G rows.
        hidden_Rd, attended_RL, positions_AR = self._prefill()
        rows = [_Row() for _ in range(hidden_Rd.shape[0])]
        alive = torch.arange(len(rows), device=self.device)
        stops = torch.tensor(self.adapter.stop_tokens, device=self.device)
        for t in range(self.params.max_new_tokens):
            # Draw one token for every row that still goes on, and note it with its log-probs.
            tokens, logprobs, sampling_logprobs = _draw(
                hidden_Rd, self.adapter, self.params, self.uniforms[alive, t]
            )
            drawn = zip(
                alive.tolist(), tokens.tolist(), logprobs.tolist(), sampling_logprobs.tolist(), strict=True
            )
            for row, token, logprob, sampling_logprob in drawn:
                rows[row].tokens.append(token)
                rows[row].logprobs.append(logprob)
                rows[row].sampling_logprobs.append(sampling_logprob)

            # Rows that drew a stop token are done: they leave the batch and the cache.
            going = torch.isin(tokens, stops, invert=True).nonzero().squeeze(1)
            if going.numel() == 0 or t + 1 == self.params.max_new_tokens:
                break
            if going.numel() < alive.numel():
                self.cache.batch_select_indices(going)
                alive = alive[going]
                tokens = tokens[going]
                attended_RL = attended_RL[going]
                positions_AR = positions_AR[:, going]

            # Run the drawn tokens, one a row, on top of the cache: their hidden states predict the next ones.
            attended_RL = torch.cat([attended_RL, attended_RL.new_ones(alive.numel(), 1)], dim=1)
            hidden_Rd = self.adapter.hidden_states(
                tokens[:, None],
                position_ids=positions_AR[..., None],
                attention_mask=attended_RL[:, None, None, :],
                cache=self.cache,
            )[:, -1]
            positions_AR = positions_AR + 1
        return [self._completion(row) for row in rows]

    def _prefill(self) -> tuple[Tensor, Tensor, Tensor]:
        """Run the prompts, left-padded, and repeat what the rows need: hidden [R, d], mask [R, P], next
        positions [A, R]."""
        B = len(self.prompts)
        P = max(len(prompt) for prompt in self.prompts)
        axes = self.prompts[0].position_ids.shape[0]
        pad = self.adapter.stop_tokens[0]
        ids_BP = torch.full((B, P), pad, dtype=torch.int64)
        positions_ABP = torch.zeros((axes, B, P), dtype=torch.int64)
        attended_BP = torch.zeros((B, P), dtype=torch.bool)
        for b, prompt in enumerate(self.prompts):
            ids_BP[b, P - len(prompt) :] = prompt.input_ids
            positions_ABP[:, b, P - len(prompt) :] = prompt.position_ids
            attended_BP[b, P - len(prompt) :] = True
        causal_PP = torch.ones(P, P, dtype=torch.bool).tril()
        # A pad row attends to itself: a row of the mask with nothing in it would be NaN.
        mask_BPP = (causal_PP & attended_BP[:, None, :]) | torch.eye(P, dtype=torch.bool)
        hidden_Bd = self.adapter.hidden_states(
            ids_BP.to(self.device),
            position_ids=positions_ABP.to(self.device),
            attention_mask=mask_BPP[:, None].to(self.device),
            image_features=self.image_features,
            cache=self.cache,
        )[:, -1]
        G = self.num_completions
        self.cache.batch_repeat_interleave(G)
        next_AB = torch.tensor([prompt.next_position for prompt in self.prompts], device=self.device).expand(
            axes, B
        )
        return (
            hidden_Bd.repeat_interleave(G, dim=0),
            attended_BP.to(self.device).repeat_interleave(G, dim=0),
            next_AB.repeat_interleave(G, dim=1),
        )

    def _completion(self, row: _Row) -> Completion:
        stopped = row.tokens[-1] in self.adapter.stop_tokens
        text = self.adapter.tokenizer.decode(
            row.tokens[:-1] if stopped else row.tokens, skip_special_tokens=False
        )
        return Completion(
            tokens=torch.tensor(row.tokens, dtype=torch.int64),
            logprobs=torch.tensor(row.logprobs, dtype=torch.float32),
            sampling_logprobs=torch.tensor(row.sampling_logprobs, dtype=torch.float32),
            stopped=stopped,
            text=text,
        )


def _draw(
    hidden_Rd: Tensor, adapter: ModelAdapter, params: SamplingParams, uniforms_R: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One token a row: ids [R], log-probs [R] of the policy, log-probs [R] of the truncated distribution."""
    # Tokens that only prompts may hold are out of the softmax, here as in training.
    logits_RV = adapter.logits(hidden_Rd)
    if adapter.banned_tokens:
        logits_RV[:, list(adapter.banned_tokens)] = -torch.inf
    if params.temperature == 0:
        logprobs_RV = logits_RV.log_softmax(-1)
        tokens_R = logits_RV.argmax(-1)
        logprobs_R = logprobs_RV.gather(1, tokens_R[:, None]).squeeze(1)
        return tokens_R, logprobs_R, torch.zeros_like(logprobs_R)

    # The policy is the distribution at this temperature; top-k, min-p and top-p only cut what is drawn.
    logprobs_RV = (logits_RV / params.temperature).log_softmax(-1)
    probs_RV = logprobs_RV.double().exp()
    if params.truncates:
        probs_RV = _truncate(probs_RV, params)

    # Invert the distribution function at the row's own random number.
    cumulative_RV = probs_RV.cumsum(-1)
    total_R1 = cumulative_RV[:, -1:]
    # Strictly below the total: the token found always has a probability above zero.
    thresholds_R1 = torch.minimum(
        uniforms_R[:, None] * total_R1, total_R1.nextafter(torch.zeros_like(total_R1))
    )
    tokens_R1 = torch.searchsorted(cumulative_RV, thresholds_R1, right=True)
    logprobs_R = logprobs_RV.gather(1, tokens_R1).squeeze(1)
    sampling_R = logprobs_R - total_R1.squeeze(1).log().float() if params.truncates else logprobs_R
    return tokens_R1.squeeze(1), logprobs_R, sampling_R


def _truncate(probs_RV: Tensor, params: SamplingParams) -> Tensor:
    """Zero what top-k, min-p and top-p leave out (in this order); the most likely token always stays."""
    if 0 < params.top_k < probs_RV.shape[1]:
        kth_R1 = probs_RV.topk(params.top_k, dim=-1).values[:, -1:]
        probs_RV = probs_RV.where(probs_RV >= kth_R1, 0.0)
    if params.min_p > 0:
        probs_RV = probs_RV.where(probs_RV >= params.min_p * probs_RV.amax(-1, keepdim=True), 0.0)
    if params.top_p < 1:
        sorted_RV, order_RV = probs_RV.sort(dim=-1, descending=True, stable=True)
        before_RV = sorted_RV.cumsum(-1) - sorted_RV
        kept_RV = before_RV < params.top_p * sorted_RV.sum(-1, keepdim=True)
        probs_RV = torch.zeros_like(probs_RV).scatter(1, order_RV, sorted_RV.where(kept_RV, 0.0))
    return probs_RV
