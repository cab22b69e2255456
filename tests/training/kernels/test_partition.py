"""How far a student is from its teacher, and what it learns of it, against a plain divergence of whole vocabularies."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from eshop_ray.training.kernels import partition
from eshop_ray.training.kernels.partition import diverge, diverge_by_head

NUM_TOKENS, WIDTH, VOCABULARY = 7, 16, 130


@pytest.fixture
def parts():
    """States, a head's weight, and a teacher's scores."""
    draw = torch.Generator().manual_seed(0)
    shapes = [(NUM_TOKENS, WIDTH), (VOCABULARY, WIDTH), (NUM_TOKENS, VOCABULARY)]
    states, weight, scores = (torch.randn(shape, generator=draw) for shape in shapes)
    return states, weight, 3 * scores


def keep(scores, num_words):
    """The most probable words of a teacher, and the probabilities that are kept of it."""
    probabilities = scores.softmax(1)
    top = probabilities.topk(num_words, 1)
    rest = 1 - top.values.sum(1, keepdim=True)
    return top.indices, torch.cat([top.values, rest.clamp(min=0)], 1)


def plain(states, weight, words, probabilities):
    """The divergence of two distributions over K + 1 cells, the student's sums of its whole softmax."""
    student = (states @ weight.T).softmax(1)
    kept = student.gather(1, words)
    cells = torch.cat([kept, 1 - kept.sum(1, keepdim=True)], 1)
    return kl_div(cells.log(), probabilities, reduction="none").sum(1)


def learn(measure, states, *rest):
    """Losses, and the gradient of their sum, each weighted otherwise."""
    states = states.clone().requires_grad_()
    losses = measure(states, *rest)
    (losses * torch.linspace(0.5, 2, len(losses))).sum().backward()
    return losses.detach(), states.grad


@pytest.mark.parametrize("block", [20, 50, 1000])
@pytest.mark.parametrize("num_words", [1, 5, 60])
def test_losses_and_gradients_are_those_of_a_plain_divergence(parts, num_words, block, monkeypatch):
    monkeypatch.setattr(partition, "BLOCK", block)
    states, weight, scores = parts
    kept = keep(scores, num_words)
    expected, expected_gradient = learn(plain, states, weight, *kept)
    by_scores = learn(lambda part, *rest: diverge(part @ weight.T, *rest), states, *kept)
    by_head = learn(diverge_by_head, states, weight, *kept)
    for losses, gradient in (by_scores, by_head):
        torch.testing.assert_close(losses, expected, rtol=1e-4, atol=1e-5)
        assert (gradient - expected_gradient).norm() <= 1e-4 * expected_gradient.norm()


def test_it_is_never_more_than_the_whole_divergence_and_all_but_it_for_many_words(parts):
    states, weight, scores = parts
    whole = kl_div((states @ weight.T).log_softmax(1), scores.log_softmax(1), log_target=True, reduction="none").sum(1)
    found = [diverge_by_head(states, weight, *keep(scores, num)) for num in (1, 5, 60, VOCABULARY - 1)]
    for fewer, more in zip(found, [*found[1:], whole], strict=True):
        assert (fewer <= more + 1e-5).all()
    torch.testing.assert_close(found[-1], whole, rtol=1e-4, atol=1e-5)


def test_a_student_that_is_its_teacher_has_nothing_to_learn(parts):
    states, weight, _ = parts
    losses, gradient = learn(diverge_by_head, states, weight, *keep(states @ weight.T, 8))
    assert losses.abs().max() < 1e-5
    assert gradient.abs().max() < 1e-5


def test_a_teacher_that_is_sure_of_one_word_teaches_like_a_label(parts):
    states, weight, scores = parts
    words = scores.topk(3, 1).indices
    certain = torch.zeros(NUM_TOKENS, 4).index_fill_(1, torch.tensor([1]), 1.0)
    expected = learn(lambda part: cross_entropy(part @ weight.T, words[:, 1], reduction="none"), states)
    for ours, theirs in zip(learn(diverge_by_head, states, weight, words, certain), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_words_of_rounded_weights_are_taken_by_rounded_scores(parts):
    """bf16, as heads are under autocast: as exact as their plain product."""
    states, weight, scores = parts
    kept = keep(scores, 5)
    expected, expected_gradient = learn(plain, states, weight, *kept)
    losses, gradient = learn(diverge_by_head, states, weight.bfloat16(), *kept)
    assert (losses - expected).norm() <= 0.02 * expected.norm()
    assert (gradient - expected_gradient).norm() <= 0.02 * expected_gradient.norm()
    assert gradient.dtype == torch.float32
    assert np.isfinite(losses).all()
