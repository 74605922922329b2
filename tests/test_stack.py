import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from kerasrl import _stack, errors

ROOT = Path(__file__).parent.parent

FITTING = _stack.Stack(
    system="Linux",
    machine="x86_64",
    python=(3, 11),
    distributions={"tensorflow": "2.15.1", "keras": "2.15.0", "dm-reverb": "0.14.0"},
)


CURRENT = FITTING._replace(
    python=(3, 13),
    distributions={
        "tensorflow": "2.21.0",
        "keras": "3.15.1",
        "numpy": "2.5.5",
        "protobuf": "7.3.2",
    },
)


def with_distributions(**changes):
    """The fitting stack with other versions; `None` leaves a distribution out."""
    distributions = dict(FITTING.distributions)
    for name, version in changes.items():
        name = name.replace("_", "-")
        distributions.pop(name, None)
        if version is not None:
            distributions[name] = version
    return FITTING._replace(distributions=distributions)


def never_import(name):
    raise AssertionError(f"{name} was imported although the stack does not fit")


def check_and_catch(stack, import_module=never_import):
    with pytest.raises(errors.StackError) as caught:
        _stack.check_stack(stack, import_module)
    return str(caught.value)


@pytest.mark.parametrize(
    "stack",
    [
        FITTING,
        FITTING._replace(python=(3, 10)),
        FITTING._replace(keras_backend="jax"),  # Keras 2.15 does not read it
        with_distributions(tensorflow="2.15.0.post1", dm_reverb="0.14.1"),
        with_distributions(tensorflow=None, tensorflow_cpu="2.15.1"),
    ],
)
def test_a_fitting_stack_imports_reverb_and_nothing_else(stack):
    imported = []
    _stack.check_stack(stack, imported.append)
    assert imported == ["reverb"]


@pytest.mark.parametrize(
    "stack",
    [
        CURRENT,
        CURRENT._replace(python=(3, 10)),
        CURRENT._replace(system="Darwin", machine="arm64", python=(3, 11)),
        CURRENT._replace(system="Windows", machine="AMD64", python=(3, 12)),
        CURRENT._replace(system="Linux", machine="aarch64", python=(3, 10)),
        CURRENT._replace(keras_backend="tensorflow"),
        CURRENT._replace(distributions={"tensorflow": "2.16.1", "keras": "3.8.0"}),
    ],
)
def test_a_fitting_stack_without_reverb_imports_keras_and_nothing_else(stack):
    imported = []
    _stack.check_stack(stack, imported.append)
    assert imported == ["keras"]


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Darwin", "arm64", "Darwin arm64"),
        ("Darwin", "x86_64", "Darwin x86_64"),
        ("Windows", "AMD64", "Windows AMD64"),
        ("Linux", "aarch64", "Linux aarch64"),
        ("", "", "an unknown system"),
    ],
)
def test_tensorflow_2_15_where_there_is_no_reverb(system, machine, name):
    message = check_and_catch(FITTING._replace(system=system, machine=machine))
    assert "tensorflow 2.16.x to 2.21.x is needed; tensorflow 2.15.1 is installed." in message
    assert f"Found:     {name}, Python 3.11" in message


@pytest.mark.fault(42)
@pytest.mark.parametrize("python", [(3, 9), (3, 14), (4, 10)])
def test_another_python(python):
    message = check_and_catch(FITTING._replace(python=python))
    assert f"Python 3.10 to 3.13 is needed; this is Python {python[0]}.{python[1]}." in message


def test_a_wrong_python_is_not_buried_under_the_packages_it_cannot_have():
    stack = FITTING._replace(python=(3, 9), distributions={})
    (problem,) = _stack.problems(stack)
    assert "Python 3.9" in problem


