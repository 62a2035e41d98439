"""The model card: what a checkpoint holds, where it comes from and what was measured, as Markdown for people.

Everything on it is read from the checkpoint and from measurements; what nobody recorded is said to be unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from elasticranker.files import is_path, public_name
from elasticranker.model.checkpoint import Checkpoint
from elasticranker.planning.ladder import Ladder


class Source(NamedTuple):
    """A data set that training may use: its name, and its licence as its publishers state it."""

    name: str
    licence: str


NOT_STATED = "not stated"
NON_COMMERCIAL = "non-commercial research only"
RESEARCH = "research use only"
SOURCES = {  # by what a source's name begins with; the longest match counts
    "msmarco": Source("MS MARCO", NON_COMMERCIAL),
    "squadshifts": Source("SQuADShifts", "CC BY 4.0"),
    "medquad": Source("MedQuAD", "CC BY 4.0"),
    "boolq": Source("BoolQ", "CC BY-SA 3.0"),
    "natural-questions": Source("Natural Questions", "CC BY-SA 3.0"),
    "squad": Source("SQuAD", "CC BY-SA 4.0"),
    "wikiqa": Source("WikiQA", RESEARCH),
}
RANKER = (
    "An elastic reranker",
    ("text-ranking", "reranker", "cross-encoder", "elastic", "early-exit", "pyterrier"),
    "A checkpoint of ElasticRanker: many cross-encoders in one, nested in each other. A budget fixes what each query "
    "may cost; a plan spreads it over candidates and sub-networks.",
)
DENSER = (
    "An elastic bi-encoder",
    ("sentence-similarity", "dense-retrieval", "bi-encoder", "elastic", "early-exit", "pyterrier"),
    "A checkpoint of ElasticDenser: query encoders of many depths in one, which all search the same index. Documents "
    "are encoded once, by the whole model; a budget fixes what encoding a query may cost.",
)
CITED = (
    "The elastic structure and its training follow the first paper (its own models and numbers are not reproduced "
    "here), routing by energy the second."
)
CITATIONS = """```bibtex
@article{zhang2024elastic,
  title   = {On Elastic Language Models},
  author  = {Zhang, Chen and Wang, Benyou and Song, Dawei},
  journal = {ACM Transactions on Information Systems},
  year    = {2024},
  doi     = {10.1145/3677375}
}

@inproceedings{akbari2022elang,
  title     = {{E-LANG}: Energy-Based Joint Inferencing of Super and Swift Language Models},
  author    = {Akbari, Mohammad and Banitalebi-Dehkordi, Amin and Zhang, Yong},
  booktitle = {Proceedings of the 60th Annual Meeting of the Association for Computational Linguistics},
  year      = {2022},
  note      = {arXiv:2203.00748}
}
```"""


def model_card(
    checkpoint: Checkpoint, *, name: str = "", measured: Sequence[str] = (), licence: str | None = None
) -> str:
    """The card of a checkpoint, for `Checkpoint.save(folder, card=...)`.

    It is made of `checkpoint.provenance`, all of whose entries may be missing: `backbone`, `teacher`, `sources` (names,
    or a mapping from names to numbers of queries), `training` (arguments), `before` (the run that it went on from),
    `date`, `tuned_on` (`collection`, `queries`), `tuned_for` (the same by first stage), `chosen_on` (the same, of the
    choice between this run's weights and others), `calibrated_on` (see `set_calibration`), `elastified` (`original`,
    `keep_full`, and how far the full model moved, see `elasticranker.training.elastifying.moving`), `licence` (of the
    weights, a Hugging Face identifier), `language`, `limits` (sentences).

    Args:
        checkpoint: the checkpoint.
        name: what users type to get it, such as an id on the hub; by default they see `path/to/checkpoint`.
        measured: what was measured, sections of Markdown (`elasticranker.evaluation.measurement` makes them).
        licence: of the weights, where the provenance doesn't name it.

    Returns:
        Markdown with the YAML header of the Hugging Face hub.

    Example:
        >>> card = model_card(checkpoint, name="me/my-reranker")  # doctest: +SKIP
        >>> checkpoint.save("my-reranker", card=card)  # doctest: +SKIP
    """
    about = checkpoint.provenance
    dense = about.get("stage") == "dense"
    made, tags, intro = DENSER if dense else RANKER
    use = _use_dense if dense else _use
    parts = [
        _header({"licence": licence} | dict(about), tags),
        f"# {name.rsplit('/', 1)[-1] or made}",
        intro,
        use(name or "path/to/checkpoint"),
        "## What it holds",
        "\n".join(f"- {key}: {value}" for key, value in contents(checkpoint).items()),
    ]
    if dense:
        parts += ["## Query encoders", _query_encoders(checkpoint)]
    else:
        parts += ["## Ladder", _ladder(checkpoint), "## Calibration", _calibration(checkpoint)]
    parts += ["## Training", _training(about)]
    if about.get("elastified"):
        parts += ["## Against the original", _against(about)]
    if measured:
        parts += ["## Measured", *measured]
    parts += ["## Limits", _limits(checkpoint, dense), "## Citations", CITED, CITATIONS]
    return "\n\n".join(parts) + "\n"


def contents(checkpoint: Checkpoint) -> dict[str, str]:
    """What a checkpoint holds, by readable names."""
    encoder = checkpoint.encoder
    shape = encoder.shape
    parameters = sum(tensor.numel() for tensor in encoder.parameters())
    kinds = {depth: encoder.exits[str(depth)].kind for depth in encoder.depths}
    exits = [f"{', '.join(str(d) for d in kinds if kinds[d] == kind)} ({kind})" for kind in sorted(set(kinds.values()))]
    held = {
        "backbone": f"{shape.layers} layers, {shape.hidden} wide, {shape.heads} heads, {shape.neurons} neurons",
        "parameters": f"{parameters / 1e6:.1f} million",
        "exits": "after layers " + "; ".join(exits),
        "widths": ", ".join(f"{width:g}" for width in checkpoint.widths),
        "longest pair": f"{checkpoint.longest} tokens",
    }
    if checkpoint.dense.order:
        held["layers"] = f"{', '.join(map(str, checkpoint.dense.order))} (from 0): a query encoder of n has the first n"
    if checkpoint.dense.dims:
        held["dimensions"] = ", ".join(map(str, (shape.hidden, *sorted(checkpoint.dense.dims, reverse=True))))
    return held


def source_of(name: str) -> Source:
    """The known source that a name begins with (`irds:` and what stands before a slash apart), or the name itself.

    Example:
        >>> source_of("squadshifts-reddit").licence
        'CC BY 4.0'
    """
    plain = name.removeprefix("irds:").lower()
    known = [prefix for prefix in SOURCES if plain.startswith(prefix)]
    return SOURCES[max(known, key=len)] if known else Source(public_name(name), NOT_STATED)


def _header(about: Mapping[str, Any], tags: Sequence[str]) -> str:
    """The YAML block that the Hugging Face hub reads; the first tag is the task."""
    from huggingface_hub import ModelCardData

    licence, backbone = about.get("licence"), about.get("backbone", "")
    data = ModelCardData(
        language=about.get("language", "en"),
        license=licence or "other",
        license_name=None if licence else "not-stated",
        library_name="elasticranker",
        pipeline_tag=tags[0],
        tags=list(tags[1:]),
        base_model=backbone if backbone and not is_path(backbone) else None,
    )
    return f"---\n{data.to_yaml()}\n---"


def _use(name: str) -> str:
    lines = (
        "from elasticranker import ElasticRanker",
        f"reranker = ElasticRanker({name!r}, budget='25%')  # or '20 GFLOPs', '50 ms', 'full'",
        "pipeline = bm25 >> dataset.text_loader() >> reranker",
    )
    return "\n".join(["```python", *lines, "```"])


def _use_dense(name: str) -> str:
    lines = (
        "import pyterrier_dr",
        "from elasticranker import ElasticDenser",
        f"denser = ElasticDenser({name!r}, budget='51%')  # or '50 MFLOPs', '2 ms', 'full'",
        "index = pyterrier_dr.FlexIndex('docs.flex')",
        "(denser.doc_encoder() >> index).index(documents)",
        "pipeline = denser >> index.np_retriever(num_results=100)",
    )
    return "\n".join(["```python", *lines, "```"])


def _query_encoders(checkpoint: Checkpoint) -> str:
    """Each sub-network, the layers that it has, and how it was rated."""
    if not checkpoint.dense.rated:
        return "Nobody rated them."
    rows = [["layers", "width", "which (from 0)", "cosine"]]
    for subnet, quality in checkpoint.dense.rated:
        kept = checkpoint.dense.kept(subnet.depth, checkpoint.encoder.shape.layers)
        rows.append([str(subnet.depth), f"{subnet.width:g}", " ".join(map(str, kept)), f"{quality:.3f}"])
    reading = "Cosine: mean, to the teacher's vectors, of queries that training did not see; not a result to report."
    return f"{markdown_table(rows)}\n\n{reading}"


def _ladder(checkpoint: Checkpoint) -> str:
    reading = (
        "`budget` is a share of the full model's FLOPs over all candidates. A plan's stages read "
        "`depth[xwidth]:share of the budget[+weight of the incoming score]`. `quality` is what tuning measured, not a "
        "result to report."
    )
    about = checkpoint.provenance
    if checkpoint.ladder is None and not checkpoint.ladders:
        origin = "Not tuned: this is the plan that untuned checkpoints get."
        return f"{origin} {reading}\n\n{_rungs(checkpoint.plans())}"
    parts = []
    if checkpoint.ladder is not None:
        parts.append(f"{_tuned(about.get('tuned_on') or {})} {reading}\n\n{_rungs(checkpoint.ladder)}")
    for name, ladder in sorted(checkpoint.ladders.items()):
        tuned = _tuned((about.get("tuned_for") or {}).get(name) or {})
        use = f"For candidates of another first stage, `ElasticRanker(first_stage={name!r})`. {tuned}"
        parts.append(f"{use}{'' if parts else ' ' + reading}\n\n{_rungs(ladder)}")
    return "\n\n".join(parts)


def _tuned(about: Mapping[str, Any]) -> str:
    if not about:
        return "On what it was tuned is not recorded."
    count = f"{len(about['queries'])} queries of " if about.get("queries") else ""
    return f"Tuned on {count}{public_name(str(about.get('collection', 'a collection without a name')))}."


def _rungs(ladder: Ladder) -> str:
    rows = [["budget", "plan", "quality"]]
    for rung in ladder.rungs:
        rows.append([f"{rung.share:.3g}", f"`{rung.plan}`", "" if rung.quality is None else f"{rung.quality:.4f}"])
    return markdown_table(rows)


def _calibration(checkpoint: Checkpoint) -> str:
    about = checkpoint.provenance.get("calibrated_on") or {}
    if not checkpoint.calibration.lines or not about:
        return "Not calibrated: relevance scores are the sigmoids of raw scores, and mean nothing but an order."
    rows = [["after layer", "slope", "intercept", "error, raw", "error", "error from 0.1 on"]]
    lines = {str(subnet): line for subnet, line in checkpoint.calibration.lines.items() if subnet.width == 1}
    for error in about["errors"]:
        if line := lines.get(error["exit"]):
            errors = ["" if error[key] is None else f"{error[key]:.3f}" for key in ("before", "after", "likely")]
            rows.append([error["exit"], f"{line.slope:.3f}", f"{line.intercept:.2f}", *errors])
    origin = (
        f"Fitted on {about['pairs']:,} pairs of {len(about['queries'])} queries of "
        f"{public_name(str(about['collection']))}, {about['strangers']:,} of them with candidates of other queries; "
        f"relevant from label {about['level']}, what nobody judged is not relevant."
    )
    reading = (
        "The sigmoid of `slope * raw score + intercept` is the probability of relevance; narrower sub-networks have "
        "lines of their own. Error: expected calibration error over ten bins, of the raw score's sigmoid, of the "
        "probability, and of probabilities from 0.1 on, each on queries that the line was not fitted on. Where another "
        "share of the candidates is relevant, probabilities are off: calibrate on data of your own."
    )
    return f"{origin} {reading}\n\n{markdown_table(rows)}"


def _training(about: Mapping[str, Any]) -> str:
    facts = [f"- {key}: {public_name(str(about[key]))}" for key in ("backbone", "teacher", "date") if about.get(key)]
    parts = ["\n".join(facts)] if facts else []
    sources = about.get("sources") or {}
    counts = sources if isinstance(sources, Mapping) else dict.fromkeys(sources, "")
    if counts:
        rows = [["source", "data set", "queries", "licence of the data"]]
        for name, count in counts.items():
            known = source_of(name)
            rows.append([public_name(name), known.name, f"{count:,}" if isinstance(count, int) else "", known.licence])
        parts.append(markdown_table(rows))
    else:
        parts.append("The training data is not recorded.")
    if about.get("training"):
        parts.append(f"```json\n{json.dumps(about['training'], indent=1, sort_keys=True)}\n```")
    if seen := about.get("chosen_on"):
        parts.append(
            f"{len(seen['queries'])} queries of {public_name(str(seen['collection']))} chose these weights and no "
            "others; experiments leave them out."
        )
    if about.get("before"):
        parts.append(f"It went on from an earlier run:\n\n```json\n{json.dumps(about['before'], indent=1)}\n```")
    return "\n\n".join(parts)


def _against(about: Mapping[str, Any]) -> str:
    """How far the full model is from the cross-encoder that was made elastic."""
    elastified = about["elastified"]
    moved = elastified["moved"]
    held = {
        "exact": "its layers and its head were left as they are",
        "close": "all of it was trained, and held to the original's scores and to the state that its head reads",
    }[elastified["keep_full"]]
    rows = [
        ["measure", "original", "full"],
        ["nDCG@10 among the candidates", f"{moved['ndcg_original']:.4f}", f"{moved['ndcg']:.4f}"],
        ["Kendall's tau, all candidates", "1", f"{moved['tau']:.4f}"],
        ["RBO@10", "1", f"{moved['rbo']:.4f}"],
        ["largest difference of a score", "0", f"{moved['largest']:.4g}"],
    ]
    return (
        f"Made elastic from the cross-encoder {public_name(str(elastified['original']))} by teaching it its own "
        f"scores; at full depth {held}. On {moved['queries']} queries that training did not see, and their first "
        f"{moved['candidates']} candidates at most, against the original in the same number format:\n\n"
        f"{markdown_table(rows)}"
    )


def _limits(checkpoint: Checkpoint, dense: bool) -> str:
    about = checkpoint.provenance
    ranking = [
        f"Pairs longer than {checkpoint.longest} tokens are cut at the end of the document.",
        "Scores order the candidates of one query; relevance scores are probabilities as far as the errors above say."
        if checkpoint.provenance.get("calibrated_on")
        else "Scores order the candidates of one query. They are no probabilities and not comparable between queries.",
        "Below 25 % of the budget many candidates get a rough score only: measure on data of your own before relying "
        "on it.",
    ]
    encoding = [
        f"Documents longer than {checkpoint.longest} tokens are cut at the end.",
        "Another checkpoint's index can't be searched with these vectors, nor theirs with another's.",
    ]
    lines = [
        *(encoding if dense else ranking),
        "Texts of another language or kind than the training data's were not tested unless a table above says so.",
    ]
    sources = list(map(source_of, about.get("sources") or ()))
    for licence in (NON_COMMERCIAL, RESEARCH):
        if restricted := sorted({source.name for source in sources if source.licence == licence}):
            lines.append(f"The terms of {', '.join(restricted)} allow {licence}: mind them before commercial use.")
    return "\n".join(f"- {line}" for line in [*lines, *about.get("limits", ())])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, headings first, as a Markdown table."""
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [escaped[0], ["---"] * len(rows[0]), *escaped[1:]])
