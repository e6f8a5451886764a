"""The index of a training text, which novelty looks samples up in."""

import time

from charlm.checkpoints.run import Run
from charlm.memory import give_back
from charlm.novelty import measure, text_index
from charlm.training.request import Say
from charlm.training.texts.material import TextMaterial


def index_text(run: Run, material: TextMaterial, say: Say) -> None:
    """Write the index of the training text into the run, where there is none yet."""
    if material.source is None or text_index.stands(run.path):
        return
    begun = time.perf_counter()
    give_back()  # what passes over the text have left
    found = measure.index_of(material.source)
    size = text_index.save(run.path, found, material.about["fingerprint"])
    give_back()
    part = "" if found.indexed == 1 else f"{found.indexed:.1%} of "
    say(
        f"index: {part}the training text, for charlm novelty, {size / 1e6:.1f} MB "
        f"({time.perf_counter() - begun:.1f} s); `index=False` leaves it out"
    )
