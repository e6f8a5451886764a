"""Fields of the library, called by the options of the command line that set them."""

import functools
import re


def in_options(message: str) -> str:
    """A message of the library, its `field` and `field=value` as the command line writes them."""
    return re.sub("`([a-z_0-9]+)(?:=([^`]*))?`", _as_option, message) if "`" in message else message


def _as_option(found: re.Match[str]) -> str:
    if found[1] not in _options():
        return found[0]
    option, value = option_of(found[1]), found[2]
    return option if value in (None, "True", "False") else f"{option} {value}"


def option_of(field: str) -> str:
    """The option that sets a field: hidden_size is --hidden."""
    return f"--{_options().get(field, field).replace('_', '-')}"


@functools.cache
def _options() -> dict[str, str]:
    """The fields that have an option, each with what that is called.

    Few commands complain: most are done without a look at what a training can be asked for.
    """
    import dataclasses

    from charlm.training.request import CONFIG_FIELDS, Request

    names = {field.name for field in dataclasses.fields(Request)}
    names |= {"resume", "name", "log_to", "index", "against", "stream", "jobs"}
    names |= {"host", "port", "api_key", "no_key", "allowed_hosts", "cors"}
    return {
        **{name: name for name in names},
        **{config: name for name, config in CONFIG_FIELDS.items()},
        "seconds": "time",
        "num_steps": "steps",
        "unknown": "unk",
        "index": "no_index",
    }
