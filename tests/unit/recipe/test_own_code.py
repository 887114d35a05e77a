import pytest

from led_pipeline import user_code
from led_pipeline.files.errors import InputError

TEXT = "import torch\n\n\ndef mine(student, teacher):\n    return (student - teacher).abs().mean()\n"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "losses.py"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(("value", "expected"), [("a/b.py:f", True), ("kl", False), ("b.py", False), (3, False)])
def test_a_reference_is_a_python_file_and_a_name(value, expected):
    assert user_code.is_reference(value) == expected


def test_a_function_is_loaded_from_its_file(file):
    assert user_code.fault(f"{file}:mine") is None
    assert user_code.load(f"{file}:mine").__name__ == "mine"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("mine", None, "no file '"),
        ("other", TEXT, "no function or class 'other' at its top level; there are mine"),
        ("mine", "def mine(:\n", ":1: not valid Python"),
    ],
)
def test_what_is_missing_is_named_without_running_the_file(tmp_path, name, text, sentence):
    path = tmp_path / "f.py"
    if text:
        path.write_text(f"{text}\nraise SystemExit\n")
    assert sentence in user_code.fault(f"{path}:{name}")
    with pytest.raises(InputError, match=path.name):
        user_code.load(f"{path}:{name}")


def test_a_file_that_cannot_be_run_says_why(tmp_path):
    path = tmp_path / "f.py"
    path.write_text("import no_such_package\n\n\ndef mine(): ...\n")
    with pytest.raises(InputError, match=r"f.py: it cannot be run \(ModuleNotFoundError: .*no_such_package"):
        user_code.load(f"{path}:mine")


def test_the_files_of_a_training_are_those_of_its_teachers_and_its_extra_loss():
    teachers = [{"loss": "kl"}, {"loss": "a.py:f"}, {"loss": "a.py:g"}]
    assert user_code.files({"teachers": teachers, "extra_loss": "b/c.py:h"}) == ["a.py", "b/c.py"]
    assert user_code.files({"teachers": teachers[:1], "extra_loss": None}) == []


def test_settings_may_name_the_content_of_own_files_in_place_of_their_paths():
    settings = {
        "teachers": [{"loss": "kl", "weight": 2}, {"loss": "a/b.py:f"}],
        "extra_loss": "c d.py:g",
        "pooling": "mean",
        "encoder": None,
        "idf": "table.json",
        "seed": 7,
    }
    assert user_code.renamed(settings, str.upper) == settings | {
        "teachers": [{"loss": "kl", "weight": 2}, {"loss": "A/B.PY:f"}],
        "extra_loss": "C D.PY:g",
        "idf": "TABLE.JSON",
    }
    assert user_code.files(settings) == ["a/b.py", "c d.py", "table.json"]
    assert user_code.renamed({"idf": "collection", "pooling": "own.py:f"}, str.upper)["idf"] == "collection"
