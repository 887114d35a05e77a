"""Card code: the Python blocks of a model card; each runs alone, and gives what the model gives.

They end with `queries` and `passages` (vectors), or `scores`, of the texts that they begin with.
"""

from collections.abc import Sequence

from led_pipeline.pretrained import sentence_transformers_files as files
from led_pipeline.recipe.representation import DenseRepresentation, LexiconRepresentation, RankerRepresentation, Side
from led_pipeline.recipe.step_settings import ModelSettings

Retriever = DenseRepresentation | LexiconRepresentation
QUERY = "read a file line by line"
TITLE, PASSAGE, OTHER = "open", "Open a file and return its lines.", "Return the sum of a list of numbers."
MASKED = ("hidden[torch.arange(len(hidden)), batch['attention_mask'].sum(dim=1) - 1]").replace("'", '"')
POOLED = {
    "cls": ["vectors = hidden[:, 0]"],
    "mean": ['mask = batch["attention_mask"].unsqueeze(-1)', "vectors = (hidden * mask).sum(dim=1) / mask.sum(dim=1)"],
    "last": [f"vectors = {MASKED}"],
}


def _start(name: str, *imports: str) -> list[str]:
    """Return the imports, and a line that sets `folder` to a local folder, or downloads ORG/NAME from the hub."""
    if name.count("/") != 1 or name.startswith(("/", ".")):
        return [*sorted(imports, key=_import), "", f'folder = "{name}"']
    lines = sorted([*imports, "from huggingface_hub import snapshot_download"], key=_import)
    return [*lines, "", f'folder = snapshot_download("{name}")']


def _import(line: str) -> tuple[bool, str]:
    return line.startswith("from"), line


def _texts(settings: ModelSettings, prefixed: bool) -> list[str]:
    """Return lines with the texts; titled passages are pairs.

    Args:
        prefixed: whether the prefixes must be there, since nobody adds them.
    """
    query = files.prompt(settings, "query") if prefixed else ""
    before = files.prompt(settings, "passage") if prefixed else ""
    untitled = f'("", "{OTHER}")' if settings.untitled == "empty_title" and prefixed else _quoted(before + OTHER)
    titled = f"({_quoted(before + TITLE)}, {_quoted(PASSAGE)})"
    lines = [f"query_texts = [{_quoted(query + QUERY)}]"]
    return [*lines, "# A pair is a title and a text.", f"passage_texts = [{titled}, {untitled}]"]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def sentence_transformers(name: str, settings: ModelSettings, trust: bool) -> str:
    """Return code that encodes texts, or scores pairs, with sentence-transformers."""
    kind, code = files.class_of(settings), ", trust_remote_code=True" if trust else ""
    lines = [f"from sentence_transformers import {kind}", "", f'model = {kind}("{name}"{code})']
    lines += _texts(settings, prefixed=False)
    if isinstance(settings, RankerRepresentation):
        lines += ["scores = model.predict([(query_texts[0], passage) for passage in passage_texts])", "print(scores)"]
    else:
        lines += ["queries = model.encode_query(query_texts)", "passages = model.encode_document(passage_texts)"]
        lines += ["print(model.similarity(queries, passages))"]
    return "\n".join(lines)


def search(name: str, settings: ModelSettings, trust: bool) -> str:
    """Return code that searches passages, or ranks them again."""
    lines = sentence_transformers(name, settings, trust).splitlines()
    if isinstance(settings, RankerRepresentation):
        ranked = ["for hit in model.rank(query_texts[0], passage_texts):"]
        return "\n".join([*lines[:-2], *ranked, '    print(hit["score"], passage_texts[hit["corpus_id"]])'])
    if isinstance(settings, LexiconRepresentation):
        lines = ["from scipy.sparse import csr_matrix", *lines[:-1]]
        lines += ["index = csr_matrix(passages.to_dense().cpu().numpy())  # a row per passage, a column per term"]
        lines += ["scores = (index @ queries.to_dense().cpu().numpy().T).T", "rows = (-scores).argsort(axis=1)[:, :10]"]
        return "\n".join([*lines, "print(rows, scores)"])
    lines = ["import faiss", *lines[:-1], "index = faiss.IndexFlatIP(passages.shape[1])", "index.add(passages)"]
    return "\n".join([*lines, "scores, rows = index.search(queries, 2)", "print(rows, scores)"])


def transformers(name: str, settings: ModelSettings, shape: files.Shape, pair: int, why: Sequence[str]) -> str | None:
    """Return code that needs transformers alone; None if code of its author reads the model, or a title separator.

    Args:
        pair: separators between two texts.
        why: the `reasons` of the folder.
    """
    if files.has_user_code(settings) or settings.title_separator is not None:
        return None
    if isinstance(settings, RankerRepresentation):
        return _true_false(name, settings) if settings.scoring == "true_false" else _classifier(name, settings, pair)
    return _retriever(name, settings, shape, why) if isinstance(settings, Retriever) else None


