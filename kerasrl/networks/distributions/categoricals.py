"""The distribution over the actions of Discrete, MultiDiscrete and MultiBinary."""

from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from kerasrl.networks.action_numbers import sizes_and_starts
from kerasrl.networks.distributions.action_distribution import ActionDistribution, check_spaces

tfd: Any = tfp.distributions


class Categoricals(ActionDistribution):
    """Independent categorical distributions, one for each integer of an action.

    Losses have its `paired_log_prob` and `entropy_of_finite_logits`, which are the same numbers as
    `log_prob` and `entropy`, sooner.

    Args:
        logits: float, [..., P], those of all integers, one after the other; -inf for a value that
            is never taken.
        space: `gymnasium.Space`: Discrete, MultiDiscrete or MultiBinary.
        name: str.
    """

    def __init__(self, logits: tf.Tensor, space: Any, name: str = "Categoricals"):
        parameters = dict(locals())
        sizes, self._starts = sizes_and_starts(space)
        self.logits = tf.convert_to_tensor(logits)
        self.of_integers = [
            tfd.Categorical(logits=each, dtype=tf.int64)
            for each in tf.split(self.logits, sizes, axis=-1)
        ]
        super().__init__(space, False, parameters, name)

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        return {"logits": tfp.util.ParameterProperties(event_ndims=1)}

    def paired_log_prob(self, action: tf.Tensor) -> tf.Tensor:
        """Log-probabilities of one action for each distribution of the batch, as losses have them.

        Args:
            action: int, [..., *shape of the space], of the batch's leading shape.

        Returns:
            float, [...]; nats.
        """
        # What `tfd.Categorical` computes, without the multiplications by which it broadcasts a
        # batch of unknown size: they cost PPO 4 to 6 % of its steps per second.
        numbers = tf.cast(self._numbers(action), tf.int64)
        each = enumerate(zip(self.of_integers, self._starts, strict=True))
        return -tf.add_n(
            [
                tf.nn.sparse_softmax_cross_entropy_with_logits(numbers[..., i] - start, d.logits)
                for i, (d, start) in each
            ]
        )

    def entropy_of_finite_logits(self) -> tf.Tensor:
        """Entropies in nats, `[...]`, as losses have them; NaN where a logit is infinite."""
        # What `tfd.Categorical` computes, without its guard of 0 * log(0): that costs REINFORCE 5 %
        # of its steps per second, and PPO 2 %.
        entropies = []
        for distribution in self.of_integers:
            log_prob = tf.nn.log_softmax(distribution.logits)
            entropies.append(-tf.reduce_sum(tf.exp(log_prob) * log_prob, axis=-1))
        return tf.add_n(entropies)

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        seeds: Any = [None] * len(self.of_integers)
        if seed is not None:
            seeds = tf.unstack(tfp.random.split_seed(seed, len(seeds)), num=len(seeds))
        return self._actions(
            [d.sample(n, seed=each) for d, each in zip(self.of_integers, seeds, strict=True)]
        )

    def _log_prob(self, action: tf.Tensor) -> tf.Tensor:
        numbers = tf.cast(self._numbers(action), tf.int64)
        each = zip(self.of_integers, self._starts, strict=True)
        return tf.add_n([d.log_prob(numbers[..., i] - start) for i, (d, start) in enumerate(each)])

    def _entropy(self) -> tf.Tensor:
        return tf.add_n([d.entropy() for d in self.of_integers])

    def _mode(self) -> tf.Tensor:
        return self._actions([d.mode() for d in self.of_integers])

    def _actions(self, integers: list[tf.Tensor]) -> tf.Tensor:
        """Makes actions of integers `[...]` that are counted from 0."""
        counted = [column + start for column, start in zip(integers, self._starts, strict=True)]
        return self._shaped(tf.stack(counted, axis=-1))


@tfd.RegisterKL(Categoricals, Categoricals)
def _kl_of_categoricals(one: Categoricals, other: Categoricals, name: Any = None) -> tf.Tensor:
    check_spaces(one, other)
    with tf.name_scope(name or "kl_of_categoricals"):
        pairs = zip(one.of_integers, other.of_integers, strict=True)
        return tf.add_n([tfd.kl_divergence(p, q) for p, q in pairs])
