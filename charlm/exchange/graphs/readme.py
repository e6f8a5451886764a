"""The README beside exported graphs: what goes in and out, and the lines that run them."""

from collections.abc import Mapping

from charlm.exchange.graphs.graph import Port
from charlm.exchange.graphs.parts import Made
from charlm.models.cloze_model import ClozeModel
from charlm.models.heads import Classifier, Tagger
from charlm.models.language_model import LanguageModel
from charlm.models.load import AnyModel
from charlm.models.translator import Translator
from charlm.tokenizers.base import Tokenizer
from charlm.tokenizers.character import CharacterTokenizer

_CHARACTERS = (
    'types = ["<unk>", "<eos>", *json.loads(Path("tokenizer.json").read_text("utf-8"))["types"]]',
    "ids = [types.index(c) if c in types else 0 for c in text]",
)
_BY_CHARLM = (
    "tokenizer = tokenizer_from_files({name: Path(name).read_bytes() for name in NAMES})",
    "ids = tokenizer.encode(text).tolist()",
)
_SESSION = 'run = onnxruntime.InferenceSession("model.onnx").run'
_IMPORTS = "import json\nfrom pathlib import Path\n\nimport numpy as np\nimport onnxruntime\n"
_TOKENIZER_IMPORT = "from charlm.tokenizers import tokenizer_from_files\n"


def readme(model: AnyModel, graphs: Mapping[str, Made], deviation: float) -> str:
    """The page of a model's graphs, in Markdown."""
    name = model.checkpoint.path.parent.name
    lines = [
        f"# {name}, as ONNX",
        "",
        f"{_what(model)} It was written by charlm and compared with",
        "charlm's equations in double precision by onnxruntime, at three lengths and two batches:",
        f"at most {deviation:.0e} off.",
        "",
        "Batch and time are open sizes. " + _ids(model),
        "",
        "| graph | in or out | name | type | shape |",
        "|---|---|---|---|---|",
        *(
            f"| {file} | {way} | `{port.name}` | {port.dtype.__name__} | {_shape(port)} |"
            for file, made in graphs.items()
            for way, ports in (("in", made.inputs), ("out", made.outputs))
            for port in ports
        ),
        "",
        "```python",
        code(model),
        "```",
        *_more(model),
    ]
    return "\n".join(lines) + "\n"


def _what(model: AnyModel) -> str:
    if isinstance(model, Translator):
        return "A translator: `encoder.onnx` reads a source, `decoder.onnx` writes its target."
    kinds = {
        LanguageModel: "A language model: P of the next token, given those before it.",
        ClozeModel: "A cloze model: P of each token, given all others.",
        Classifier: "A classifier: P of each label of a text.",
        Tagger: "A tagger: P of each tag of each token.",
    }
    return kinds[type(model)]


def _ids(model: AnyModel) -> str:
    size = model.checkpoint.config.vocab_size
    if isinstance(model, Tagger):
        return "Id 0 is a word, or a letter, that is not known."
    begin = f" a sequence begins with the id {size};"
    after = begin if isinstance(model, LanguageModel | Translator) else ""
    return f"Id 0 is <UNK>, 1 is <EOS>;{after} logarithms are natural."


def _shape(port: Port) -> str:
    return " x ".join(map(str, port.shape))


def code(model: AnyModel) -> str:
    """The lines that run it."""
    if isinstance(model, Translator):
        return _translator(model)
    if isinstance(model, Tagger):
        return _tagger()
    tokenizer = model.checkpoint.tokenizer
    assert tokenizer is not None
    encode, imports = _encoding(tokenizer)
    head = f'{_IMPORTS}{imports}\ntext = "The apple"\n{encode}\n{_SESSION}\n'
    if isinstance(model, LanguageModel):
        return head + _causal(model)
    given = 'given = {"ids": np.array([ids + [1]]), "lengths": np.array([len(ids) + 1])}\n'
    run = 'log_probs = run(["log_probs"], given)[0]\n'
    if isinstance(model, ClozeModel):
        total = "sum(log_probs[0, t, i] for t, i in enumerate(ids + [1]))"
        return f"{head}{given}{run}print({total})  # the pseudo-log-likelihood, in nats"
    names = 'json.loads(Path("labels.json").read_text("utf-8"))'
    return f"{head}{given}{run}print(dict(zip({names}, np.exp(log_probs[0]))))"


def _encoding(tokenizer: Tokenizer) -> tuple[str, str]:
    """The lines that turn a text into ids, and what they import."""
    if isinstance(tokenizer, CharacterTokenizer):
        return "\n".join(_CHARACTERS), ""
    names = tuple(sorted(tokenizer.to_files()))
    return "\n".join(_BY_CHARLM).replace("NAMES", repr(names)), _TOKENIZER_IMPORT


