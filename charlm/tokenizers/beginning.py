"""How a text of which only the beginning is known can be cut.

What stands at its end is not settled yet: "The pe" may go on as "The pear". So there are several
ways, no two of which can be those of one text.
"""

from typing import NamedTuple

from charlm.tokenizers.ids import IdArray


class Beginning(NamedTuple):
    """One way: tokens that lie in the beginning, and the next one, which reaches to its end.

    Attributes:
        ids: (N,) the tokens before the last one.
        unknown: what the <UNK> among them stand for, as ``Tokenizer.unknown`` gives it.
        following: (K,) the ids of which the last one may be; None: there is none, all is in ids.
        spellings: it may also be an <UNK> that stands for something with such a beginning;
        known: the types with such a beginning that are no <UNK>.
    """

    ids: IdArray
    unknown: tuple[str, ...] = ()
    following: IdArray | None = None
    spellings: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
