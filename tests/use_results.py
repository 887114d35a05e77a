"""Use what a run trained, from search to comparison, as somebody does who gets its results folder.

Run as `python tests/use_results.py results/demo`. It needs a finished run, and sentence-transformers. It asks every
system, compares the answers with the run files, opens the web page in a browser if there is one, exports dense and
lexicon stages and BM25 and opens the files with FAISS and SciPy, opens the models with sentence-transformers, and
compares two systems. A step that goes wrong ends it with a message.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import scipy.sparse
from sentence_transformers import SentenceTransformer, SparseEncoder

from led_pipeline.data.formats.judgements import read_run
from led_pipeline.data.tables import read_rows
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe

QUERIES, DEPTH = 20, 10
BROWSERS = ("chromium", "google-chrome")


def led(*arguments: object) -> str:
    """Return what `led` prints; a failure ends this program."""
    command = [sys.executable, "-m", "led_pipeline.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def share(answers: Sequence[str], expected: Sequence[str]) -> float:
    """Return which share of the expected passages is among the answers."""
    return len(set(answers) & set(expected)) / max(1, len(expected))


def search(results: Path, recipe: Recipe, systems: Sequence[str], split: str) -> list[str]:
    """Ask every system the first queries of a split; the answers must be those of its runs. Return the queries."""
    layout = Layout(results)
    rows = next(read_rows(Path(layout.queries(split)), 0, QUERIES, ["id", "text"]))
    with tempfile.TemporaryDirectory() as folder:
        queries, out = Path(folder, "queries.tsv"), Path(folder, "{system}.trec")
        lines = (f"{qid}\t{text}\n" for qid, text in zip(rows["id"], rows["text"], strict=True))
        queries.write_text("".join(lines), encoding="utf-8")
        options = [word for system in systems for word in ("--system", system)]
        led("search", "--results", results, *options, "--queries", queries, "--out", out, "--depth", DEPTH)
        for system in systems:
            answers = {qid: list(pids) for qid, pids, _ in read_run(Path(str(out).format(system=system)))}
            runs = {qid: list(pids)[:DEPTH] for qid, pids, _ in read_run(Path(layout.run(system, split)))}
            equal = sum(answers.get(qid, []) == runs.get(qid, []) for qid in rows["id"])
            print(f"search: {system}: {equal} of {len(rows['id'])} rankings are those of the run")
            shares = [share(answers.get(qid, []), runs.get(qid, [])) for qid in rows["id"]]
            assert np.mean(shares) > 0.95, f"{system}: vectors in float16 may swap neighbours, not more"
    return list(rows["text"])


def page(results: Path, query: str) -> None:
    """Start the web page, search on it, and render the answer in a browser."""
    command = [sys.executable, "-m", "led_pipeline.cli", "serve", str(results), "--port", "0", "--no-open"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    try:
        address = next(word for line in server.stdout for word in line.split() if word.startswith("http://127.0.0.1:"))
        address = address.rstrip("/.") + "/?" + urllib.parse.urlencode({"q": query})
        with urllib.request.urlopen(address) as answer:
            assert query in answer.read().decode(), "the page repeats the query"
        browser = next(filter(None, map(shutil.which, BROWSERS)), None)
        if browser:
            flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=20000"]
            done = subprocess.run([browser, *flags, address], capture_output=True, text=True, timeout=120)
            assert "column" in done.stdout, "a browser shows the columns of results"
        print(f"serve: the page answers{' in a browser' if browser else ''}")
    finally:
        server.terminate()
        server.wait(20)


def export(results: Path, recipe: Recipe, dense: str, lexicon: str | None, split: str) -> None:
    """Export stages and BM25, and search the exported files with FAISS and SciPy; rankings must be the run's."""
    runs = {qid: list(pids) for qid, pids, _ in read_run(Path(Layout(results).run(dense, split)))}
    with tempfile.TemporaryDirectory() as folder:
        led("export", dense, "--results", results, "--to", f"{folder}/dense", "--formats", "flat")
        index = faiss.read_index(f"{folder}/dense/flat/index")
        ids = Path(folder, "dense/flat/docid").read_text(encoding="utf-8").splitlines()
        queries = np.load(f"{folder}/dense/flat/queries.npy").astype(np.float32)[:QUERIES]
        _, rows = index.search(queries, DEPTH)
        qids = next(read_rows(Path(Layout(results).queries(split)), 0, len(queries), ["id"]))["id"]
        shares = [share([ids[r] for r in row], runs[qid][:DEPTH]) for qid, row in zip(qids, rows, strict=True)]
        print(f"export: FAISS gives {np.mean(shares):.1%} of the first passages of {dense}")
        assert np.mean(shares) > 0.95
        if lexicon:
            led("export", lexicon, "--results", results, "--to", f"{folder}/lexicon", "--formats", "npz,jsonl")
            weights = scipy.sparse.load_npz(f"{folder}/lexicon/npz/weights.npz")
            print(f"export: SciPy opens {weights.shape[0]:,} vectors of {lexicon}")
        led("export", "bm25", "--results", results, "--to", f"{folder}/bm25")
        print("export: Lucene index of BM25")


def models(results: Path, recipe: Recipe, dense: str, lexicon: str | None, split: str, texts: list[str]) -> None:
    """Open models with sentence-transformers; their vectors of queries must be those that the run stored."""
    layout = Layout(results)
    stored = np.load(layout.query_vectors(dense, split, "npy"))[: len(texts)].astype(np.float32)
    model = SentenceTransformer(layout.model(dense), device="cpu", trust_remote_code=True)
    difference = float(np.abs(model.encode_query(texts) - stored).max())
    print(f"sentence-transformers: {dense}: vectors differ by {difference:.1e} at most")
    assert difference < 2e-3 * max(1.0, float(np.abs(stored).max())), "float16 of the stored vectors"
    if lexicon:
        sparse = SparseEncoder(layout.model(lexicon), device="cpu", trust_remote_code=True)
        vectors = sparse.encode_query(texts).to_dense().numpy()
        rows = SparseVectors.read(Path(layout.query_vectors(lexicon, split, "arrow"))).rows(0, len(texts))
        for i in range(len(texts)):
            np.testing.assert_allclose(vectors[i, rows.terms[i]], rows.weights[i], atol=1e-4)
            assert np.count_nonzero(vectors[i] > 1e-4) <= len(rows.terms[i])
        print(f"sentence-transformers: {lexicon}: the weights of {len(texts)} queries are those of the run")


def main() -> None:
    results = Path(sys.argv[1])
    recipe = load_recipe(read_json(Path(Layout(results).resolved_recipe)), trained=lambda _: ["any"], quiet=True)
    split = recipe.dataset.judged(recipe.evaluation.splits)[0]
    dense = recipe.with_output("dense")[-1]
    lexicon = next(iter(recipe.with_output("sparse")[::-1]), None)
    systems = ["bm25", dense, *([lexicon] if lexicon else []), *recipe.fusion]
    answer = json.loads(led("search", "list of numbers", "--results", results, "--system", dense, "--json"))
    print(f"search: {json.dumps(answer)[:200]} ...")
    texts = search(results, recipe, systems, split)
    page(results, texts[0])
    export(results, recipe, dense, lexicon, split)
    models(results, recipe, dense, lexicon, split, texts)
    print(led("inspect", results).splitlines()[0])
    print("\n".join(led("compare", results, dense, "bm25").splitlines()[:8]))


if __name__ == "__main__":
    main()
