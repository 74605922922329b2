import contextlib
import sys

import gymnasium as gym
import imageio.v2 as imageio
import numpy as np
import pytest

from kerasrl.callbacks import Collect, Video
from kerasrl.errors import ArgumentError, ArgumentTypeError, SpaceError, StackError
from kerasrl.run import Run


@pytest.fixture
def screen_env(tiny_env):
    """The class of an environment that shows 40 times the number of the step, as a shade."""

    class Screen(tiny_env):
        metadata = {"render_modes": ["rgb_array"], "render_fps": 12}

        def __init__(self, size=(32, 48), length=3, **arguments):
            super().__init__(length=length, **arguments)
            self.render_mode = "rgb_array"
            self.size = size

        def render(self):
            return np.full((*self.size, 3), 40 * self.time % 256, np.uint8)

    return Screen


@pytest.fixture
def fit(make_agent, tiny_env):
    """Fits an agent for a few epochs of one step, each with the callbacks given."""

    def run(*callbacks, epochs=1, env=None, kind="dqn", **arguments):
        agent = make_agent(kind, {"run_eagerly": True}, build=False)
        agent.fit(
            env or tiny_env(),
            epochs=epochs,
            steps_per_epoch=1,
            batch_size=4,
            callbacks=[*callbacks, Collect(warmup_steps=32)],
            verbose=0,
            **arguments,
        )
        return agent

    return run


@pytest.fixture
def film(make_agent):
    """Lets a callback film a few epochs, without the training; returns the agent."""

    def run(video, epochs=1):
        agent = make_agent("dqn")
        agent.run = Run(seed=0)
        video.set_model(agent)
        with contextlib.closing(video):
            video.on_train_begin()
            for epoch in range(epochs):
                video.on_epoch_end(epoch)
        return agent

    return run


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def read(path):
    with imageio.get_reader(path) as reader:
        return np.stack(list(reader.iter_data())), reader.get_meta_data()


class Lengths(gym.Wrapper):
    """Notes how many steps its episodes had."""

    def reset(self, **arguments):
        self.steps = []
        return super().reset(**arguments)

    def step(self, action):
        self.steps.append(action)
        result = super().step(action)
        if result[2] or result[3]:
            self.last_length = len(self.steps)
        return result


def test_a_film_of_the_cart_and_pole(fit, tmp_path):
    env = Lengths(gym.make("CartPole-v1", render_mode="rgb_array"))
    fit(Video(tmp_path, env), env="CartPole-v1")
    assert names(tmp_path) == ["epoch-0001.mp4"]
    frames, meta = read(tmp_path / "epoch-0001.mp4")
    assert frames.shape == (env.last_length + 1, 400, 600, 3)
    assert meta["fps"] == 50
    # The pole is brown on white, and the film shows it moving.
    assert frames.mean() > 200
    assert (frames[0] != frames[-1]).any()
    env.close()


@pytest.mark.slow
def test_a_film_of_the_pendulum(tmp_path):
    import kerasrl

    agent = kerasrl.SAC()
    agent.compile()
    agent.fit("Pendulum-v1", steps_per_epoch=1, callbacks=[Video(tmp_path, "Pendulum-v1")])
    frames, meta = read(tmp_path / "epoch-0001.mp4")
    assert frames.shape == (201, 500, 500, 3)
    assert meta["fps"] == 30


def test_the_frames_are_those_of_one_episode_from_first_to_last(film, screen_env, tmp_path):
    film(Video(tmp_path, screen_env))
    frames, _ = read(tmp_path / "epoch-0001.mp4")
    assert frames.shape == (4, 32, 48, 3)
    # An environment that resets itself shows the next episode's first frame at the end.
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [0, 40, 80, 120], atol=4)


def test_odd_sizes_gain_a_row_or_a_column(film, screen_env, tmp_path):
    class Framed(screen_env):
        def render(self):
            frame = np.full((*self.size, 3), 255, np.uint8)
            frame[1:-1, 1:-1] = 0
            return frame

    film(Video(tmp_path, lambda: Framed(size=(33, 45))))
    frames, _ = read(tmp_path / "epoch-0001.mp4")
    assert frames.shape == (4, 34, 46, 3)
    bright = frames[0].mean(axis=2) > 128
    assert np.argwhere(~bright).min(axis=0).tolist() == [1, 1]
    assert np.argwhere(~bright).max(axis=0).tolist() == [31, 43]


