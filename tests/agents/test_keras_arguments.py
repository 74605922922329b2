"""Arguments of Keras's methods that an agent has no use for, and optimizers that are none."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from doubles import Told

import kerasrl
from kerasrl.errors import AgentStateError, ArgumentError, ArgumentTypeError
from kerasrl.testing import CountingEnv

AGENTS = [
    kerasrl.A2C,
    kerasrl.D4PG,
    kerasrl.DDPG,
    kerasrl.DQN,
    kerasrl.PPO,
    kerasrl.REINFORCE,
    kerasrl.SAC,
    kerasrl.TD3,
]


class Own(kerasrl.Agent):
    """A user's agent that leaves `compile` as it is."""


class OwnOfTwo(kerasrl.Agent):
    """A user's agent with two optimizers, written as the docstring of `Agent` says."""

    def __init__(self, known=("actor_optimizer", "critic_optimizer"), kept=True, **kwargs):
        super().__init__(**kwargs)
        self.known, self.kept = known, kept

    def compile(
        self,
        actor_optimizer=None,
        critic_optimizer=None,
        *,
        steps_per_execution=1,
        jit_compile=None,
        run_eagerly=None,
    ):
        super().compile(
            actor_optimizer or keras.optimizers.SGD(0.1),
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            run_eagerly=run_eagerly,
        )
        self.actor_optimizer = self.optimizer
        if self.kept:
            self.critic_optimizer = keras.optimizers.get(critic_optimizer or "sgd")

    def build_networks(self):
        self.actor = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        self.critic = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def optimized_variables(self):
        if self.known is None:
            return super().optimized_variables()
        networks = {"actor_optimizer": self.actor, "critic_optimizer": self.critic}
        return {name: networks[name].trainable_variables for name in self.known}

    def policy(self, observation):
        return self.actor(observation)

    def explore(self, output, rng):
        return output.argmax(axis=-1)

    def call(self, observation):
        return tf.argmax(self.actor(observation), axis=-1)

    def train_step(self, batch):
        return self.track(loss=tf.reduce_mean(batch["reward"]))


ALL = [*AGENTS, Own, OwnOfTwo]


@pytest.mark.regression(22)
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_losses_and_metrics_are_refused_and_said_what_to_do_about(kind):
    agent = kind()
    for name, advice in {
        "loss": "losses of its algorithm",
        "metrics": "log_names",
        "weighted_metrics": "log_names",
        "loss_weights": "arguments of the agent",
        "learning_rate": "keras.optimizers.Adam",
        "nonsense": "; it takes .*steps_per_execution",
    }.items():
        with pytest.raises(ArgumentTypeError, match=f"{name}.*{advice}"):
            agent.compile(**{name: 0.5})
    agent.compile(loss=None, metrics=None, loss_weights=None, weighted_metrics=None)
    with pytest.raises(ArgumentTypeError, match="at most .* without a name"):
        agent.compile(None, None, None, "mse")


def optimizers_of(kind):
    return ["optimizer"] if kind is Own else list(kerasrl.training.building.optimizers(kind()))


@pytest.mark.regression(21)
@pytest.mark.regression(22)
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.table
def test_an_optimizer_that_is_none_is_refused(kind):
    for name in optimizers_of(kind):
        for value, rule in {
            keras.optimizers.Adam: rf"received the class Adam. Pass {name}=Adam\(...\)",
            0.001: rf"received 0.001. Pass {name}=keras.optimizers.Adam\(1e-3\)",
            0.0: "received 0.0",
            "adamm": "or the name of one; received 'adamm'",
            keras.optimizers.schedules.ExponentialDecay(0.1, 1, 1.0): "received <keras",
        }.items():
            with pytest.raises(ArgumentTypeError, match=f"{name} must .*{rule}"):
                kind().compile(**{name: value})
        agent = kind()
        agent.compile(**{name: "adam"})
        assert isinstance(getattr(agent, name), keras.optimizers.Adam)


@pytest.mark.keras_2
@pytest.mark.regression(21)
@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_legacy_optimizer_is_refused(kind):
    for name in optimizers_of(kind):
        with pytest.raises(ArgumentTypeError, match="legacy.*Use keras.optimizers.Adam"):
            kind().compile(**{name: keras.optimizers.legacy.Adam()})


@pytest.mark.regression(22)
def test_an_agent_of_several_networks_says_which_optimizers_it_takes():
    with pytest.raises(ArgumentTypeError, match="actor_optimizer, critic_optimizer"):
        kerasrl.TD3().compile(optimizer=keras.optimizers.Adam())


FIT = ("y", "shuffle", "validation_steps", "validation_split", "class_weight", "sample_weight")
FIT += ("validation_batch_size", "workers", "max_queue_size", "use_multiprocessing")


@pytest.mark.regression(22)
def test_arguments_of_keras_for_fit_and_evaluate_are_refused(make_agent):
    agent, env = make_agent("dqn"), CountingEnv()
    for name in FIT:
        with pytest.raises(ArgumentTypeError, match=f"DQN.fit takes no {name}: .*"):
            agent.fit(env, **{name: 2})
    for name in ("y", "steps", "batch_size", "sample_weight", "workers"):
        with pytest.raises(ArgumentTypeError, match=f"DQN.evaluate takes no {name}: .*"):
            agent.evaluate(env, **{name: 2})
    with pytest.raises(
        ArgumentTypeError, match="at most 1 arguments without a name, x; received 2"
    ):
        agent.fit(env, np.zeros(3))
    with pytest.raises(ArgumentTypeError, match="total_timesteps: pass env_steps"):
        agent.fit(env, total_timesteps=100)
    with pytest.raises(ArgumentTypeError, match="Did you mean env_steps?"):
        agent.fit(env, env_step=100)
    with pytest.raises(ArgumentTypeError, match=r"evaluate\(env\)"):
        agent.test_on_batch(np.zeros((3, 4)))
    assert env.actions == []