def _retriever(name: str, settings: Retriever, shape: files.Shape, why: Sequence[str]) -> str:
    kind = _kind(settings, shape)
    head = isinstance(settings, DenseRepresentation) and settings.head
    table = isinstance(settings, LexiconRepresentation) and settings.query_encoder == "idf"
    imports = ["import json"] if table else []
    imports += ["import torch", *(["from safetensors.torch import load_file"] if head else [])]
    lines = _start(name, *imports, f"from transformers import {kind}, AutoTokenizer")
    lines += ["tokenizer = AutoTokenizer.from_pretrained(folder)", f"model = {kind}.from_pretrained(folder).eval()"]
    query_model = ""
    if settings.untied:
        lines += [f'query_model = {kind}.from_pretrained(f"{{folder}}/query").eval()']
        query_model = ", query_model"
    if head:
        lines += ['head = load_file(f"{folder}/head.safetensors")["weight"]']
        if settings.untied:
            lines += ['query_head = load_file(f"{folder}/query/head.safetensors")["weight"]']
            query_model = ", query_model, query_head"
    default = ("model=model, head=head" if head else "model=model") if settings.untied else ""
    lines += ["", "", *_read(why), "", "", f"def encode(texts, max_length{f', {default}' if default else ''}):"]
    lines += ["    batch = read(texts, max_length)", "    with torch.inference_mode():"]
    lines += [f"        {line}" for line in _computed(settings)]
    lines += ["", "", *_texts(settings, prefixed=True)]
    encode = f"encode(query_texts, {settings.query_length}{query_model})"
    if isinstance(settings, LexiconRepresentation) and settings.query_encoder != "model":
        lines += _static_queries(settings)
    else:
        lines += [f"queries = {_pruned(settings, 'query', encode)}"]
    passages = f"encode(passage_texts, {settings.passage_length})"
    return "\n".join([*lines, f"passages = {_pruned(settings, 'passage', passages)}", "print(queries @ passages.T)"])


def _kind(settings: Retriever, shape: files.Shape) -> str:
    if isinstance(settings, LexiconRepresentation):
        return "AutoModelForMaskedLM"
    alone = settings.encoder_decoder == "encoder" and shape.encoder_decoder
    return "AutoModelForTextEncoding" if alone else "AutoModel"


def _read(why: Sequence[str]) -> list[str]:
    """Return the function from texts to a padded batch."""
    lines = ["def read(texts, max_length):"]
    lines += ["    parts = [[text] if isinstance(text, str) else text for text in texts]"]
    lines += ["    cut = {'truncation': True, 'max_length': max_length}".replace("'", '"')]
    lines += ['    rows = [tokenizer(*part, **cut)["input_ids"] for part in parts]']
    if files.WITHOUT_TOKENS in why:
        lines += ["    rows = [row or [tokenizer.eos_token_id] for row in rows]  # a text without tokens"]
    padded = 'tokenizer.pad({"input_ids": rows}, return_tensors="pt")'
    return [*lines, f"    return {padded}"]


def _computed(settings: Retriever) -> list[str]:
    """Return the lines from a padded batch to vectors."""
    if isinstance(settings, LexiconRepresentation):
        lines = ["logits = model(**batch).logits", 'counts = batch["attention_mask"].bool()']
        if not settings.keep_special_tokens:
            lines += ["counts[torch.arange(len(counts)), counts.sum(dim=1) - 1] = False  # the last token"]
            lines += ["counts[:, 0] = False  # and the first one do not count"]
        lines += ['highest = logits.masked_fill(~counts.unsqueeze(-1), float("-inf")).amax(dim=1)']
        return [*lines, f"return highest.relu().log1p(){'.log1p()' if settings.activation == 'log1p_twice' else ''}"]
    if settings.encoder_decoder == "first_decoder_token":
        lines = ["start = model.config.decoder_start_token_id"]
        lines += ["start = model.config.pad_token_id if start is None else start"]
        lines += ['start = torch.full_like(batch["input_ids"][:, :1], start)']
        lines += ["vectors = model(**batch, decoder_input_ids=start).last_hidden_state[:, 0]"]
    else:
        lines = ["hidden = model(**batch).last_hidden_state", *POOLED[settings.pooling]]
    lines += ["vectors = vectors @ head.T"] if settings.head else []
    return [*lines, f"return {'torch.nn.functional.normalize(vectors, dim=1)' if settings.normalize else 'vectors'}"]


