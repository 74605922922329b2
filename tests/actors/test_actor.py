"""An actor: environments, a policy and a writer, and the account of what they do."""

import gymnasium as gym
import numpy as np
import pytest
from sinks import ListSink

from kerasrl import envs
from kerasrl.actors import Actor
from kerasrl.envs import Episode
from kerasrl.experience import Rollouts, Transitions
from kerasrl.policies import Policy, PolicyStep, RandomPolicy
from kerasrl.testing import CountingEnv


class Clock(Policy):
    """Acts by a state that counts the steps of the episode, and notes what it is asked."""

    def __init__(self, num_envs, action=None):
        self.time, self._action, self.resets = np.zeros(num_envs, np.int64), action, []

    def __call__(self, observation):
        action = self.time % 2 if self._action is None else self._action
        self.time += 1
        return PolicyStep(action)

    def reset(self, where):
        self.resets.append(where.tolist())
        self.time[where] = 0


def make(*lengths, experience=None, policy=None, env=CountingEnv, **arguments):
    left = [env((length,)) for length in lengths]
    environments = envs.make(lambda: left.pop(0), len(lengths))
    experience = experience or Transitions()
    policy = policy or Clock(len(lengths))
    sink = ListSink(experience.spec(environments.spec, policy.spec, len(lengths)))
    writer = experience.writer(sink, len(lengths), policy)
    return Actor(environments, policy, writer, **arguments), sink


def test_it_takes_as_many_steps_as_are_asked_for_of_all_environments_together():
    actor, sink = make(3, 2)
    actor.run(steps=3)
    assert actor.env_steps == 4
    actor.run(steps=2)
    assert (actor.env_steps, actor.writer.items, len(sink.written)) == (6, 6, 6)
    actor.run(steps=0)
    assert actor.env_steps == 6


def test_it_goes_on_until_items_are_written_or_steps_taken():
    actor, sink = make(3, 2, experience=Rollouts(4))
    actor.run(items=1)
    assert (actor.env_steps, len(sink.written)) == (8, 1)
    actor.run(steps=4, items=1)
    assert (actor.env_steps, len(sink.written)) == (12, 1)
    actor.run(items=1)  # What was begun goes on.
    assert (actor.env_steps, len(sink.written)) == (16, 2)


def test_episodes_and_observations_are_handed_over_once():
    actor, _ = make(3, 2, keeps_seen=True)
    actor.run(steps=8)
    drained = actor.drain()
    assert drained.episodes == [Episode(1, 3.0, 2), Episode(0, 6.0, 3), Episode(1, 3.0, 2)]
    np.testing.assert_array_equal(
        drained.seen[0], [[0, 0], [0, 0], [0, 1], [0, 1], [0, 2], [1, 0], [1, 0], [1, 1]]
    )
    assert actor.drain() == ([], [])
    actor.run(steps=2)
    assert len(actor.drain().seen[0]) == 2


def test_observations_are_kept_only_if_they_are_asked_for():
    actor, _ = make(3)
    actor.run(steps=4)
    assert actor.drain().seen == []


@pytest.mark.parametrize("mode", gym.vector.AutoresetMode)
def test_the_state_begins_anew_where_an_episode_does(mode):
    vector = gym.vector.SyncVectorEnv(
        [lambda: CountingEnv((3,)), lambda: CountingEnv((2,))], autoreset_mode=mode
    )
    environments, policy = envs.make(vector), Clock(2)
    sink = ListSink(Transitions().spec(environments.spec))
    Actor(environments, policy, Transitions().writer(sink, 2)).run(steps=30)
    # The action is the parity of the time, which the environment observes.
    assert all(item["action"] == item["observation"][1] % 2 for item in sink.written)
    assert policy.resets[0] == [True, True]


def test_what_is_written_is_scaled_and_what_is_told_is_not():
    told = []
    actor, sink = make(2, reward_scale=0.5, observers=[lambda *step: told.append(step)])
    actor.run(steps=2)
    assert [item["reward"] for item in sink.written] == [0.5, 1.0]
    assert [step.reward[0] for _, _, step in told] == [1.0, 2.0]
    assert [observation[0].tolist() for observation, _, _ in told] == [[[0, 0]], [[0, 1]]]
    assert actor.drain().episodes[0].episode_return == 3.0


class Box(CountingEnv):
    def __init__(self, lengths):
        super().__init__(lengths)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)


def test_actions_are_clipped_for_the_environment_and_written_as_drawn():
    drawn, told = np.float32([[3, -0.5]]), []
    arguments = {"clips": True, "observers": [lambda _, action, step: told.append(action)]}
    actor, sink = make(9, env=Box, policy=Clock(1, drawn), **arguments)
    actor.run(steps=1)
    np.testing.assert_array_equal(sink.written[0]["action"], drawn[0])
    np.testing.assert_array_equal(told, [[[1, -0.5]]])


def test_it_acts_without_writing():
    environments = envs.make("CartPole-v1", 2)
    actor = Actor(environments, RandomPolicy(environments.spec.action_space, seed=0))
    actor.run(steps=100)
    assert actor.env_steps == 100 and actor.drain().episodes


def test_it_goes_on_exactly_where_it_was():
    def begin():
        environments = envs.make("CartPole-v1", 2)
        policy = RandomPolicy(environments.spec.action_space, seed=1)
        experience = Transitions(n_step=3)
        sink = ListSink(experience.spec(environments.spec))
        actor = Actor(environments, policy, experience.writer(sink, 2), keeps_seen=True)
        actor.restart(seed=7)
        return actor, sink

    whole, expected = begin()
    whole.run(steps=51)
    whole.drain()
    state = whole.get_state()
    expected.written.clear()
    resumed, received = begin()
    resumed.run(steps=10)
    resumed.drain()
    received.written.clear()
    resumed.set_state(state)
    for actor in (whole, resumed):
        actor.run(steps=60)
    for one, other in zip(received.written, expected.written, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    assert resumed.env_steps == whole.env_steps == 112
    one, other = resumed.drain(), whole.drain()
    assert one.episodes == other.episodes
    np.testing.assert_array_equal(one.seen, other.seen)
