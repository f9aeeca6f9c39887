import numpy as np
import pytest

from mixed_r1.data.surrogate import fit_surrogate, read_runs

SOURCES = ["chart", "grounding", "math"]
BEST = np.asarray([0.5, 0.3, 0.2])


def truth(weights):
    """Highest at BEST: 0.7 less three times the squared distance."""
    return 0.7 - 3.0 * ((weights - BEST) ** 2).sum(axis=-1)


def runs(count, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(3), count)
    return weights, truth(weights) + noise * rng.standard_normal(count)


def test_a_quadratic_is_found_exactly():
    fit = fit_surrogate(SOURCES, *runs(30))
    proposal = np.asarray([fit.proposal[name][0] for name in SOURCES])
    assert np.abs(proposal - BEST).max() < 0.01
    assert fit.predicted == pytest.approx(0.7, abs=0.005)
    assert fit.cv_r2 > 0.99 and fit.warnings == []
    assert fit.num_coefficients == 6


def test_noise_widens_the_intervals_that_hold_the_best_mixture():
    fits = [fit_surrogate(SOURCES, *runs(40, noise=0.03, seed=seed)) for seed in range(3)]
    inside = [
        low - 0.02 <= best <= high + 0.02
        for fit in fits
        for best, (_, low, high) in zip(BEST, fit.proposal.values(), strict=True)
    ]
    assert np.mean(inside) >= 0.7
    exact = fit_surrogate(SOURCES, *runs(40))
    assert min(fit.predicted_std for fit in fits) > 5 * exact.predicted_std
    for fit in fits:
        weights = np.asarray([weight for weight, _, _ in fit.proposal.values()])
        assert weights.sum() == pytest.approx(1.0) and weights.min() >= 0
        assert truth(weights) > 0.65


def test_a_maximum_in_a_corner():
    weights, _ = runs(25)
    fit = fit_surrogate(SOURCES, weights, weights[:, 1])
    assert fit.proposal["grounding"][0] == pytest.approx(1.0, abs=1e-3)


def test_it_says_when_data_are_too_few_or_say_nothing():
    weights, scores = runs(5)
    assert any(
        "too few runs: 5 for 6 coefficients" in text
        for text in fit_surrogate(SOURCES, weights, scores).warnings
    )
    with pytest.raises(ValueError, match="runs must be at least 5 for 3 sources, got 4"):
        fit_surrogate(SOURCES, weights[:4], scores[:4])
    noise = np.random.default_rng(1).standard_normal(20)
    assert any(
        "no better than their mean" in text for text in fit_surrogate(SOURCES, runs(20)[0], noise).warnings
    )
    alike = np.tile(weights[:2], (5, 1))
    assert any("too alike" in text for text in fit_surrogate(SOURCES, alike, truth(alike)).warnings)


def test_the_same_seed_gives_the_same_proposal():
    weights, scores = runs(20, noise=0.02)
    assert fit_surrogate(SOURCES, weights, scores) == fit_surrogate(SOURCES, weights, scores)


def test_reading_runs(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("run,chart,math,score\na,1,1,0.5\nb,3,1,0.6\n")
    sources, weights, scores = read_runs(path)
    assert sources == ["chart", "math"]
    assert weights.tolist() == [[0.5, 0.5], [0.75, 0.25]]
    assert scores.tolist() == [0.5, 0.6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chart,math\n1,1\n", "must have the column 'score', got"),
        ("chart,score\n1,1\n", "must have a weight column for at least 2 sources"),
        ("chart,math,score\n", "must hold at least one run"),
        ("chart,math,score\n1,1,0.5\n1,x,0.5\n", "runs.csv:3: weights and score must be numbers"),
        ("chart,math,score\n1,-1,0.5\n", "runs.csv:2: weights must be finite, at least 0"),
        ("chart,math,score\n0,0,0.5\n", "not all 0"),
        ("chart,math,score\n1,nan,0.5\n", "weights must be finite"),
    ],
)
def test_wrong_runs(tmp_path, text, message):
    (tmp_path / "runs.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_runs(tmp_path / "runs.csv")
