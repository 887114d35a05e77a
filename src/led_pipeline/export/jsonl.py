"""Format jsonl: the documents of Anserini's JsonVectorCollection, with real ids, texts, and impacts by real terms."""

from itertools import islice
from pathlib import Path

from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.export.terms import Terms, json_lines, vocabulary_size
from led_pipeline.search.java import JAR
from led_pipeline.search.lucene import FILE_ROWS

README = """`jsonl/*.jsonl` has one passage per line: `id`, `contents` (title and text) and `vector`, impacts (weight x
{quantisation}, rounded) by term. Anserini ({jar}, part of pyserini, and Java 21) indexes the folder:

```sh
java -cp {jar} io.anserini.index.IndexCollection -collection JsonVectorCollection \\
  -generator DefaultLuceneDocumentGenerator -input jsonl -index lucene-index -threads 1 -impact -pretokenized
```

```python
import json

with open("jsonl/0000000000.jsonl", encoding="utf-8") as file:
    passage = json.loads(next(file))
print(passage["id"], sorted(passage["vector"].items(), key=lambda item: -item[1])[:5])
```

A passage without terms has the term `{placeholder}`, because Anserini leaves out passages without any. An entry of the
vocabulary with white space is written with escapes, a space as `\\u0020`.
"""


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write files of FILE_ROWS passages each."""
    terms = Terms.read(source.model, vocabulary_size(source))
    lines, rows = json_lines(source, terms, contents=True), 0
    while part := [f"{line}\n" for line in islice(lines, FILE_ROWS)]:
        (folder / f"{rows:010d}.jsonl").write_text("".join(part), encoding="utf-8")
        rows += len(part)
    readme = README.format(quantisation=source.quantisation, jar=JAR, placeholder=terms.placeholder)
    return Written(readme, {"passages": rows, "quantisation": source.quantisation})
