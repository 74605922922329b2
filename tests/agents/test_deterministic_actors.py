"""What DDPG, TD3 and D4PG have in common."""

import inspect
import warnings

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasrl
from kerasrl.callbacks import Collect, LinearSchedule, TargetUpdate
from kerasrl.errors import ArgumentError, SpaceError

Box = gym.spaces.Box
AGENTS = [kerasrl.DDPG, kerasrl.TD3, kerasrl.D4PG]
SCALED = Box(np.float32([[-2, 0], [10, -1]]), np.float32([[2, 1], [30, 0]]))

pytestmark = pytest.mark.filterwarnings("ignore:action_space has low == high:UserWarning")


@pytest.fixture(params=AGENTS)
def agent_class(request):
    return request.param


def observations(count=64):
    return np.random.default_rng(0).normal(size=(count, 4)).astype(np.float32)


def with_bias(agent, value):
    """The agent, with the bias of its actor's last dense layer changed."""
    *_, last = (layer for layer in agent.actor.layers if isinstance(layer, keras.layers.Dense))
    last.bias.assign(tf.fill(last.bias.shape, value))
    return agent


SPACES = {
    "matrix": SCALED,
    "one": Box(-2, 2, (1,), np.float32),
    "scalar": Box(-2, 2, (), np.float32),
    "float64": Box(np.array([-0.1, 0.7]), np.array([0.1, 6.1]), dtype=np.float64),
    "float16": Box(-0.1, 0.1, (2,), np.float16),
    "constant": Box(np.float32([-2, 0.7]), np.float32([2, 0.7])),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.table
def test_actions_have_the_bounds_the_shape_and_the_type_of_the_space(tiny_env, agent_class, space):
    agent = agent_class()
    agent.build(tiny_env(action_space=space))
    for bias, end in ((50.0, space.high), (-50.0, space.low), (0.0, None)):
        with_bias(agent, bias)
        greedy = agent.predict(observations(), verbose=0)
        explored = agent.explore(agent.policy(observations()).numpy(), np.random.default_rng(0))
        for actions in (greedy, explored):
            assert actions.shape == (64, *space.shape)
            assert actions.dtype == space.dtype
            assert all(space.contains(action) for action in actions)
        atol = 1e-3 if space.dtype == np.float16 else 1e-5
        np.testing.assert_allclose(greedy, agent(observations()), atol=atol)
        actor = agent.actor(observations()).numpy().reshape(greedy.shape)
        np.testing.assert_allclose(greedy, actor, atol=atol)
        if end is not None:
            np.testing.assert_allclose(greedy, np.broadcast_to(end, greedy.shape), rtol=1e-6)


@pytest.mark.table
def test_an_actor_without_bounds_is_kept_within_those_of_the_space(tiny_env, agent_class):
    actor = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, use_bias=False)])
    agent = agent_class(actor)
    agent.build(tiny_env(action_space=SCALED))
    actor.set_weights([1_000 * np.eye(4)])
    expected = np.where(observations() > 0, SCALED.high.ravel(), SCALED.low.ravel())
    actions = agent.predict(observations(), verbose=0)
    np.testing.assert_array_equal(actions, expected.reshape(-1, 2, 2))


@pytest.mark.fault(13)
@pytest.mark.fault(14)
@pytest.mark.parametrize(
    ("space", "rule"),
    [
        (gym.spaces.Discrete(2), r"needs a Box action space; received Discrete\(2\). Use DQN or"),
        (gym.spaces.MultiBinary(2), "needs a Box action space.*Use DQN or PPO"),
        (
            Box(-np.inf, np.inf, (2,), np.float32),
            "squashes actions .*must be finite.*RescaleAction",
        ),
        (Box(-1, np.float32([1, np.inf]), (2,), np.float32), "squashes actions .*must be finite"),
        (Box(np.float32([-np.inf, 0]), 1, (2,), np.float32), "squashes actions .*must be finite"),
        (Box(0, 3, (2,), np.int32), "acts with real numbers.*Use a float Box"),
    ],
    ids=["Discrete", "MultiBinary", "unbounded", "no upper bound", "no lower bound", "integers"],
)
def test_other_action_spaces_are_refused(tiny_env, agent_class, space, rule):
    agent = agent_class()
    with pytest.raises(SpaceError, match=f"{agent_class.__name__} {rule}"):
        agent.build(tiny_env(action_space=space))
    assert not agent.built