def _static_queries(settings: LexiconRepresentation) -> list[str]:
    """Return the lines that weight a query's tokens without the model."""
    lines = ["size = model.config.vocab_size", "weights = torch.ones(size)"]
    if settings.query_encoder == "idf":
        lines += ["vocabulary = tokenizer.get_vocab()"]
        lines += ['for token, weight in json.load(open(f"{folder}/idf.json", encoding="utf-8")).items():']
        lines += ["    weights[vocabulary[token]] = weight"]
    lines += ["weights[[i for i in tokenizer.all_special_ids if i < size]] = 0"]
    lines += ["present = torch.zeros(len(query_texts), size)"]
    lines += ["for row, text in enumerate(query_texts):"]
    lines += [f'    present[row, read([text], {settings.query_length})["input_ids"][0]] = 1']
    return [*lines, f"queries = {_pruned(settings, 'query', '(present * weights)')}"]


def _pruned(settings: Retriever, side: Side, vectors: str) -> str:
    """Return an expression for vectors whose low weights are zeros."""
    if not isinstance(settings, LexiconRepresentation):
        return vectors
    top_k = settings.top_k_queries if side == "query" else settings.top_k_passages
    ratio = settings.prune_ratio_queries if side == "query" else settings.prune_ratio_passages
    if ratio:
        vectors = f"torch.stack([v * (v > {ratio} * v.amax()) for v in {vectors}])"
    if top_k:
        vectors = f"torch.stack([v * (v >= v.topk({top_k}).values[-1]) for v in {vectors}])"
    return vectors


def _classifier(name: str, settings: RankerRepresentation, pair: int) -> str:
    lines = _start(name, "import torch", "from transformers import AutoModelForSequenceClassification, AutoTokenizer")
    lines += ["tokenizer = AutoTokenizer.from_pretrained(folder)"]
    lines += ["model = AutoModelForSequenceClassification.from_pretrained(folder).eval()", "", ""]
    lines += ["def score(query, passage):", "    parts = [passage] if isinstance(passage, str) else passage"]
    for variable, parts, length in (
        ("left", "query", settings.query_length),
        ("right", "*parts", settings.passage_length),
    ):
        lines += [f'    {variable} = tokenizer({parts}, truncation=True, max_length={length})["input_ids"]']
    second = "right[1:]" if pair < 2 else "[tokenizer.sep_token_id, *right[1:]]"
    lines += [f"    right = {second}  # a separator takes the place of the first token"]
    lines += ["    types = torch.tensor([[0] * len(left) + [1] * len(right)])"]
    lines += ['    types = {"token_type_ids": types} if getattr(model.config, "type_vocab_size", 0) > 1 else {}']
    lines += ["    with torch.inference_mode():"]
    lines += ["        return model(input_ids=torch.tensor([left + right]), **types).logits[0, 0]", "", ""]
    lines += _texts(settings, prefixed=True)
    return "\n".join([*lines, *SCORED])


SCORED = ["scores = torch.stack([score(query_texts[0], passage) for passage in passage_texts])", "print(scores)"]


def _true_false(name: str, settings: RankerRepresentation) -> str:
    before, rest = settings.template.split("{query}")
    between, after = rest.split("{passage}")
    lines = _start(name, "import torch", "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer")
    lines += ["tokenizer = AutoTokenizer.from_pretrained(folder)"]
    lines += ["model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()", "", ""]
    lines += ["def ids(text, length=None):"]
    lines += ["    cut = {'truncation': True, 'max_length': length} if length else {}".replace("'", '"')]
    lines += ['    return tokenizer(text, add_special_tokens=False, **cut)["input_ids"]', "", ""]
    lines += ["def passage_ids(passage):  # title and text, the longer one cut first"]
    lines += [f"    if isinstance(passage, str):\n        return ids(passage, {settings.passage_length})"]
    lines += [f"    title, text, room = ids(passage[0]), ids(passage[1]), {settings.passage_length}"]
    lines += ["    while len(title) + len(text) > room:"]
    lines += ["        (title if len(title) > len(text) else text).pop()", "    return title + text", "", ""]
    lines += ["def score(query, passage):"]
    texts = [f"*ids({_quoted(part.strip())})" for part in (before, between, after)]
    lines += [
        f"    row = [{texts[0]}, *ids(query, {settings.query_length}), {texts[1]}, *passage_ids(passage), {texts[2]}]"
    ]
    lines += [
        "    row = torch.tensor([[*row, tokenizer.eos_token_id]])",
        "    start = model.config.decoder_start_token_id",
    ]
    lines += ["    start = torch.tensor([[model.config.pad_token_id if start is None else start]])"]
    lines += ["    with torch.inference_mode():"]
    lines += ["        logits = model(input_ids=row, decoder_input_ids=start).logits[0, 0]"]
    words = (settings.true_word, settings.false_word)
    true, false = (f"logits[ids({_quoted(word)})[0]]" for word in words)
    lines += [f"    return {true} - {false}", "", ""]
    return "\n".join([*lines, *_texts(settings, prefixed=True), *SCORED])