@pytest.mark.regression(22)
@pytest.mark.parametrize("listed", [False, True])
def test_evaluate_tells_callbacks_as_keras_does(make_agent, tiny_env, listed):
    agent, told = make_agent("dqn"), Told()
    callbacks = keras.callbacks.CallbackList([told], model=agent) if listed else [told]
    results = agent.evaluate(
        tiny_env(length=3), episodes=2, callbacks=callbacks, verbose=0, return_dict=True
    )
    assert told.model is agent
    assert told.told == ["begin", 0, (0, 3.0, 3.0), 1, (1, 3.0, 3.0), results]
    with pytest.raises(ArgumentTypeError, match=r"received the class Told. Write Told\(...\)"):
        agent.evaluate(tiny_env(), callbacks=[Told])
    with pytest.raises(
        ArgumentTypeError, match="instances of keras.callbacks.Callback; received 3"
    ):
        agent.evaluate(tiny_env(), callbacks=[3])


@pytest.mark.regression(25)
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"known": None}, r"optimized_variables\(\) must say.*critic_optimizer.*it says so of"),
        ({"known": ("actor_optimizer",)}, r"optimized_variables\(\) must say.*critic_optimizer"),
        ({"kept": False}, "takes critic_optimizer and does not keep it.*set self.critic_optimizer"),
    ],
    ids=repr,
)
@pytest.mark.table
def test_an_agent_that_could_not_be_loaded_is_found_before_training(tmp_path, arguments, rule):
    agent, env = OwnOfTwo(**arguments), CountingEnv()
    agent.compile()
    with pytest.raises(AgentStateError, match=rule):
        agent.fit(env, env_steps=10)
    assert env.actions == []
    with pytest.raises(AgentStateError, match=rule):
        agent.save(tmp_path / "agent.keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.regression(25)
def test_an_agent_of_two_optimizers_is_saved_and_loaded(tmp_path, batches):
    agent = OwnOfTwo()
    agent.compile()
    agent.build(CountingEnv())
    agent.fit(batches(agent), verbose=0)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras", {"OwnOfTwo": OwnOfTwo})
    assert loaded.critic_optimizer is not loaded.optimizer
    assert kerasrl.Agent.update_epochs == 1


@pytest.mark.regression(22)
@pytest.mark.parametrize("kind", ["dqn", "sac"])
@pytest.mark.table
def test_training_on_a_batch_is_the_step_of_a_fit(make_agent, batches, kind):
    eager = {"run_eagerly": True}
    one, other = make_agent(kind, eager), make_agent(kind, eager)
    dataset = batches(one)
    history = one.fit(dataset, verbose=0).history
    history = {name: history[name] for name in one.log_names}
    batch = next(dataset.as_numpy_iterator())
    logs = other.train_on_batch(batch, return_dict=True)
    assert logs == {name: pytest.approx(values[0]) for name, values in history.items()}
    pairs = zip(one.trainable_variables, other.trainable_variables, strict=True)
    for one_weight, other_weight in pairs:
        np.testing.assert_allclose(one_weight, other_weight, rtol=1e-5, atol=1e-6)
    values = other.train_on_batch(batch)
    assert list(logs) == list(other.log_names)
    assert len(values) == len(logs)
    assert int(other.optimizer.iterations) == 2


@pytest.mark.regression(22)
def test_training_on_examples_of_rollouts(make_agent, examples):
    agent = make_agent("ppo", {"run_eagerly": True})
    logs = agent.train_on_batch(examples(agent), return_dict=True)
    assert set(logs) == set(agent.log_names)
    assert int(agent.optimizer.iterations) == 1


@pytest.mark.regression(22)
@pytest.mark.parametrize(
    ("change", "error", "rule"),
    [
        (
            lambda batch: {**batch, "action": batch["action"] + 2},
            ArgumentError,
            "within 0 to 1; re",
        ),
        (lambda batch: {"observation": batch["observation"]}, ArgumentError, "with .*'reward'"),
        (lambda batch: batch["observation"], ArgumentTypeError, "takes one dict of .*'action'"),
    ],
)
@pytest.mark.table
def test_a_batch_that_cannot_be_learned_from_is_refused(make_agent, batches, change, error, rule):
    agent = make_agent("dqn", {"run_eagerly": True})
    before = [variable.numpy() for variable in agent.trainable_variables]
    batch = next(batches(agent).as_numpy_iterator())
    with pytest.raises(error, match=rule):
        agent.train_on_batch(change(batch))
    with pytest.raises(ArgumentTypeError, match="takes no sample_weight"):
        agent.train_on_batch(batch, sample_weight=np.ones(8))
    for one, other in zip(before, agent.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.regression(22)
def test_training_on_a_batch_needs_an_agent_that_is_ready(make_agent):
    with pytest.raises(AgentStateError, match="must be compiled"):
        kerasrl.DQN().train_on_batch({})
    with pytest.raises(AgentStateError, match=r"not built.*build\(env\)"):
        make_agent("dqn", build=False).train_on_batch({})
    with pytest.raises(ArgumentError, match="steps_per_execution=1"):
        make_agent("dqn", {"steps_per_execution": 2}).train_on_batch({})
