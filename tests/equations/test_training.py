"""Laws of the equations of training: gradients are those of autograd, a step is torch's."""

import numpy as np
import torch

from charlm.equations.language_model import LayerWeights, clipped
from charlm.equations.training import Moments, adamw, terms, through_time

T, H, I = 9, 5, 4  # noqa: E741 - the letters of the page


def test_the_gradient_of_a_weight_is_the_sum_of_its_terms() -> None:
    """Terms by distance add up to what autograd finds; d loss / d a is its, too, at every step."""
    rng = np.random.default_rng(0)
    w, u, x, last = (rng.normal(size=s) for s in ((H, H), (H, I), (T, I), (H,)))
    first = rng.normal(size=H)
    weight = torch.tensor(w, requires_grad=True)
    a, outputs = torch.tensor(first), []
    for t in range(T):
        a = torch.tanh(weight @ a + torch.tensor(u) @ torch.tensor(x[t]))
        a.retain_grad()
        outputs.append(a)
    (outputs[-1] @ torch.tensor(last)).backward()

    values = np.array([one.detach().numpy() for one in outputs])
    found = through_time(LayerWeights(u, w, np.zeros(H), None, None), values, last)
    expected = np.array([one.grad.numpy() for one in outputs])  # type: ignore[union-attr]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    each = terms(values, found, first)
    assert weight.grad is not None
    np.testing.assert_allclose(each.sum(axis=0), weight.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_far_terms_vanish_and_the_sum_does_not() -> None:
    """With weights that shrink, the far ones are as nothing beside the whole; else they explode."""
    rng = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(rng.normal(size=(H, H)))
    a, last = rng.uniform(-0.1, 0.1, size=(60, H)), rng.normal(size=H)
    for scale, grows in ((0.6, False), (1.6, True)):
        weights = LayerWeights(np.zeros((H, I)), scale * rotation, np.zeros(H), None, None)
        each = terms(a, through_time(weights, a, last), np.zeros(H))
        near, far = np.linalg.norm(each[-1]), np.linalg.norm(each[0:10].sum(axis=0))
        whole = np.linalg.norm(each.sum(axis=0))
        assert (far > 1e6 * near) == grows
        if not grows:
            assert far < 1e-8 * whole
            assert whole > 0.3 * near


def test_a_step_is_that_of_torch() -> None:
    """AdamW step after step, in double precision, behind the same clipping."""
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(H, I))
    parameter = torch.nn.Parameter(torch.tensor(weights))
    options = {"rate": 0.01, "beta1": 0.9, "beta2": 0.99, "decay": 0.1}
    optimizer = torch.optim.AdamW(
        [parameter], lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, eps=1e-8
    )
    moments = Moments(np.zeros_like(weights), np.zeros_like(weights))
    for step in range(1, 8):
        gradient = rng.normal(size=(H, I)) * 10.0 ** rng.integers(-3, 3)
        (limited,) = clipped([gradient], 1.0)
        parameter.grad = torch.tensor(gradient)
        torch.nn.utils.clip_grad_norm_([parameter], 1.0)
        optimizer.step()
        weights, moments = adamw(weights, limited, moments, step, **options)
        np.testing.assert_allclose(parameter.detach().numpy(), weights, rtol=1e-6)
        np.testing.assert_allclose(
            optimizer.state[parameter]["exp_avg_sq"].numpy(), moments.square, rtol=1e-5
        )
