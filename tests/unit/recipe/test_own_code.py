import pytest

from led_pipeline import user_code
from led_pipeline.files.errors import InputError
from led_pipeline.recipe import user_files
from led_pipeline.recipe.step_settings import DenseTraining, LexiconTraining

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
def test_error_names_a_missing_function_without_running_the_file(tmp_path, name, text, sentence):
    path = tmp_path / "f.py"
    if text:
        path.write_text(f"{text}\nraise SystemExit\n")
    assert sentence in user_code.fault(f"{path}:{name}")
    with pytest.raises(InputError, match=path.name):
        user_code.load(f"{path}:{name}")


def test_error_says_why_a_user_file_cannot_run(tmp_path):
    path = tmp_path / "f.py"
    path.write_text("import no_such_package\n\n\ndef mine(): ...\n")
    with pytest.raises(InputError, match=r"f.py: it cannot be run \(ModuleNotFoundError: .*no_such_package"):
        user_code.load(f"{path}:mine")


def test_the_files_of_a_training_are_those_of_its_teachers_and_its_extra_loss():
    teachers = [{"stage": "lex", "loss": loss} for loss in ("kl", "a.py:f", "a.py:g")]
    training = {"family": "dense", "seed": 1}
    settings = DenseTraining(**training, teachers=teachers, extra_loss="b/c.py:h")
    assert user_files.files(settings) == ["a.py", "b/c.py"]
    assert user_files.files(DenseTraining(**training, teachers=teachers[:1])) == []


def test_paths_of_user_files_can_be_replaced_by_their_content():
    teachers = [{"stage": "lex", "loss": "kl", "weight": 2}, {"stage": "den", "loss": "a/b.py:f"}]
    settings = DenseTraining(family="dense", seed=7, teachers=teachers, extra_loss="c d.py:g", encoder="e.py:E")
    renamed = user_files.renamed(settings, str.upper)
    assert [teacher.loss for teacher in renamed.teachers] == ["kl", "A/B.PY:f"]
    assert (renamed.extra_loss, renamed.encoder, renamed.pooling) == ("C D.PY:g", "E.PY:E", "cls")
    assert renamed.model_copy(
        update={key: getattr(settings, key) for key in ("teachers", "extra_loss", "encoder")}
    ) == (settings)
    assert set(user_files.files(settings)) == {"a/b.py", "c d.py", "e.py"}
    assert user_files.renamed(settings, str.upper, ["encoder"]).extra_loss == "c d.py:g", "only the keys that are named"


@pytest.mark.parametrize(
    ("table", "renamed"), [("table.json", "TABLE.JSON"), ("collection", "collection"), (None, None)]
)
def test_a_table_of_query_weights_is_a_file_unless_it_comes_from_the_collection(table, renamed):
    settings = LexiconTraining(family="lexicon", seed=7, idf=table)
    assert user_files.renamed(settings, str.upper).idf == renamed