@pytest.mark.parametrize(
    ("every_epochs", "epochs", "expected"),
    [(1, 2, ["epoch-0001.mp4", "epoch-0002.mp4"]), (2, 5, ["epoch-0002.mp4", "epoch-0004.mp4"])],
)
@pytest.mark.table
def test_every_so_many_epochs(film, screen_env, tmp_path, every_epochs, epochs, expected):
    directory = tmp_path / "not" / "there"
    film(Video(directory, screen_env, every_epochs=every_epochs), epochs=epochs)
    assert names(directory) == expected


def test_several_episodes(film, screen_env, tmp_path):
    film(Video(str(tmp_path), screen_env, episodes=2))
    assert names(tmp_path) == ["epoch-0001-episode-1.mp4", "epoch-0001-episode-2.mp4"]
    for path in tmp_path.iterdir():
        assert len(read(path)[0]) == 4


@pytest.mark.parametrize(
    ("metadata", "fps", "expected"), [({"render_fps": 12}, None, 12), ({}, None, 30), ({}, 5, 5)]
)
@pytest.mark.table
def test_frames_per_second(film, screen_env, tmp_path, metadata, fps, expected):
    screen_env.metadata = metadata
    film(Video(tmp_path, screen_env, fps=fps))
    assert read(tmp_path / "epoch-0001.mp4")[1]["fps"] == expected


def test_it_acts_greedily_with_the_weights_of_the_epochs_end(fit, screen_env, tmp_path):
    class Seeing(screen_env):
        def reset(self, **arguments):
            result = super().reset(**arguments)
            self.seen = [result[0]]
            return result

        def step(self, action):
            result = super().step(action)
            if self.time < self.length:
                self.seen.append(result[0])
            else:
                self.episode = self.seen, self.actions[-self.length :]
            return result

    env = Seeing(length=40)
    agent = fit(Video(tmp_path, env), seed=0)
    seen, actions = env.episode
    assert set(map(int, actions)) == {0, 1}
    assert agent(np.array(seen)).numpy().tolist() == list(map(int, actions))