def _causal(model: LanguageModel) -> str:
    config = model.shape
    names = ("h", "c") if config.cell.startswith("lstm") else ("h",)
    given = f'"ids": np.array([[{config.vocab_size}, *ids]])'
    if model.labels is None:
        shape = f"({config.num_layers}, 1, {config.hidden_size})"
        state = ", ".join(f'"{name}": np.zeros({shape}, "float32")' for name in names)
        begin = f"state = {{{state}}}\n"
    else:
        outputs = ", ".join(f'"{name}"' for name in names)
        begin = (
            f'label = {{"label": np.array([0])}}  # the first of labels.json\n'
            f'start = onnxruntime.InferenceSession("start.onnx").run\n'
            f"state = dict(zip([{outputs}], start([{outputs}], label)))\n"
        )
        given += ", **label"
    total = "sum(log_probs[0, t, i] for t, i in enumerate(ids + [1]))"
    ends = ", ".join(f"{name}_out" for name in names)
    return (
        f"{begin}log_probs, {ends} = run(None, {{{given}, **state}})\n"
        f"print({total})  # log P of the text and its end, in nats"
    )


def _tagger() -> str:
    return (
        f"{_IMPORTS}from charlm.tokenizers.word_letters import SpelledWords\n\n"
        'words = SpelledWords.from_json(json.loads(Path("words.json").read_text("utf-8")))\n'
        'text = "The apple".split()\n'
        "spelled = [words.spelled(word) for word in text]\n"
        "lengths = np.array([[len(letters) for letters in spelled]])\n"
        "letters = [one + [0] * (lengths.max() - len(one)) for one in spelled]\n"
        'given = {"ids": np.array([[words.word(word) for word in text]]),\n'
        '         "lengths": np.array([len(text)]), "letters": np.array([letters]),\n'
        '         "letter_lengths": lengths}\n'
        f"{_SESSION}\n"
        'names = json.loads(Path("labels.json").read_text("utf-8"))\n'
        'log_probs = run(["log_probs"], given)[0]\n'
        "print([names[at] for at in log_probs[0].argmax(axis=1)])"
    )


def _translator(model: Translator) -> str:
    config, checkpoint = model.checkpoint.config, model.checkpoint
    target, source = (
        tuple(sorted(side.to_files()))
        for side in (checkpoint.tokenizer, checkpoint.source_tokenizer)
    )
    names = [name for name in ("h", "c") if name == "h" or config.cell.startswith("lstm")]
    outs = ", ".join(f'"{name}_out"' for name in names)
    lengths = '"lengths": lengths, ' if config.attention != "none" else ""
    return (
        f"from pathlib import Path\n\nimport numpy as np\nimport onnxruntime\n{_TOKENIZER_IMPORT}\n"
        "def tokenizer(names, prefix=''):\n"
        "    return tokenizer_from_files({n: Path(prefix + n).read_bytes() for n in names})\n\n"
        f"source, target = tokenizer({source!r}, 'source_'), tokenizer({target!r})\n"
        'ids = [*source.encode("The apple").tolist(), 1]\n'
        "encoder, decoder = (onnxruntime.InferenceSession(f'{name}.onnx')"
        " for name in ('encoder', 'decoder'))\n"
        "lengths, names = np.array([len(ids)]), [one.name for one in encoder.get_outputs()]\n"
        'given = {"source": np.array([ids]), "lengths": lengths}\n'
        f"seen = {{{lengths}**dict(zip(names, encoder.run(None, given)))}}\n"
        f"written = [{config.vocab_size}]\n"
        "while written[-1] != 1 and len(written) < 100:  # the likeliest at each step\n"
        '    log_probs, *state = decoder.run(["log_probs", '
        f'{outs}], {{"ids": np.array([written[-1:]]), **seen}})\n'
        f"    seen |= dict(zip({names!r}, state))\n"
        "    written.append(int(log_probs[0, 0].argmax()))\n"
        "print(target.decode([i for i in written[1:] if i != 1]))"
    )


def _more(model: AnyModel) -> list[str]:
    """What is not in the graphs."""
    lines = []
    if isinstance(model, LanguageModel):
        lines.append(
            "One step is a pass over one id: hand `h_out` (and `c_out`) on as `h` (and `c`)."
        )
        if model.checkpoint.partner is not None:
            lines.append(
                "The n-grams and the cache that stand beside the network in charlm are not in it "
                "(charlm exports the n-grams as an ARPA file)."
            )
    if isinstance(model, Translator) and model.checkpoint.partner is not None:
        lines.append("The joint n-grams that stand beside the network in charlm are not in it.")
    if isinstance(model, LanguageModel | ClozeModel):
        lines.append("What <UNK> stands for is not spelled: its probability is that of one symbol.")
    return [part for line in lines for part in ("", line)]
