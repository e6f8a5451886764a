"""What an installed charlm has to do, in an empty directory: run by `python -m bench smoke`.

python smoke_script.py [--without-torch] RUN: with nothing but the standard library, by the charlm
that is installed beside the interpreter. RUN is a saved run of characters, which the NumPy engine
scores and samples. The last line of output is a JSON object: the versions that ran.
"""

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

PAIR, PEAR = "The apple and pair salad", "The apple and pear salad"
TOLD = ("torch", "numpy", "sentencepiece", "safetensors", "typer", "rich", "filelock")
TINY = ("--steps", "5", "--hidden", "8")


def charlm(*arguments: str) -> str:
    """What a command prints. Raises AssertionError, with what it said, if it ends in an error."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    program = shutil.which("charlm", path=path)
    assert program is not None, "there is no charlm beside the interpreter"
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"charlm {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def answers(name: str) -> None:
    """A model answers: scores in their order of size, samples, figures of a text."""
    model = ("--model", name)
    scores = json.loads(f"[{','.join(charlm('score', *model, '--json', PAIR, PEAR).splitlines())}]")
    assert sorted(one["rank"] for one in scores) == [1, 2], scores
    assert all(one["total_log_prob_nats"] < 0 for one in scores), scores
    assert (
        charlm("sample", *model, "--n", "2", "--seed", "1", "--max-tokens", "40").count("\n") == 2
    )
    held_out = Path("held-out.txt")
    held_out.write_text(f"{PEAR}\n{PAIR}\n")
    assert "perplexity" in charlm("evaluate", *model, str(held_out))
    assert charlm("next", *model, "The p").strip()


def without_torch(run: Path) -> None:
    """Help, a saved model by the NumPy engine, and a model of counts alone."""
    assert charlm("--version").startswith("charlm ")
    assert "train" in charlm("--help")
    assert "--hidden" in charlm("train", "--help")
    shutil.copytree(run, "checkpoints/saved")
    answers("saved")
    charlm("train", "--demo", "--ngram", "5", "--counts-only", "--name", "counts")
    answers("counts")
    assert "counts" in charlm("list")
    code = "import charlm; print(charlm.load('saved').score('A pear.').total_log_prob < 0)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "True\n", told


def with_torch() -> None:
    """Training at each level, going on with it, and from Python."""
    for level in ("char", "word", "subword"):
        size = ("--vocab-size", "300") if level == "subword" else ()
        charlm("train", "--demo", "--level", level, *size, *TINY, "--name", level)
        answers(level)
    charlm("train", "--resume", "--name", "char", "--steps", "8")
    code = (
        "import charlm\n"
        "lm = charlm.train(texts=['A pear.', 'An apple.'] * 9, hidden=8, steps=5)\n"
        "print(len(lm.sample(n=2, seed=1)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "2\n", told


def extras(torch: bool) -> list[str]:
    """Those that are installed, each used once; their names."""
    there = [name for name, (module, _) in EXTRAS.items() if importlib.util.find_spec(module)]
    if not torch:
        there = [name for name in there if name in ("serve", "parquet")]
    for name in there:
        EXTRAS[name][1]()
    return there


def _serve() -> None:
    """It listens, answers, and ends when it is told to."""
    program = [sys.executable, "-m", "charlm", "serve", "--model", "saved", "--port", "0"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = next(line for line in server.stderr if line.startswith("serving at"))
            address = said.split()[2].rstrip(";")
            with urllib.request.urlopen(f"{address}/v1/models", timeout=60) as reply:
                assert json.load(reply)["data"], said
        finally:
            server.terminate()


def _parquet() -> None:
    """A column of a Parquet file is trained on."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": [PAIR, PEAR] * 9}), "texts.parquet")
    counted = ("--ngram", "3", "--counts-only", "--name", "columns")
    charlm("train", "texts.parquet", "--text-field", "text", *counted)


def _zstd() -> None:
    """A packed text is trained on."""
    import zstandard

    Path("texts.txt.zst").write_bytes(zstandard.compress(f"{PAIR}\n{PEAR}\n".encode() * 9))
    charlm("train", "texts.txt.zst", "--ngram", "3", "--counts-only", "--name", "packed")


def _bleu() -> None:
    """BLEU of a translator."""
    Path("pairs.tsv").write_text("".join(f"a{n}\tb{n}\n" for n in range(40)))
    charlm("train", "pairs.tsv", "--pairs", *TINY, "--name", "pairs")
    assert "BLEU" in charlm("evaluate", "--model", "pairs", "--bleu", "pairs.tsv")


def _onnx() -> None:
    """A network becomes ONNX graphs, which are compared with the equations."""
    charlm("export", "char", "--onnx", "graphs")


def _tensorboard() -> None:
    """An event file."""
    charlm("train", "--demo", *TINY, "--name", "events", "--log-to", "tensorboard")
    assert [*Path("checkpoints/events/tensorboard").iterdir()]


EXTRAS = {
    "serve": ("uvicorn", _serve),
    "parquet": ("pyarrow", _parquet),
    "zstd": ("zstandard", _zstd),
    "bleu": ("sacrebleu", _bleu),
    "onnx": ("onnxruntime", _onnx),
    "tensorboard": ("tensorboardX", _tensorboard),
}


def main() -> None:
    """Do all of it; versions, in JSON, in the last line."""
    torch = "--without-torch" not in sys.argv
    assert torch == (importlib.util.find_spec("torch") is not None), "torch is, or is not, there"
    without_torch(Path(sys.argv[-1]))
    if torch:
        with_torch()
    used = extras(torch)
    versions = {"python": platform.python_version(), "extras": used}
    for name in TOLD[0 if torch else 1 :]:
        versions[name] = importlib.metadata.version(name)
    print(json.dumps(versions))


if __name__ == "__main__":
    main()