@pytest.mark.parametrize(
    ("package", "version", "needed"),
    [
        ("tensorflow", "2.22.0", "tensorflow 2.16.x to 2.21.x is needed; tensorflow 2.22.0 is ins"),
        ("tensorflow", None, "tensorflow 2.16.x to 2.21.x is needed; it is not installed."),
        ("keras", "2.15.0", "keras 3.8 to 3.x is needed; keras 2.15.0 is installed."),
        ("keras", "3.7.1", "keras 3.8 to 3.x is needed; keras 3.7.1 is installed."),
        ("keras", "4.0.0", "keras 3.8 to 3.x is needed; keras 4.0.0 is installed."),
        ("keras", None, "keras 3.8 to 3.x is needed; it is not installed."),
        ("numpy", "3.0.0", "numpy<3 is needed; numpy 3.0.0 is installed"),
    ],
)
def test_a_package_of_another_release_where_there_is_no_reverb(package, version, needed):
    distributions = {**CURRENT.distributions, package: version}
    distributions = {name: version for name, version in distributions.items() if version}
    assert needed in check_and_catch(CURRENT._replace(distributions=distributions))


@pytest.mark.parametrize("backend", ["jax", "torch", "numpy", "openvino"])
def test_keras_3_with_another_backend_by_the_environment(backend):
    message = check_and_catch(CURRENT._replace(keras_backend=backend))
    assert f"Keras runs on its {backend} backend, and kerasrl has none but" in message
    assert f"KERAS_BACKEND={backend}" in message


def test_keras_3_with_another_backend_by_its_file():
    keras = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "jax"))
    message = check_and_catch(CURRENT, lambda name: keras)
    assert "Keras runs on its jax backend" in message and "keras.json" in message


@pytest.mark.parametrize("package", ["tensorflow", "keras", "dm-reverb"])
def test_a_missing_package(package):
    (major, minor), _ = _stack.REVERB.releases[package]
    message = check_and_catch(with_distributions(**{package: None}))
    assert f"{package} {major}.{minor}.x is needed; it is not installed." in message


@pytest.mark.parametrize(
    ("package", "version"),
    [
        ("keras", "2.14.0"),
        ("dm-reverb", "0.13.0"),
        ("dm-reverb", "of unknown version"),
    ],
)
def test_a_package_of_another_release(package, version):
    (major, minor), _ = _stack.REVERB.releases[package]
    message = check_and_catch(with_distributions(**{package: version}))
    assert f"{package} {major}.{minor}.x is needed; {package} {version} is installed." in message


@pytest.mark.parametrize("keras_backend", [None, "tensorflow"])
def test_keras_3(keras_backend):
    stack = with_distributions(keras="3.3.3")._replace(keras_backend=keras_backend)
    message = check_and_catch(stack)
    assert "keras 2.15.x is needed; keras 3.3.3 is installed. Keras 3 does not run on" in message


@pytest.mark.parametrize("name", ["tensorflow-cpu", "tensorflow-intel", "tf-nightly"])
def test_tensorflow_under_another_name_is_found_and_its_removal_named(name):
    """Beside a right `tensorflow` it would overwrite the same files."""
    message = check_and_catch(with_distributions(**{name: "2.14.1"}))
    assert f"{name} 2.14.1 is installed. Remove it with: pip uninstall {name}" in message


@pytest.mark.regression(43)
@pytest.mark.parametrize(
    ("package", "version", "bound"), [("protobuf", "7.1.0", 5), ("numpy", "2.4.1", 2)]
)
def test_what_another_package_has_replaced(package, version, bound):
    message = check_and_catch(with_distributions(**{package: version}))
    assert f"{package}<{bound} is needed; {package} {version} is installed" in message
    assert f'pip install "{package}<{bound}"' in message
    assert "docs/constraints.txt" in message


@pytest.mark.parametrize("version", ["3.20.3", "4.25.9"])
def test_a_protobuf_that_fits(version):
    assert _stack.problems(with_distributions(protobuf=version, numpy="1.26.4")) == []


