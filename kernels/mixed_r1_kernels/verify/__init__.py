"""Scoring a whole batch of completions against compiled golds in one call."""

from mixed_r1_kernels.verify.api import (
    CompiledGold,
    VerifyResult,
    VerifySettings,
    compile_gold,
    identities,
    verify,
)

__all__ = ["CompiledGold", "VerifyResult", "VerifySettings", "compile_gold", "identities", "verify"]
