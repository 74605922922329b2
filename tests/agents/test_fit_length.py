"""How long `fit` runs: `epochs`, `steps_per_epoch` and `env_steps`."""

import math

import keras
import pytest

from kerasrl.callbacks import Checkpoint, Collect, CollectEpisodes, CollectRollouts
from kerasrl.errors import ArgumentError

WARMUP = 32
EAGER = {"run_eagerly": True}


class Length(keras.callbacks.Callback):
    """Notes the parameters and counts the steps of every epoch; stops after `stop_after` steps."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.stop_after = stop_after
        self.steps = {}

    def on_epoch_begin(self, epoch, logs=None):
        self.steps[epoch] = 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps[max(self.steps)] = batch + 1
        if self.stop_after == batch + 1:
            self.model.stop_training = True


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"epochs": 2, "steps_per_epoch": 3}, {0: 3, 1: 3}),
        ({"steps_per_epoch": 3}, {0: 3}),
        ({"env_steps": WARMUP + 20}, dict.fromkeys(range(10), 2)),
        ({"env_steps": WARMUP + 3}, {0: 1, 1: 1, 2: 1}),
        ({"env_steps": WARMUP + 20, "epochs": 4}, dict.fromkeys(range(4), 5)),
        ({"env_steps": WARMUP + 20, "steps_per_epoch": 8}, {0: 8, 1: 8, 2: 4}),
        ({"epochs": 4, "steps_per_epoch": 3, "initial_epoch": 2}, {2: 3, 3: 3}),
        ({"steps_per_epoch": 3, "initial_epoch": 2}, {2: 3}),
        ({"env_steps": WARMUP + 6, "epochs": 5, "initial_epoch": 2}, {2: 2, 3: 2, 4: 2}),
        ({"env_steps": WARMUP + 20, "initial_epoch": 2}, dict.fromkeys(range(2, 12), 2)),
        ({"env_steps": WARMUP + 6, "steps_per_epoch": 4, "initial_epoch": 2}, {2: 4, 3: 2}),
        ({"epochs": 0, "steps_per_epoch": 3}, {}),
        ({"epochs": 2, "steps_per_epoch": 3, "initial_epoch": 2}, {}),
    ],
    ids=repr,
)
@pytest.mark.table
def test_length_of_a_run_in_environments(make_agent, tiny_env, small_replay, arguments, steps):
    agent, env, length = make_agent("dqn", EAGER), tiny_env(), Length()
    callbacks = [Collect(warmup_steps=WARMUP, updates_per_turn=1), length]
    arguments = {"replay": small_replay(), "batch_size": 4} | arguments
    history = agent.fit(env, callbacks=callbacks, verbose=0, **arguments)
    assert length.steps == steps
    assert history.epoch == list(steps)
    assert int(agent.optimizer.iterations) == sum(steps.values())
    if "env_steps" in arguments:
        assert len(env.actions) == arguments["env_steps"]
        assert length.params["epochs"] == max(steps) + 1


@pytest.mark.parametrize("arguments", [{}, {"epochs": 2}], ids=repr)
@pytest.mark.table
def test_an_epoch_has_1000_steps_unless_told_otherwise(make_agent, tiny_env, arguments):
    length = Length(stop_after=1)
    make_agent("dqn", EAGER).fit(
        tiny_env(),
        batch_size=4,
        callbacks=[Collect(warmup_steps=WARMUP), length],
        verbose=0,
        **arguments,
    )
    assert length.params["steps"] == 1000
    assert length.params["epochs"] == arguments.get("epochs", 1)


@pytest.mark.fault(60)
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"env_steps": 100, "epochs": 2, "steps_per_epoch": 3}, "say twice how long"),
        ({"env_steps": 0}, "env_steps must be a positive int; received 0"),
        ({"env_steps": -5}, "env_steps must be a positive int"),
        ({"env_steps": 10.5}, "env_steps must be a positive int"),
        ({"steps_per_epoch": 0}, "steps_per_epoch must be a positive int"),
        ({"steps_per_epoch": -1}, "steps_per_epoch must be a positive int"),
        ({"env_steps": WARMUP}, "leaves nothing to train on after a warm-up of 32"),
        ({"env_steps": 100, "epochs": 0}, "epochs - initial_epoch must be a positive int"),
        ({"batch_size": 0}, "batch_size must be a positive int"),
        ({"batch_size": -4}, "batch_size must be a positive int"),
    ],
    ids=repr,
)
@pytest.mark.table
def test_lengths_that_cannot_work_are_refused(make_agent, tiny_env, arguments, rule):
    agent, made = make_agent("dqn", EAGER), []

    def factory():
        made.append(tiny_env())
        return made[-1]

    with pytest.raises(ArgumentError, match=rule):
        agent.fit(
            factory,
            callbacks=[Collect(warmup_steps=WARMUP), Length(stop_after=1)],
            verbose=0,
            **({"batch_size": 4} | arguments),
        )
    assert agent.run is None
    assert all(env.closed for env in made)
    assert not any(env.actions for env in made)


@pytest.mark.reverb  # Which shows no item before a block of them is there.
def test_a_budget_that_the_first_block_takes_up_is_refused(make_agent, tiny_env):
    collect = Collect(warmup_steps=1)
    with pytest.raises(ArgumentError, match="leave nothing to train on.*Raise env_steps"):
        make_agent("dqn", EAGER).fit(tiny_env(), env_steps=10, callbacks=[collect], verbose=0)


@pytest.mark.parametrize("steps_per_execution", [1, 8])
@pytest.mark.parametrize("per_update", [0.1, 0.5, 1, 4])
@pytest.mark.table
def test_one_environment_uses_its_budget_up(
    make_agent, tiny_env, small_replay, per_update, steps_per_execution
):
    agent = make_agent("dqn", EAGER | {"steps_per_execution": steps_per_execution})
    env = tiny_env()
    budget = WARMUP + (2 if per_update < 1 else 17)
    collect = Collect(per_update, warmup_steps=WARMUP)
    history = agent.fit(
        env,
        env_steps=budget,
        batch_size=4,
        callbacks=[collect],
        replay=small_replay(),
        verbose=0,
    )
    assert len(env.actions) == budget
    assert int(agent.env_steps) == budget
    assert history.history["env_steps"][-1] == budget


@pytest.mark.parametrize("steps_per_execution", [1, 8])
@pytest.mark.parametrize("per_update", [0.5, 4])
@pytest.mark.table
def test_several_environments_use_their_budget_up(
    make_agent, tiny_env, small_replay, per_update, steps_per_execution
):
    agent = make_agent("dqn", EAGER | {"steps_per_execution": steps_per_execution})
    made = []

    def factory():
        made.append(tiny_env())
        return made[-1]

    budget = WARMUP + 17
    collect = Collect(per_update, warmup_steps=WARMUP)
    agent.fit(
        factory,
        num_envs=3,
        env_steps=budget,
        batch_size=4,
        callbacks=[collect],
        replay=small_replay(),
        verbose=0,
    )
    taken = sum(len(env.actions) for env in made)
    assert budget <= taken < budget + 3
    assert int(agent.env_steps) == taken


def test_the_budget_is_of_the_run_and_a_filled_replay_needs_no_warm_up(
    make_agent, tiny_env, small_replay
):
    agent, env, length = make_agent("dqn", EAGER), tiny_env(), Length()
    arguments = {"replay": small_replay(), "batch_size": 4, "verbose": 0}
    collect = Collect(warmup_steps=WARMUP)
    agent.fit(env, env_steps=WARMUP + 2, callbacks=[collect], **arguments)
    agent.fit(env, env_steps=5, epochs=1, callbacks=[collect, length], **arguments)
    assert length.steps == {0: 5}
    assert len(env.actions) == WARMUP + 7
    assert int(agent.env_steps) == WARMUP + 7


def test_a_dataset_is_trained_on_whole_in_every_epoch(make_agent, batches):
    agent, length = make_agent("dqn", EAGER), Length()
    agent.fit(batches(agent, count=3), epochs=2, callbacks=[length], verbose=0)
    assert length.steps == {0: 3, 1: 3}


def test_steps_per_epoch_of_a_dataset_as_in_keras(make_agent, batches):
    agent, length = make_agent("dqn", EAGER), Length()
    dataset = batches(agent, count=3).repeat()
    agent.fit(dataset, epochs=2, steps_per_epoch=2, callbacks=[length], verbose=0)
    assert length.steps == {0: 2, 1: 2}


@pytest.mark.parametrize("argument", [{"env_steps": 10}, {"batch_size": 4}, {"num_envs": 2}])
def test_arguments_that_mean_nothing_for_a_dataset_are_refused(make_agent, batches, argument):
    agent = make_agent("dqn", EAGER)
    with pytest.raises(ArgumentError, match=next(iter(argument))):
        agent.fit(batches(agent), verbose=0, **argument)


BUDGETS = [
    # The agent, its collector, fit's and compile's arguments, and the steps that are collected.
    ("dqn", lambda: Collect(1, WARMUP), {"num_envs": 3}, {}, 50, 51),
    ("dqn", lambda: Collect(4, WARMUP), {"num_envs": 3}, {"steps_per_execution": 7}, 91, 93),
    ("dqn", lambda: Collect(8, WARMUP), {"epochs": 3}, {}, 91, 91),
    ("dqn", lambda: Collect(0.5, WARMUP), {}, {"steps_per_execution": 16}, 40, 40),
    ("dqn", lambda: Collect(4, WARMUP), {"steps_per_epoch": 5}, {}, 81, 81),
    ("ppo", lambda: CollectRollouts(8), {}, {}, 30, 32),
    ("ppo", lambda: CollectRollouts(8), {"epochs": 2}, {}, 9, 16),
    ("ppo", lambda: CollectRollouts(8), {"num_envs": 2}, {}, 7, 16),
    ("a2c", lambda: CollectRollouts(8), {"steps_per_epoch": 3}, {}, 33, 40),
    ("reinforce", lambda: CollectEpisodes(2, 10), {}, {}, 30, 30),
    ("reinforce", lambda: CollectEpisodes(2, 10), {"steps_per_epoch": 2}, {}, 31, 40),
]


@pytest.mark.regression(35)
@pytest.mark.parametrize(("kind", "collector", "fit", "compiled", "budget", "taken"), BUDGETS)
@pytest.mark.table
def test_a_budget_is_met_or_what_is_collected_at_once_is_whole(
    make_agent, tiny_env, small_replay, capsys, kind, collector, fit, compiled, budget, taken
):
    arguments = {"update_epochs": 1} if kind == "ppo" else {}
    agent = make_agent(kind, EAGER | compiled, **arguments)
    own = {} if kind in ("reinforce", "a2c") else {"batch_size": 8}
    if kind == "dqn":
        own["replay"] = small_replay()
    history = agent.fit(
        tiny_env, env_steps=budget, callbacks=[collector()], verbose=2, **own, **fit
    ).history
    assert int(agent.env_steps) == history["env_steps"][-1] == taken
    said = f"env_steps={budget} becomes {taken}, a multiple of what " in capsys.readouterr().out
    assert said == (taken != budget and kind != "reinforce")  # Nobody knows how long episodes are.


@pytest.mark.regression(35)
@pytest.mark.parametrize(
    ("kind", "collector", "fit", "budgets", "taken"),
    [
        ("dqn", lambda: Collect(1, WARMUP), {"steps_per_epoch": 9}, (45, 70), (45, 70)),
        ("dqn", lambda: Collect(4, WARMUP), {"steps_per_epoch": 5, "num_envs": 3}, (70, 110), None),
        ("dqn", lambda: Collect(1, WARMUP), {}, (45, 70), (45, 70)),
        ("a2c", lambda: CollectRollouts(8), {"steps_per_epoch": 3}, (30, 60), (32, 64)),
        ("reinforce", lambda: CollectEpisodes(1, 10), {"steps_per_epoch": 4}, (30, 60), (30, 60)),
    ],
)
@pytest.mark.table
def test_a_larger_budget_of_a_run_that_goes_on_is_met(
    make_agent, tiny_env, small_replay, tmp_path, kind, collector, fit, budgets, taken
):
    taken = taken or [math.ceil(budget / 3) * 3 for budget in budgets]
    for budget, expected in zip(budgets, taken, strict=True):
        agent = make_agent(kind, EAGER)
        own = {"batch_size": 8, "replay": small_replay()} if kind == "dqn" else {}
        callbacks = [collector(), Checkpoint(tmp_path, every_epochs=None)]
        agent.fit(tiny_env, env_steps=budget, callbacks=callbacks, verbose=0, **own, **fit)
        assert int(agent.env_steps) == expected
