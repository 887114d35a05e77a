"""`led init`: the files of a folder are recognised, counted, and become a recipe that loads."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from led_pipeline.cli import app
from led_pipeline.files.errors import InputError
from led_pipeline.inspection import source_texts
from led_pipeline.inspection.proposal import Machine, power_of_two
from led_pipeline.inspection.recipe_writer import flow, quoted, recipe_text
from led_pipeline.inspection.source_folder import names_in, recognised, split_name
from led_pipeline.inspection.source_texts import language_of, read_source_folder
from led_pipeline.recipe.load import load_recipe

LAPTOP = Machine(cores=4, memory=16 * 10**9, gpus=0)
ONE_GPU = Machine(cores=16, memory=128 * 10**9, gpus=1)
NODE = Machine(cores=64, memory=512 * 10**9, gpus=8)


def write_msmarco(folder: Path, passages: int = 40, train: int = 30, dev: int = 10) -> Path:
    """Write a collection in MS MARCO's format; query i has passage i."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"p{i}\tthe text of passage {i} is about number {i} and of that\n" for i in range(passages)]
    (folder / "collection.tsv").write_text("".join(lines))
    for split, count in {"train": train, "dev": dev}.items():
        if count:
            (folder / f"queries.{split}.tsv").write_text("".join(f"{split}{i}\tnumber {i}\n" for i in range(count)))
            (folder / f"qrels.{split}.tsv").write_text("".join(f"{split}{i} 0 p{i} 1\n" for i in range(count)))
    return folder


def write_beir(folder: Path, splits: dict[str, int]) -> Path:
    """Write a collection in BEIR's format."""
    (folder / "qrels").mkdir(parents=True)
    texts = [{"_id": f"d{i}", "title": f"Title {i}", "text": f"text {i}"} for i in range(30)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    queries = [{"_id": f"q{i}", "text": f"query {i}"} for i in range(20)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    for split, count in splits.items():
        rows = [f"q{i}\td{i}\t1\n" for i in range(count)]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    return folder


def proposal(folder: Path, machine: Machine = LAPTOP, model: str | None = None):
    source = read_source_folder(recognised(folder))
    text, recipe = recipe_text(source, machine, "mine", model, Path("mine.yaml"))
    return source, text, recipe


# --- the files of a folder


def test_the_default_names_of_msmarco_need_no_keys(tmp_path):
    _, text, recipe = proposal(write_msmarco(tmp_path))
    dataset = yaml.safe_load(text)["dataset"]
    assert dataset["splits"] == {"train": {}, "dev": {}} and "collection" not in dataset and "format" not in dataset
    assert recipe.dataset.folder == str(tmp_path)


def test_other_names_are_written_into_the_recipe(tmp_path):
    folder = write_msmarco(tmp_path)
    (folder / "collection.tsv").rename(folder / "passages_v2.tsv")
    (folder / "queries.dev.tsv").rename(folder / "dev.queries.tsv")
    (folder / "qrels.dev.tsv").rename(folder / "dev.small.qrels")
    (folder / "titles.tsv").write_text("p1\tOne\n")
    source, text, _ = proposal(folder)
    dataset = yaml.safe_load(text)["dataset"]
    assert dataset["collection"] == "passages_v2.tsv" and dataset["titles"] == "titles.tsv"
    assert dataset["splits"]["dev_small"] == {"queries": "dev.queries.tsv", "qrels": "dev.small.qrels"}
    assert {split.files.name: split.judged for split in source.splits} == {"train": 30, "dev_small": 10}


def test_compressed_files_and_archives_are_read(tmp_path):
    folder = write_beir(tmp_path / "set", {"train": 15, "test": 5})
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(tmp_path))
    assert names_in(tmp_path / "set.zip") == names_in(folder)
    _, text, recipe = proposal(tmp_path / "set.zip")
    assert recipe.dataset.format == "beir" and yaml.safe_load(text)["dataset"]["folder"] == str(tmp_path / "set.zip")
    assert recipe.evaluation.splits == ["dev", "test"]


def test_without_a_dev_split_training_queries_are_held_out(tmp_path):
    folder = write_beir(tmp_path, {"train": 20})
    source, text, recipe = proposal(folder)
    assert recipe.dataset.splits["dev"].sample_of == "train" and recipe.dataset.splits["dev"].limit == 2
    assert "held out" in text and source.splits[0].judged == 20


def test_without_training_queries_bm25_is_measured_alone(tmp_path):
    _, text, recipe = proposal(write_beir(tmp_path, {"test": 10}))
    assert recipe.stages == {} and recipe.evaluation.splits == ["test"] and "no split called `train`" in text


def test_queries_and_qrels_without_the_name_of_a_split_are_for_training(tmp_path):
    folder = write_msmarco(tmp_path, dev=0)
    (folder / "queries.train.tsv").rename(folder / "queries.tsv")
    (folder / "qrels.train.tsv").rename(folder / "qrels.tsv")
    _, text, _ = proposal(folder)
    assert yaml.safe_load(text)["dataset"]["splits"]["train"] == {"queries": "queries.tsv", "qrels": "qrels.tsv"}


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("qrels.dev.small.tsv", "dev_small"),
        ("qrels/test.tsv", "test"),
        ("queries-train.jsonl.gz", "train"),
        ("2019qrels-pass.txt", "split_2019qrels_pass"),
        ("qrels.tsv", "all"),
    ],
)
def test_the_name_of_a_split(file, name):
    assert split_name(file) == name