@pytest.mark.table
def test_exploring_adds_noise_in_units_of_half_the_range(tiny_env, agent_class):
    agent = agent_class(exploration_noise=0.2)
    agent.build(tiny_env(action_space=SCALED))
    output = agent.policy(np.zeros((20_000, 4), np.float32)).numpy()
    greedy, std = np.split(output, 2, axis=-1)
    np.testing.assert_allclose(std[0], [0.4, 0.1, 2.0, 0.1], rtol=1e-6)
    noise = agent.explore(output, np.random.default_rng(0)).reshape(-1, 4) - greedy
    np.testing.assert_allclose(noise.std(0), std[0], rtol=0.02)
    np.testing.assert_allclose(noise.mean(0) / std[0], np.zeros(4), atol=0.03)
    assert np.abs(np.corrcoef(noise.T) - np.eye(4)).max() < 0.03
    again = agent.explore(output, np.random.default_rng(0)).reshape(-1, 4) - greedy
    np.testing.assert_array_equal(again, noise)


@pytest.mark.table
def test_exploring_beyond_a_bound_ends_there(tiny_env, agent_class):
    agent = agent_class(exploration_noise=0.5)
    agent.build(tiny_env(action_space=SCALED))
    output = with_bias(agent, 50.0).policy(np.zeros((1_000, 4), np.float32)).numpy()
    actions = agent.explore(output, np.random.default_rng(0))
    assert 0.4 < (actions == SCALED.high).mean() < 0.6
    assert all(SCALED.contains(action) for action in actions)


@pytest.mark.table
def test_the_noise_is_annealed_without_retracing(tiny_env, agent_class):
    agent = agent_class()
    traced = []
    explored = []
    policy, explore = agent.policy, agent.explore
    agent.policy = lambda observation: traced.append(1) or policy(observation)
    agent.explore = lambda output, rng: explored.append(output[0, -1]) or explore(output, rng)
    agent.compile()
    schedule = LinearSchedule("exploration_noise", start=0.8, end=0.0, steps=4)
    steps, train_step = [], agent.train_step
    agent.train_step = lambda batch: steps.append(1) or train_step(batch)
    agent.fit(
        tiny_env(action_space=Box(-3, 3, (1,), np.float32)),
        steps_per_epoch=6,
        batch_size=4,
        callbacks=[schedule, Collect(warmup_steps=32, updates_per_turn=1)],
        verbose=0,
    )
    np.testing.assert_allclose(explored, 3 * np.array([0.8, 0.6, 0.4, 0.2, 0, 0]), atol=1e-6)
    assert float(agent.exploration_noise) == 0
    assert len(traced) == 1
    assert len(steps) == 1


@pytest.mark.parametrize("agent_class", AGENTS)
@pytest.mark.thorough
def test_a_short_fit_in_pendulum(agent_class, tmp_path):
    agent = agent_class(normalize_observations=True, reward_scale=0.1, n_step=1)
    agent.compile(run_eagerly=True)
    with kerasrl.replay.Uniform(1_000) as replay, warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # Such as that of a policy without a snapshot.
        callbacks = [*agent.default_callbacks()[1:], Collect(warmup_steps=220)]
        arguments = {"batch_size": 16, "replay": replay, "callbacks": callbacks, "verbose": 0}
        history = agent.fit("Pendulum-v1", steps_per_epoch=20, **arguments).history
        assert agent.evaluate("Pendulum-v1", episodes=1, verbose=0)[0] < 0
        (batch,) = replay.dataset(256).take(1)
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(agent.critic_optimizer.iterations) == 20
    assert history["env_steps"] == [240.0]
    # An episode is 200 steps of at least -16.3.
    assert batch["reward"].numpy().min() >= -1.63
    assert -200 * 16.3 < history["episode_return"][0] < 1.2 * 200 * batch["reward"].numpy().max()
    assert agent.observation_normalizers
    for normalizer in agent.observation_normalizers:
        assert 220 < int(normalizer.count) <= 240
        assert 1 < float(normalizer.variances[0][2]) < 64  # Of the angular velocity.
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    observation = np.float32([[1, 0, 3], [0.6, 0.8, -5]])
    np.testing.assert_allclose(
        loaded.predict(observation, verbose=0), agent.predict(observation, verbose=0), rtol=1e-5
    )


