"""Losses and targets: pure functions of batched tensors, one value per example."""

from kerasrl.losses.deterministic_policy_gradient import dpg_loss
from kerasrl.losses.distributional import categorical_projection, categorical_td_loss
from kerasrl.losses.multistep import (
    discounted_returns,
    generalized_advantages,
    lambda_returns,
    n_step_bootstrapped_returns,
)
from kerasrl.losses.policy_gradient import (
    approximate_kl,
    clipped_surrogate_loss,
    clipped_value_loss,
    policy_gradient_loss,
)
from kerasrl.losses.soft_actor_critic import (
    sac_actor_loss,
    sac_critic_loss,
    sac_temperature_loss,
    soft_td_target,
)
from kerasrl.losses.td import (
    double_q_learning,
    huber,
    l2,
    q_learning,
    td_target,
)

__all__ = [
    "approximate_kl",
    "categorical_projection",
    "categorical_td_loss",
    "clipped_surrogate_loss",
    "clipped_value_loss",
    "discounted_returns",
    "double_q_learning",
    "dpg_loss",
    "generalized_advantages",
    "huber",
    "l2",
    "lambda_returns",
    "n_step_bootstrapped_returns",
    "policy_gradient_loss",
    "q_learning",
    "sac_actor_loss",
    "sac_critic_loss",
    "sac_temperature_loss",
    "soft_td_target",
    "td_target",
]
