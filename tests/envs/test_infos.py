import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from kerasrl import envs
from kerasrl.testing import CountingEnv


class Informing(CountingEnv):
    """Says what it counts in its info, in every kind of value; and forgets it at a reset."""

    def __init__(self, length=3, reuses=False):
        super().__init__((length,))
        self._reuses = reuses
        self._info = {}

    def reset(self, **arguments):
        self._info.clear()
        return super().reset(**arguments)[0], {"begun": True}

    def step(self, action):
        *rest, _ = super().step(action)
        info = self._info if self._reuses else {}
        info.update(
            count=self._time,
            success=bool(rest[2]),
            place=np.array([self._time, -1.0]),
            name=f"step {self._time}",
            costs={"fuel": 0.5 * self._time},
        )
        return *rest, info


def same_step_list():
    vector = SyncVectorEnv([Informing] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    return gym.wrappers.vector.DictInfoToList(vector)


KINDS = {
    "one after another": lambda: envs.make(Informing, 2),
    "one that reuses its info": lambda: envs.make(lambda: Informing(reuses=True), 2),
    "a list of infos": lambda: envs.make(same_step_list()),
    "workers": lambda: envs.make(
        lambda: AsyncVectorEnv([Informing] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    ),
} | {
    mode.name: lambda mode=mode: envs.make(SyncVectorEnv([Informing] * 2, autoreset_mode=mode))
    for mode in AutoresetMode
}


def check(info, count):
    assert set(info) == {"count", "success", "place", "name", "costs"}
    assert info["count"] == count
    assert bool(info["success"]) == (count == 3)
    assert np.asarray(info["place"]).tolist() == [count, -1]
    assert info["name"] == f"step {count}"
    assert dict(info["costs"]) == {"fuel": 0.5 * count}


@pytest.mark.regression(44)
@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_has_the_last_info(kind):
    environments = KINDS[kind]()
    try:
        environments.reset()
        episodes = []
        for _ in range(8):
            step = environments.step(np.zeros(2, int))
            for i in np.nonzero(step.valid)[0]:
                assert len(step.infos) == 2
                check(step.infos[int(i)], int(step.reward[i]))
            episodes += step.episodes
        assert len(episodes) == 4
        for episode in episodes:
            check(episode.info, 3)
    finally:
        environments.close()


def test_an_info_is_no_part_of_an_account():
    one, other = envs.Episode(0, 1.0, 2, {"a": np.zeros(2)}), envs.Episode(0, 1.0, 2)
    assert one == other and hash(one) == hash(other)
    env, episode_return, length = one
    assert (env, episode_return, length, other.info) == (0, 1.0, 2, {})


@pytest.mark.parametrize("infos", [{"score": 7, "names": ["a", "b"]}, {"score": np.array(7)}])
def test_values_that_are_not_batched_are_everybodys(infos):
    info = envs.infos.VectorInfos(infos, 2)[1]
    assert info["score"] == 7
    assert info.get("names", "b") == "b"
