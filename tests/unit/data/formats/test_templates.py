import json

import pytest

from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.templates import MissingFieldError, Template
from led_pipeline.data.formats.texts import read_corpus, read_queries
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.dataset import Templates

RECORD = {"_id": "7", "title": "Cats", "text": "They sleep.", "year": 2021, "meta": {"author": {"name": "Ann"}}}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{title} {text}", "Cats They sleep."),
        ("Title: {title}. {text} ({year})", "Title: Cats. They sleep. (2021)"),
        ("{meta.author.name}: {text}", "Ann: They sleep."),
        ("  {text}\n", "They sleep."),
    ],
)
def test_a_template_puts_fields_into_a_text(template, text):
    assert Template(template).render(RECORD) == text


@pytest.mark.parametrize("field", ["abstract", "meta.editor", "title.name", "none"])
def test_a_missing_field_is_an_error_or_empty_depending_on_the_setting(field):
    record = RECORD | {"none": None}
    with pytest.raises(MissingFieldError, match=rf"no field '{field}'.*the record has _id, title.*missing: empty"):
        Template(f"{{{field}}} {{text}}").render(record)
    assert Template(f"{{{field}}} {{text}}", missing="empty").render(record) == "They sleep."


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True])
def test_a_field_that_is_not_text_is_always_an_error(value):
    with pytest.raises(MissingFieldError, match=r"field 'tags' is .*expected text or a number"):
        Template("{tags}", missing="empty").render({"tags": value})


def test_a_corpus_of_other_fields_is_read_by_a_template(tmp_path):
    path = tmp_path / "c.jsonl"
    records = [{"id": 3, "headline": "A", "body": "b"}, {"id": "x", "headline": "C"}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    rows = list(read_corpus(path, Problems(), Template("{headline}: {body}", "empty")))
    assert rows == [(1, "3", "", "A: b"), (2, "x", "", "C:")]
    problems = Problems()
    list(read_queries(path, problems, Template("{headline} {body}")))
    with pytest.raises(InputError, match=r"c\.jsonl:2: no field 'body', which the template names"):
        problems.check()


@pytest.mark.parametrize("template", ["no field", "{title", "{title} {}", "{0} {text}", "{{text}}", "{text!r}"])
def test_a_template_without_a_proper_field_is_refused_by_the_recipe(template):
    with pytest.raises(ValueError, match=r"expected field names in braces, such as '\{title\} \{text\}'"):
        Templates(passage=template)
