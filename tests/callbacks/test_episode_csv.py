import csv

import keras
import pytest

import kerasrl
from kerasrl.callbacks import Collect, EpisodeCSV
from kerasrl.envs import Episode
from kerasrl.testing import CountingEnv


def rows(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def columns(path, *names):
    return [tuple(float(row[name]) for name in names) for row in rows(path)]


@pytest.fixture
def fit(small_replay):
    """Fits an agent to counting environments, with a warm-up of 32 environment steps."""

    def run(env, callback, **arguments):
        agent = kerasrl.DQN(keras.Sequential([keras.layers.Dense(2)]), n_step=1)
        agent.compile(run_eagerly=True)
        agent.fit(
            env,
            batch_size=4,
            replay=small_replay(),
            callbacks=[callback, Collect(1, warmup_steps=32)],
            verbose=0,
            **arguments,
        )

    return run


def begin(callback):
    callback.set_model(None)
    callback.on_train_begin()
    return callback


def test_a_row_for_every_episode(tmp_path):
    path = tmp_path / "episodes.csv"
    callback = begin(EpisodeCSV(path))
    callback.on_episode_end(Episode(2, -1.5, 3), 40)
    # It is there at once, whole, for whoever looks while training.
    first, second, last = path.read_text().split("\n")
    assert first == "env_steps,env,episode_return,episode_length,seconds"
    assert second.startswith("40,2,-1.5,3,0.")
    assert last == ""
    callback.on_episode_end(Episode(0, 7.25, 1), 41)
    callback.close()
    names = ("env_steps", "env", "episode_return", "episode_length")
    assert columns(path, *names) == [(40, 2, -1.5, 3), (41, 0, 7.25, 1)]


def test_seconds_since_training_began(tmp_path, monkeypatch):
    times = iter([10.0, 10.5, 12.25])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    path = tmp_path / "episodes.csv"
    callback = begin(EpisodeCSV(path))
    for _ in range(2):
        callback.on_episode_end(Episode(0, 0.0, 1), 1)
    callback.close()
    assert [row["seconds"] for row in rows(path)] == ["0.5", "2.25"]


@pytest.mark.parametrize(("append", "expected"), [(True, [1, 2]), (False, [2])])
def test_a_second_run_goes_on_with_the_file_or_begins_it_anew(tmp_path, append, expected):
    path = tmp_path / "episodes.csv"
    for env_steps in (1, 2):
        callback = begin(EpisodeCSV(str(path), append=append))
        callback.on_episode_end(Episode(0, 0.0, 1), env_steps)
        callback.close()
    assert [int(row["env_steps"]) for row in rows(path)] == expected


def test_a_fit_writes_all_its_episodes_the_warm_ups_too(fit, tmp_path):
    path = tmp_path / "episodes.csv"
    fit(CountingEnv((3, 10)), EpisodeCSV(path), epochs=2, steps_per_epoch=4)
    # Episodes of 3 and 10 steps in turn; 40 steps in all, of which the last is in an episode.
    expected = [(3, 6, 3), (13, 55, 10), (16, 6, 3), (26, 55, 10), (29, 6, 3), (39, 55, 10)]
    assert columns(path, "env_steps", "episode_return", "episode_length") == expected
    seconds = [row[0] for row in columns(path, "seconds")]
    assert seconds == sorted(seconds)


def test_the_episodes_of_several_environments(fit, tmp_path):
    path = tmp_path / "episodes.csv"
    left = [CountingEnv((5,)), CountingEnv((20,))]
    fit(lambda: left.pop(0), EpisodeCSV(path), num_envs=2, steps_per_epoch=8)
    expected = [(10, 0), (20, 0), (30, 0), (40, 0), (40, 1)]
    assert columns(path, "env_steps", "env") == expected


def test_the_file_is_closed_when_the_run_fails(make_agent, tiny_env, tmp_path):
    callback = EpisodeCSV(tmp_path / "episodes.csv")
    with pytest.raises(OSError, match="the simulator crashed"):
        make_agent("dqn").fit(tiny_env(fail_at=12), callbacks=[callback], verbose=0)
    assert len(rows(callback.path)) == 2
    with pytest.raises(ValueError, match="closed file"):
        callback.on_episode_end(Episode(0, 0.0, 1), 1)