def test_a_folder_without_a_collection_is_an_error_that_lists_its_files(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"no collection in it, expected collection.tsv .* there is notes.txt"):
        recognised(tmp_path)


# --- doubts


def test_defects_are_counted_and_skipped_by_the_recipe(tmp_path):
    folder = write_msmarco(tmp_path)
    with (folder / "collection.tsv").open("a") as file:
        file.write("p1\tthe same id again\nid\ttext\np99\t \n")
    with (folder / "qrels.dev.tsv").open("a") as file:
        file.write("dev0 0 nowhere 1\nnobody 0 p1 1\ndev99 0 nowhere 1\n")
    with (folder / "queries.dev.tsv").open("a") as file:
        file.write("dev99\tits only passage is missing\n")
    source, _, recipe = proposal(folder)
    skipped = {"duplicate_id", "empty_text", "header_line", "qrel_without_passage", "qrel_without_query"}
    assert set(recipe.dataset.skip) == skipped
    doubts = "\n".join(source.doubts)
    assert "2 of 13 judgements are of passages" in doubts and "1 of 13 judgements are of queries" in doubts
    assert "1 of 11 queries have no" in doubts and "1 line(s) with the defect duplicate_id" in doubts
    assert not source.faults


def test_what_no_recipe_can_skip_is_a_fault_and_the_exit_status(tmp_path):
    folder = write_msmarco(tmp_path / "data")
    with (folder / "collection.tsv").open("a") as file:
        file.write("one column\n")
    answer = CliRunner().invoke(app, ["init", "--data", str(folder), "--out", str(tmp_path / "out.yaml")])
    assert answer.exit_code == 1 and "collection.tsv:41: 1 column(s), expected 2" in answer.output


def test_queries_that_are_passages_are_recognised(tmp_path):
    folder = write_beir(tmp_path, {"test": 5})
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "d{i}", "text": "text {i}"}}\n' for i in range(20)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nd1\td2\t1\n")
    assert proposal(folder)[2].dataset.exclude_query_id
    (folder / "queries.jsonl").write_text("".join(f'{{"_id": "d{i}", "text": "other {i}"}}\n' for i in range(20)))
    assert not proposal(folder)[2].dataset.exclude_query_id  # the same numbers by chance


def test_large_collections_are_read_in_part_and_their_size_is_estimated(tmp_path, monkeypatch):
    folder = write_msmarco(tmp_path, passages=5_000)
    monkeypatch.setattr(source_texts, "READ", 500)
    source, _, _ = proposal(folder)
    assert source.passages.read == 500 and not source.passages.complete
    assert source.passages.total == pytest.approx(5_000, rel=0.25)
    # Judgements of passages that were not read are no doubt.
    (folder / "qrels.dev.tsv").write_text("dev1 0 p4000 1\n")
    assert not any("not there" in doubt for doubt in proposal(folder)[0].doubts)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("the history of the city and of its people is long and was told for that", "en"),
        ("Der Fluss ist nicht der längste, und das Dorf ist eine Stadt von früher", "de"),
        ("Les habitants des villes sont dans une rue pour les fêtes qui est sur la place", "fr"),
        ("История города длинная и известная", "ru"),
        ("東京は日本の首都である。ひらがなも使われている", "ja"),
        ("北京是中国的首都", "zh"),
        ("กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย", "bigrams"),
        ("서울은 대한민국의 수도이다", "ko"),
        ("Η Αθήνα είναι πρωτεύουσα", "none"),
        ("12 34", "en"),
        ("", "en"),
    ],
)
def test_the_language_is_guessed_from_script_and_words(text, language):
    assert language_of([text] * 3) == language


# --- the recipe