@pytest.mark.regression(43)
def test_the_constraints_are_of_a_stack_that_fits():
    lines = (ROOT / "docs/constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert _stack.problems(FITTING._replace(distributions=pinned)) == []


def test_all_problems_come_in_one_error():
    stack = with_distributions(keras="3.3.3", dm_reverb=None, numpy="2.1.0")
    message = check_and_catch(stack)
    assert message.count("is needed") == 3


def test_the_error_names_what_was_found_what_fits_and_the_way_out():
    message = check_and_catch(with_distributions(keras="2.14.0", dm_reverb=None))
    assert (
        "Found:     Linux x86_64, Python 3.11, tensorflow 2.15.1, keras 2.14.0, no dm-reverb\n"
        "Supported: Linux x86-64, Python 3.10-3.11, "
        "tensorflow 2.15.x, keras 2.15.x, dm-reverb 0.14.x\n"
        "       or: any system, Python 3.10-3.13, tensorflow 2.16.x to 2.21.x, keras 3.8 to 3.x\n"
    ) in message
    assert "pip install kerasrl\n" in message
    assert 'pip install "tensorflow==2.15.1" "keras<2.16" "dm-reverb==0.14.0"' in message
    message = check_and_catch(CURRENT._replace(distributions={"tensorflow": "2.20.0"}))
    assert 'pip install "tensorflow>=2.16,<2.22" "keras>=3.8,<4"' in message


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (
            ImportError("libpybind.so: undefined symbol: _ZN10tensorflow8OpKernelE"),
            "undefined symbol: it and the TensorFlow that is imported were not built for each",
        ),
        (ImportError("no\nand so on"), "Reverb fails to import: ImportError: no\n"),
        (
            TypeError("Descriptors cannot be created directly."),
            "Reverb fails to import: TypeError: Descriptors cannot be created directly.",
        ),
    ],
)
def test_a_failing_import_of_reverb_is_explained_and_kept_as_the_cause(cause, text):
    def fail(name):
        raise cause

    with pytest.raises(errors.StackError) as caught:
        _stack.check_stack(FITTING, fail)
    assert text in str(caught.value)
    assert caught.value.__cause__ is cause


def test_an_interrupt_is_not_swallowed():
    def interrupt(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _stack.check_stack(FITTING, interrupt)


def test_the_error_is_an_import_error():
    assert issubclass(errors.StackError, ImportError)
    assert issubclass(errors.StackError, errors.KerasRLError)


def test_the_stack_under_the_tests_fits():
    stack = _stack.installed_stack()
    assert _stack.problems(stack) == []
    assert (_stack.kind_of(stack) is _stack.REVERB) == ("dm-reverb" in stack.distributions)
    assert _stack.reverb_is_there() == ("dm-reverb" in stack.distributions)


def run_python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        env={**os.environ, **environment},
        text=True,
        timeout=60,
    )


@pytest.mark.reverb
def test_a_broken_reverb_ends_the_import_in_that_one_error(tmp_path):
    (tmp_path / "reverb.py").write_text(
        "raise ImportError('libpybind.so: undefined symbol: _ZN10tensorflow8OpKernelE')\n"
    )
    python_path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    # Importing anything of the package runs its __init__, which makes the call; the second
    # statement is only reached if it does not.
    code = "import kerasrl._stack; kerasrl._stack.check_stack()"
    result = run_python(code, PYTHONPATH=python_path)
    assert result.returncode == 1
    assert result.stderr.count("StackError: ") == 1
    assert "During handling of the above exception" not in result.stderr
    last_error = result.stderr.rpartition("\n\n")[2]
    assert "StackError: kerasrl cannot run on this stack.\n" in last_error
    assert "Reverb fails to import with an undefined symbol" in last_error


def test_the_stack_is_read_without_importing_anything_heavy():
    code = (
        "import sys, types\n"
        # A bare package, because the real one's __init__ goes on to import TensorFlow.
        "package = types.ModuleType('kerasrl'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['kerasrl'] = package\n"
        "import kerasrl._stack as stack\n"
        "stack.problems(stack.installed_stack())\n"
        "print(sorted({'tensorflow', 'keras', 'numpy', 'reverb'} & set(sys.modules)))\n"
    )
    result = run_python(code, os.path.dirname(_stack.__file__))
    assert result.stdout == "[]\n", result.stderr
