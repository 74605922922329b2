"""Losses and targets: pure functions of batched tensors, one value per example."""

from kerasrl.losses.multistep import (
    discounted_returns,
    n_step_bootstrapped_returns,
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
    "discounted_returns",
    "double_q_learning",
    "huber",
    "l2",
    "n_step_bootstrapped_returns",
    "q_learning",
    "sac_actor_loss",
    "sac_critic_loss",
    "sac_temperature_loss",
    "soft_td_target",
    "td_target",
]