def optimizers():
    return {
        "actor_optimizer": keras.optimizers.Adam(0.002),
        "critic_optimizer": keras.optimizers.Adam(0.01),
    }


def variables_of(agent):
    optimizers = [getattr(agent, name) for name in agent.optimized_variables()]
    slots = [v.numpy() for optimizer in optimizers for v in optimizer.variables]
    return [*agent.get_weights(), *slots]


def assert_equal(one, other):
    for mine, yours in zip(variables_of(one), variables_of(other), strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize("kind", ["ddpg", "td3", "d4pg"])
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.table
def test_a_saved_agent_goes_on_as_if_nothing_had_happened(
    make_agent, batches, tmp_path, kind, steps
):
    agent = make_agent(kind, optimizers() | {"run_eagerly": True}, discount=0.9)
    update = TargetUpdate(period=2, step_size=0.5)
    for name, variables in agent.optimized_variables().items():
        getattr(agent, name).build(variables)
    if steps:
        agent.fit(batches(agent, count=steps), callbacks=[update], verbose=0)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    assert [target.name for target in loaded.targets] == [t.name for t in agent.targets]
    assert len(variables_of(loaded)) > len(loaded.get_weights()) + 2 * 8  # Two for each kernel.
    assert_equal(loaded, agent)
    initial = variables_of(loaded)
    for one in (agent, loaded):
        one.fit(batches(one, count=3, seed=1), callbacks=[update], verbose=0)
    assert_equal(loaded, agent)
    assert any((a != b).any() for a, b in zip(variables_of(loaded), initial, strict=True))


def test_an_agent_that_was_never_used_is_saved_too(agent_class, tmp_path):
    agent = agent_class(discount=0.9)
    agent.save(tmp_path / "agent.keras")
    loaded = kerasrl.load(tmp_path / "agent.keras")
    assert not loaded.built
    assert loaded.get_config() == agent.get_config()


ARGUMENTS = {
    "exploration_noise": 0.7,
    "dqda_clipping": 0.4,
    "target_noise": 0.6,
    "target_noise_clip": 0.9,
    "policy_delay": 4,
    "v_min": -3.0,
    "v_max": 5.0,
    "num_atoms": 7,
    "normalize_observations": True,
    "discount": 0.8,
    "n_step": 3,
    "reward_scale": 0.2,
    "name": "mine",
}


def test_the_config_holds_every_argument(agent_class):
    parameters = inspect.signature(agent_class).parameters
    given = {name: value for name, value in ARGUMENTS.items() if name in parameters}
    assert {*given, "actor", "critic"} == set(parameters)
    for name, value in given.items():
        assert parameters[name].default != value
    agent = agent_class(**given)
    assert agent.get_config() == given | {"actor": None, "critic": None}
    assert agent_class.from_config(agent.get_config()).get_config() == agent.get_config()
    agent.exploration_noise.assign(0.0)  # As a schedule does.
    assert agent.get_config()["exploration_noise"] == 0.7
    assert float(agent_class(exploration_noise=0.7).exploration_noise) == np.float32(0.7)


DEFAULTS = {
    kerasrl.DDPG: (1, 10_000, 1, 0.005, 1e-3),
    kerasrl.TD3: (1, 10_000, 2, 0.005, 1e-3),
    kerasrl.D4PG: (8, 1_000, 100, 1.0, 1e-4),
}


def test_the_defaults_are_those_of_the_documentation(agent_class):
    agent = agent_class()
    agent.compile()
    collect, update = agent.default_callbacks()
    assert isinstance(collect, Collect) and isinstance(update, TargetUpdate)
    rates = {float(getattr(agent, n).learning_rate) for n in ("actor_optimizer", "optimizer")}
    (rate,) = rates
    assert agent.optimizer is agent.critic_optimizer
    assert (
        collect.env_steps_per_update,
        collect.warmup_steps,
        update.period,
        update.step_size,
        pytest.approx(rate),
    ) == DEFAULTS[agent_class]
    assert agent.default_batch_size == 256
    assert agent.default_replay().capacity == 1_000_000


@pytest.mark.thorough
def test_each_optimizer_changes_its_own_variables_only(make_agent, batches):
    for kind in ("ddpg", "td3", "d4pg"):
        for name in ("actor_optimizer", "critic_optimizer"):
            given = {n: keras.optimizers.SGD(0.1 * (n == name)) for n in optimizers()}
            agent = make_agent(kind, given | {"run_eagerly": True})
            parts = {"actor_optimizer": agent.actor, "critic_optimizer": agent.critic}
            before = {part: network.get_weights() for part, network in parts.items()}
            agent.fit(batches(agent, count=2), verbose=0)
            for part, network in parts.items():
                pairs = zip(network.get_weights(), before[part], strict=True)
                moved = [(new != old).any() for new, old in pairs]
                assert all(moved) if part == name else not any(moved), (kind, name, part)


NAN = float("nan")
WRONG = [
    *(
        (agent_class, "exploration_noise", -0.1, "at least 0; received -0.1")
        for agent_class in AGENTS
    ),
    *(
        (agent_class, "exploration_noise", NAN, "at least 0; received nan")
        for agent_class in AGENTS
    ),
    *((agent_class, "reward_scale", 0, "must be positive; received 0") for agent_class in AGENTS),
    *((agent_class, "n_step", 0, "must be a positive int; received 0") for agent_class in AGENTS),
    *((agent_class, "discount", 1.1, "must be in .*received 1.1") for agent_class in AGENTS),
    (kerasrl.DDPG, "dqda_clipping", 0, "must be positive or None; received 0"),
    (kerasrl.D4PG, "dqda_clipping", -1.0, "must be positive or None; received -1.0"),
    (kerasrl.TD3, "target_noise", -0.2, "at least 0; received -0.2"),
    (kerasrl.TD3, "target_noise_clip", -0.5, "at least 0; received -0.5"),
    (kerasrl.TD3, "policy_delay", 0, "must be a positive int; received 0"),
    (kerasrl.TD3, "policy_delay", 1.5, "must be a positive int; received 1.5"),
    (kerasrl.TD3, "policy_delay", True, "must be a positive int; received True"),
    (kerasrl.D4PG, "v_min", 150.0, "must be less than v_max, .*received 150.0 and 150.0"),
    (kerasrl.D4PG, "v_max", -151.0, "received -150.0 and -151.0"),
    (kerasrl.D4PG, "v_max", float("inf"), "both finite; received -150.0 and inf"),
    (kerasrl.D4PG, "v_min", NAN, "must be a number; received nan"),
    (kerasrl.D4PG, "num_atoms", 1, "must be an int of at least 2; received 1"),
    (kerasrl.D4PG, "num_atoms", 2.5, "must be an int of at least 2; received 2.5"),
]


@pytest.mark.parametrize(("agent_class", "argument", "value", "rule"), WRONG)
def test_wrong_arguments_are_refused(agent_class, argument, value, rule):
    with pytest.raises(ArgumentError, match=f"{argument}.* {rule}"):
        agent_class(**{argument: value})