@pytest.mark.parametrize("machine", [LAPTOP, ONE_GPU, NODE])
@pytest.mark.parametrize("model", [None, "distilbert-base-uncased", "./my model"])
@pytest.mark.parametrize("train", [1, 7, 300])
def test_every_recipe_loads_and_its_batches_divide(tmp_path, machine, model, train):
    _, text, recipe = proposal(write_msmarco(tmp_path, passages=max(train, 20), train=train, dev=5), machine, model)
    assert load_recipe(yaml.safe_load(text)) == recipe
    gpus = recipe.resources.train.gpu
    assert gpus <= machine.gpus
    for name in recipe.trained:
        assert not gpus or recipe.model_stage(name).batch_size % gpus == 0
        assert recipe.model_stage(name).passage_length <= recipe.dataset.max_tokens
    assert recipe.resources.train.threads <= machine.cores and recipe.resources.cpu.mem_mb * 1e6 <= machine.memory


def test_without_a_gpu_a_sample_of_many_queries_is_trained_on(tmp_path, monkeypatch):
    folder = write_msmarco(tmp_path, passages=250, train=220)
    monkeypatch.setattr("led_pipeline.inspection.proposal.CPU_QUERIES", 200)
    assert proposal(folder)[2].dataset.splits["train"].limit == 200
    assert proposal(folder, ONE_GPU)[2].dataset.splits["train"].limit is None


def test_validation_comes_about_five_times_per_training(tmp_path):
    _, _, recipe = proposal(write_msmarco(tmp_path, passages=3_000, train=3_000, dev=60))
    # 3,000 examples in batches of 64, and epochs until there are 300 steps: 7 x 47.
    assert recipe.model_stage("led").epochs == 7 and recipe.validation.every == 65
    assert proposal(write_msmarco(tmp_path / "few", train=30))[2].validation is None


def test_graded_judgements_raise_relevant_from(tmp_path):
    folder = write_msmarco(tmp_path)
    (folder / "qrels.dev.tsv").write_text("dev1 0 p1 3\ndev2 0 p2 1\n")
    assert proposal(folder)[2].dataset.splits["dev"].relevant_from == 2


@pytest.mark.parametrize("text", ["a b", "x: y", "#1", "no", "1.5", "it's", 'a"b', "ü/ß", "- a", "null", "a, b", "{a}"])
def test_values_survive_yaml(text):
    assert yaml.safe_load(f"key: {quoted(text)}") == {"key": text}
    assert yaml.safe_load(flow({"a": [text, 1, True]})) == {"a": [text, 1, True]}


def test_powers_of_two():
    assert [power_of_two(n) for n in (0, 1, 2, 3, 8, 63)] == [1, 1, 2, 2, 8, 32]


def test_the_command_writes_a_recipe_and_never_over_another(tmp_path, monkeypatch):
    folder = write_msmarco(tmp_path / "my data 2")
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["init", "--data", "my data 2", "--gpus", "0"])
    assert answer.exit_code == 0, answer.output
    recipe = load_recipe(yaml.safe_load((tmp_path / "my_data_2.yaml").read_text()))
    assert recipe.dataset.name == "my_data_2" and recipe.dataset.folder == str(folder)
    assert "next: led plan my_data_2.yaml" in answer.output
    again = CliRunner().invoke(app, ["init", "--data", "my data 2"])
    assert isinstance(again.exception, InputError) and "there already" in str(again.exception)
    shutil.rmtree(folder)
    answer = CliRunner().invoke(app, ["init", "--data", "my data 2", "--force"])
    assert "expected a folder or a .zip archive" in str(answer.exception)


def test_columns_csv_and_json_judgements_are_recognised(tmp_path):
    folder = write_msmarco(tmp_path)
    rows = [line.split("\t") for line in (folder / "collection.tsv").read_text().splitlines()]
    (folder / "collection.tsv").write_text("".join(f"{pid}\tT\t{text}\n" for pid, text in rows))
    queries = [line.split("\t") for line in (folder / "queries.dev.tsv").read_text().splitlines()]
    (folder / "queries.dev.tsv").unlink()
    (folder / "queries.dev.csv").write_text("id,text\n" + "".join(f'{qid},"{text}"\n' for qid, text in queries))
    judged = [line.split() for line in (folder / "qrels.dev.tsv").read_text().splitlines()]
    (folder / "qrels.dev.tsv").unlink()
    (folder / "qrels.dev.json").write_text(json.dumps({qid: {pid: int(grade)} for qid, _, pid, grade in judged}))
    source, text, recipe = proposal(folder)
    dataset = yaml.safe_load(text)["dataset"]
    assert dataset["columns"] == {"passage": ["id", "title", "text"]} and recipe.dataset.columns.query is None
    assert dataset["splits"]["dev"] == {"queries": "queries.dev.csv", "qrels": "qrels.dev.json"}
    assert {split.files.name: split.judged for split in source.splits} == {"train": 30, "dev": 10}
    assert source.passages.with_title == 1 and not source.faults