def test_it_does_not_disturb_the_training(fit, screen_env, tmp_path):
    plain = fit(epochs=2, seed=0)
    filmed = fit(Video(tmp_path, screen_env), epochs=2, seed=0)
    for one, other in zip(plain.get_weights(), filmed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_it_makes_it_closes(fit, screen_env, tmp_path):
    made = []

    def factory():
        made.append(screen_env())
        return made[-1]

    given = screen_env()
    fit(Video(tmp_path / "1", factory), Video(tmp_path / "2", given))
    assert [env.closed for env in [*made, given]] == [True, False]


def test_an_interrupted_film_leaves_no_file(fit, screen_env, tmp_path):
    class Interrupted(screen_env):
        def step(self, action):
            if self.time == 2:
                found.extend(names(tmp_path))
                raise KeyboardInterrupt
            return super().step(action)

    found = []
    with pytest.raises(KeyboardInterrupt):
        fit(Video(tmp_path, Interrupted))
    assert "epoch-0001.mp4" not in found
    assert names(tmp_path) == []


class Unseen(gym.Env):
    """An environment whose constructor knows nothing of rendering."""

    metadata = {"render_modes": ["rgb_array"]}


gym.register("kerasrl-tests/Unseen-v0", Unseen)


@pytest.mark.parametrize("env_id", ["kerasrl-tests/Unseen-v0", "NoSuchEnv-v0"])
def test_an_id_that_cannot_be_made_to_render_is_refused(film, tiny_env, tmp_path, env_id):
    with pytest.raises(ArgumentError, match=f"Video makes {env_id} with gymnasium.make"):
        film(Video(tmp_path, env_id))


@pytest.mark.fault(32)
def test_an_environment_made_without_rendering_is_refused(fit, tmp_path):
    env = gym.make("CartPole-v1")
    with (
        pytest.warns(UserWarning, match="without specifying any render mode"),
        pytest.raises(ArgumentError, match='None. Make it with render_mode="rgb_array"; received'),
    ):
        fit(Video(tmp_path, env), env="CartPole-v1")


def test_an_environment_without_a_render_method_is_refused(film, tiny_env, tmp_path):
    with pytest.raises(ArgumentError, match=r"render\(\) failed with: NotImplementedError"):
        film(Video(tmp_path, tiny_env))


@pytest.mark.parametrize(
    ("frame", "received"),
    [
        (np.zeros((8, 8, 3), np.float32), r"float32 \[8, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), r"uint8 \[8, 8\]"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \[8, 8, 4\]"),
        ([np.zeros((8, 8, 3), np.uint8)], "list"),
    ],
)
@pytest.mark.table
def test_what_is_no_frame_is_refused(film, screen_env, tmp_path, frame, received):
    screen_env.render = lambda self: frame
    with pytest.raises(ArgumentError, match=f"uint8 .height, width, 3.*received {received}"):
        film(Video(tmp_path, screen_env))


def test_an_environment_of_other_spaces_is_refused(film, screen_env, tmp_path):
    env = screen_env(action_space=gym.spaces.Discrete(3))
    with pytest.raises(SpaceError, match="this agent was built for"):
        film(Video(tmp_path, env))


@pytest.mark.parametrize(
    "env",
    [
        gym.make_vec("CartPole-v1", 2),
        lambda: None,
        3,
    ],
)
def test_what_is_not_one_environment_is_refused(film, tmp_path, env):
    with pytest.raises(ArgumentTypeError, match="Video needs one environment"):
        film(Video(tmp_path, env))


@pytest.mark.fault(32)
def test_mistakes_show_before_training(fit, tiny_env, screen_env, tmp_path):
    train = tiny_env()
    other = screen_env(action_space=gym.spaces.Discrete(3))
    for env, error in [(tiny_env, ArgumentError), (3, ArgumentTypeError), (other, SpaceError)]:
        with pytest.raises(error):
            fit(Video(tmp_path, env), env=train)
    assert not train.actions


@pytest.mark.parametrize("module", ["imageio", "imageio.v2", "imageio_ffmpeg"])
def test_without_the_extra_it_says_what_to_install(monkeypatch, screen_env, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StackError, match=r'pip install "kerasrl\[video\]"'):
        Video(tmp_path, screen_env)


@pytest.mark.parametrize(
    "arguments",
    [{"episodes": 0}, {"every_epochs": 0}, {"fps": 0}, {"fps": float("inf")}],
    ids=repr,
)
def test_bad_arguments_are_refused(screen_env, tmp_path, arguments):
    with pytest.raises(ArgumentError, match="must be"):
        Video(tmp_path, screen_env, **arguments)


@pytest.mark.regression(37)
@pytest.mark.parametrize("of", ["an environment", "a callable"])
@pytest.mark.table
def test_a_film_outside_of_fit(make_agent, screen_env, tmp_path, of):
    made = []

    def make():
        made.append(screen_env())
        return made[-1]

    env = make() if of == "an environment" else make
    agent = make_agent("dqn")
    path = tmp_path / "not" / "there" / "film.mp4"
    assert agent.film(env, path, fps=5, seed=3) == [path]
    assert names(path.parent) == ["film.mp4"]
    frames, meta = read(path)
    np.testing.assert_allclose(frames.mean(axis=(1, 2, 3)), [0, 40, 80, 120], atol=4)
    assert meta["fps"] == 5
    assert made[0].closed == (of == "a callable")
    assert 3 in made[0].seeds


@pytest.mark.regression(37)
def test_several_films_outside_of_fit(make_agent, screen_env, tmp_path):
    agent = make_agent("dqn")
    paths = agent.film(screen_env(), str(tmp_path / "film.mp4"), episodes=2)
    assert paths == [tmp_path / "film-episode-1.mp4", tmp_path / "film-episode-2.mp4"]
    assert agent.film(screen_env(), tmp_path / "films") == [tmp_path / "films" / "episode-1.mp4"]
    assert all(path.is_file() for path in paths)


@pytest.mark.regression(37)
def test_the_callback_outside_of_fit(make_agent, screen_env, tmp_path):
    video = Video(tmp_path, screen_env())
    video.set_model(make_agent("dqn"))
    video.on_train_begin()
    video.on_epoch_end(0)
    video.close()
    assert names(tmp_path) == ["epoch-0001.mp4"]


@pytest.mark.regression(37)
@pytest.mark.parametrize(
    "arguments", [{"episodes": 0}, {"fps": 0}, {"max_episode_steps": 0}], ids=repr
)
@pytest.mark.table
def test_bad_arguments_of_film_are_refused(make_agent, screen_env, tmp_path, arguments):
    env = screen_env()
    with pytest.raises(ArgumentError, match="must be"):
        make_agent("dqn").film(env, tmp_path / "film.mp4", **arguments)
    assert not env.seeds


@pytest.mark.regression(12)
def test_an_episode_that_never_ends_is_filmed_for_a_while(make_agent, screen_env, tmp_path):
    env = screen_env(length=10**9)
    with pytest.warns(UserWarning, match="not ended after max_episode_steps=4 steps"):
        make_agent("dqn").film(env, tmp_path / "film.mp4", max_episode_steps=4)
    assert len(read(tmp_path / "film.mp4")[0]) == 5
