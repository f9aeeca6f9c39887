"""What a run's records say about it, for runs of every kind."""

from __future__ import annotations

from mixed_r1.diagnosis import diagnose


def steps(count: int, **metrics: object) -> list[dict[str, object]]:
    """``count`` records; a function of the step gives a metric that moves."""
    return [
        {"step": i, **{k.replace("__", "/"): v(i) if callable(v) else v for k, v in metrics.items()}}
        for i in range(1, count + 1)
    ]


def greedy(step: int, task: str, mean: float, stderr: float = 0.01) -> dict[str, object]:
    return {"step": step, "mode": "greedy", "task": task, "mean": mean, "stderr": stderr}


def kinds(*arguments: object) -> list[str]:
    return [finding.kind for finding in diagnose(*arguments)]


HEALTHY = {
    "entropy": 0.4,
    "zero_variance": 0.5,
    "epoch": 0.8,
    "answer__commonest__yes_no": 0.6,
    "answer__commonest_gold__yes_no": 0.5,
}


def test_a_healthy_run_and_a_young_one_have_no_findings():
    before_after = [
        greedy(0, "all", 0.5),
        greedy(40, "all", 0.7),
        greedy(0, "math", 0.5),
        greedy(40, "math", 0.49),
    ]
    assert kinds(steps(40, **HEALTHY), before_after) == []
    assert kinds([]) == []
    assert kinds(steps(3, **HEALTHY | {"answer__commonest__yes_no": 1.0, "zero_variance": 1.0})) == []


def test_a_constant_answer_is_named_with_its_share_beside_the_golds():
    (finding,) = diagnose(steps(12, **HEALTHY | {"answer__commonest__yes_no": 0.97}))
    assert finding.kind == "constant/yes_no"
    assert "97% of the answers" in finding.text and "50% of the golds" in finding.text
    assert "balance: gold" in finding.remedy


def test_a_commonest_answer_that_the_golds_share_is_no_constant():
    changes = {"answer__commonest__yes_no": 0.97, "answer__commonest_gold__yes_no": 0.95}
    assert kinds(steps(12, **HEALTHY | changes)) == []


def test_entropy_that_is_gone_is_not_entropy_that_was_always_low():
    assert kinds(steps(40, **HEALTHY | {"entropy": lambda i: 0.9 / i**2})) == ["entropy"]
    assert kinds(steps(40, **HEALTHY | {"entropy": 0.01})) == []


def test_flat_groups_and_repeated_rows():
    assert kinds(steps(12, **HEALTHY | {"zero_variance": 0.95})) == ["flat"]
    (finding,) = diagnose(steps(12, **HEALTHY | {"epoch": lambda i: i / 2}))
    assert finding.kind == "repeated" and "6.0 times" in finding.text


def test_a_task_that_falls_by_two_standard_errors():
    evaluation = [
        greedy(0, "chart", 0.6),
        greedy(0, "all", 0.6),
        greedy(9, "chart", 0.55),
        greedy(9, "all", 0.61),
    ]
    (finding,) = diagnose(steps(9, **HEALTHY), evaluation)
    assert finding.kind == "falling/chart" and "from 0.600 to 0.550" in finding.text


def test_training_rows_that_rise_alone():
    held_out = [greedy(0, "all", 0.6), greedy(9, "all", 0.61)]
    known = [greedy(0, "all", 0.6), greedy(9, "all", 0.75)]
    assert kinds(steps(9, **HEALTHY), held_out, known) == ["parted"]
    assert kinds(steps(9, **HEALTHY), held_out, held_out) == []
    assert kinds(steps(9, **HEALTHY), held_out[:1], known[:1]) == []


FORM = {"reason__format__OK": 100, "reason__format__NO_ANSWER_TAG": 28}


def test_completions_without_the_format_are_named_with_the_commonest_fault():
    changes = {"reason__format__OK": 20, "reason__format__NO_ANSWER_TAG": 90, "reason__format__TAG_ORDER": 18}
    (finding,) = diagnose(steps(12, **HEALTHY | changes))
    assert finding.kind == "format"
    assert "84% of the completions of the last 10 steps" in finding.text and "NO_ANSWER_TAG" in finding.text
    assert "system_prompt" in finding.remedy
    assert kinds(steps(12, **HEALTHY | FORM)) == [], "a quarter without it is what training mends"
    assert kinds(steps(4, **HEALTHY | changes)) == []


def test_cut_masked_and_left_out_are_named_with_their_shares():
    (finding,) = diagnose(steps(12, **HEALTHY | {"length__cut": 0.8}))
    assert finding.kind == "cut" and "80%" in finding.text and "max_new_tokens" in finding.remedy
    counts = HEALTHY | {"prompts": 16, "completions": 128}
    (finding,) = diagnose(steps(2, **counts | {"reward__masked": 32}))
    assert finding.kind == "masked" and "25%" in finding.text and "data check" in finding.remedy
    (finding,) = diagnose(steps(2, **counts | {"skipped": 8}))
    assert finding.kind == "left_out" and "100 prompts 50 rows" in finding.text
    assert kinds(steps(12, **counts | {"reward__masked": 1, "skipped": 0, "length__cut": 0.2})) == []
