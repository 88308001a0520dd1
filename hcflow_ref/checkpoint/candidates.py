"""Finds the network in whatever was saved around it, and chooses where there are several.

Frameworks put weights under keys ("params_ema", "state_dict" …), and prefixes before their names
("module.", "_orig_mod.", "netG." …), in any nesting; a discriminator, an optimiser's state or
settings may lie beside them. What is a network is seen from its own names, not from a list of keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hcflow_ref.checkpoint.detect import infer_config, infer_irn_config, is_irn
from hcflow_ref.checkpoint.stored import Opaque, StoredTensor
from hcflow_ref.errors import CheckpointError

_INSIDE = frozenset(
    {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"}
)
"""Parts that wrappers put anywhere in a name: data-parallel, compiled, sharded, checkpointed."""

_COUNTERS = frozenset({"n_averaged", "num_updates", "decay", "step", "initted"})
"""What averages keep beside their weights."""

_OPTIMISER_STATE = re.compile(
    r"[\w-]*(?i:optimi[sz]er)[\w-]*|(?:[\w-]*[_-])?(?i:optims?)(?:[_-][\w-]*|[A-Z0-9]\w*)?|"
    r"(?i:(?:acc\w*[_-])?grad(?:s|ients?)?|(?:max_)?exp_avg\w*|momentum(?:_buffers?)?)"
)
"""Keys of what an optimiser keeps: it has the names and shapes of weights, and is no network."""

_BESIDE = re.compile(
    r"(?i)(?:^|[._-])(?:\w*sched\w*|\w*discriminators?|net_?d|vgg\w*|criterion|loss(?:es)?)"
    r"(?:$|[._-])"
)
"""Keys beside a network that seldom hold its weights: only what is whole counts there."""

_AVERAGED = re.compile(r"(?i)(?:^|[^a-z])(?:ema|avg|averaged?|swa|shadow|polyak)(?:$|[^a-z])")
_DEEPEST, _MOST_PREFIXES = 8, 64


@dataclass(frozen=True)
class Candidate:
    """One network found in a file.

    Attributes:
        place: the keys and prefixes above it, joined by dots; empty at the top.
        weights: its values under official names, which are not checked yet.
        twins: two keys of the file that are the same weight, if there are.
    """

    place: str
    weights: Mapping[str, Any]
    twins: tuple[str, str] | None

    @property
    def averaged(self) -> bool:
        """Whether its place says that it is an average of weights (EMA)."""
        return _AVERAGED.search(self.place) is not None


def find(root: Any) -> list[Candidate]:
    """All networks in a saved object, in the file's order, each once."""
    dictionaries = list(_dictionaries(root, (), set()))
    named = [network for path, flat in dictionaries for network in _networks(path, flat)]
    tables = [network for network in named if not _holds_arrays(network.weights)]
    found = [network for network in named if _holds_arrays(network.weights)]
    without_dots = _without_dots(found)
    found = [_without_keys_of_others(network, without_dots) for network in found]
    for path, flat in dictionaries:
        found += _networks_without_dots(path, flat, without_dots)
    distinct: dict[frozenset[tuple[str, object]], Candidate] = {}
    for candidate in found or tables:  # one network under two keys is one network
        distinct.setdefault(_identity(candidate), candidate)
    return list(distinct.values())


def choose(candidates: list[Candidate]) -> tuple[Candidate, str]:
    """The network that is meant, and a sentence about the choice, empty where there was none.

    Averaged weights (EMA) are preferred to the raw ones.

    Raises:
        CheckpointError: several could be meant; names the keys that they are under.
    """
    averaged = [candidate for candidate in candidates if candidate.averaged]
    raw = [candidate for candidate in candidates if not candidate.averaged]
    if len(candidates) == 1:
        return candidates[0], ""
    if len(averaged) == 1 and len(raw) == 1:
        chosen, other = averaged[0], raw[0]
        sentence = f"the averaged weights (EMA) {_shown(chosen)} are used, not {_shown(other)}"
        if chosen.weights.keys() < other.weights.keys():  # averages may leave constants out
            chosen = replace(chosen, weights={**other.weights, **chosen.weights})
            sentence += ", which adds what they lack"
        return chosen, sentence
    places = ", ".join(sorted(map(_shown, candidates))[:6])  # the order in a file means nothing
    raise CheckpointError(
        f"it holds {len(candidates)} networks, under {places}: save the one that is meant by itself"
    )


def passed_over(root: Any, chosen: Candidate) -> str:
    """A sentence about averaged weights that cannot be used, empty where there are none."""
    for path, flat in () if chosen.averaged else _dictionaries(root, (), set()):
        for key, value in flat.items():
            if len(getattr(value, "shape", ())) < 2 or _split(key) is not None:
                continue
            place = ".".join((*path, key.rpartition(".")[0])).strip(".")
            if _AVERAGED.search(place) and not _is_beside(place) and not _is_optimiser_state(place):
                return (
                    f"{_shown(chosen)} is used, not the averaged weights (EMA) {place[:80]!r}: "
                    "they lack the names of weights"
                )
    return ""


def largest_dictionary(root: Any) -> dict[str, Any]:
    """The tensors of a file without a network, for the message about it."""
    largest: dict[str, Any] = {}
    for _, flat in _dictionaries(root, (), set()):
        tensors = {key: value for key, value in flat.items() if hasattr(value, "shape")}
        largest = max(largest, tensors, key=len)
    return {".".join(_parts(key)): value for key, value in largest.items()}


def _identity(candidate: Candidate) -> frozenset[tuple[str, object]]:
    return frozenset(
        (key, value if isinstance(value, StoredTensor) else id(value))
        for key, value in candidate.weights.items()
    )


def _shown(candidate: Candidate) -> str:
    return repr(candidate.place[:80]) if candidate.place else "no key"


def _dictionaries(
    value: Any, path: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """All dictionaries of an object, each once: the keys above, and what is under string keys."""
    if len(path) > _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Opaque) and value.kind.startswith("__torch__"):
        yield path, dict(_attributes(value, "", set()))
        return
    if isinstance(value, (list, tuple)):
        value = {str(index): item for index, item in enumerate(value)}
    if isinstance(value, dict):
        texts = {key: item for key, item in value.items() if isinstance(key, str)}
        yield path, texts
        for key, item in texts.items():
            if isinstance(item, (dict, list, tuple, Opaque)) and not _is_optimiser_state(key):
                yield from _dictionaries(item, (*path, key), seen)


def _attributes(module: Opaque, prefix: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The attributes of a TorchScript module and its submodules by their full names."""
    if id(module) in seen or prefix.count(".") > _DEEPEST:
        return
    seen.add(id(module))
    for key, value in module.state.items():
        if isinstance(value, Opaque):
            yield from _attributes(value, f"{prefix}{key}.", seen)
        elif hasattr(value, "shape"):
            yield f"{prefix}{key}", value


def _networks(path: tuple[str, ...], flat: Mapping[str, Any]) -> Iterator[Candidate]:
    """The networks of one dictionary: its keys grouped by what precedes the official names."""
    groups: dict[str, dict[str, str]] = {}
    above: dict[str, set[str]] = {}
    twins: dict[str, tuple[str, str]] = {}
    strangers = []
    for key in flat:
        split = _split(key)
        if split is None:
            strangers.append(key)
            continue
        raw, prefix, own = split
        if _is_optimiser_state(prefix):
            continue
        earlier = groups.setdefault(prefix, {}).setdefault(own, key)
        if earlier != key:
            twins.setdefault(prefix, (earlier, key))
        above.setdefault(prefix, set()).add(raw)
    owners = {raw: prefix for prefix, raws in above.items() for raw in raws}
    if len(owners) > _MOST_PREFIXES:
        raise CheckpointError(f"its keys have {len(owners)} different prefixes; refused")
    extra = _below(strangers, owners)
    for prefix, names in groups.items():
        weights = {own: flat[key] for own, key in names.items()}
        weights |= {own: flat[key] for own, key in extra.get(prefix, {}).items()}
        place = ".".join((*path, prefix)).strip(".")
        if _is_beside(place) and not _is_whole(weights):
            continue
        yield Candidate(place, weights, twins.get(prefix))


def _without_dots(networks: list[Candidate]) -> dict[str, str]:
    """Official names by themselves without their dots, also after the last parts of a place."""
    names: dict[str, str] = {}
    for network in networks:
        parts = network.place[-200:].split(".")
        for before in {"".join(parts[at:]) for at in range(max(0, len(parts) - 3), len(parts) + 1)}:
            names |= {before + own.replace(".", ""): own for own in network.weights if _split(own)}
    return names


def _without_keys_of_others(network: Candidate, without_dots: Mapping[str, str]) -> Candidate:
    """The network without keys beside it that are another's, of names without dots."""
    kept = {
        own: value
        for own, value in network.weights.items()
        if own.rpartition(".")[2] not in without_dots
    }
    return replace(network, weights=kept)


def _networks_without_dots(
    path: tuple[str, ...], flat: Mapping[str, Any], without_dots: Mapping[str, str]
) -> Iterator[Candidate]:
    """The networks under names without dots, as PyTorch wants of buffers (`LitEma`)."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        before, _, name = key.rpartition(".")
        if name in without_dots:
            groups.setdefault(before, {})[without_dots[name]] = value
    for prefix, weights in groups.items():
        yield Candidate(".".join((*path, prefix)).strip("."), weights, None)


def _below(keys: list[str], owners: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Keys that are no official names, by the network whose prefix they have: its weights too."""
    below: dict[str, dict[str, str]] = {}
    longest_first = sorted(owners, key=len, reverse=True)
    for key in keys:
        raw = next((raw for raw in longest_first if key.startswith(raw)), None)
        rest = key if raw is None else key[len(raw) :]
        counts = rest.rpartition(".")[2] in _COUNTERS
        if raw is None or counts or _is_beside(rest) or _is_optimiser_state(rest):
            continue
        below.setdefault(owners[raw], {})[".".join(_parts(rest))] = key
    return below


def _is_optimiser_state(key: str) -> bool:
    return any(_OPTIMISER_STATE.fullmatch(part) for part in key[:200].split("."))


def _is_beside(key: str) -> bool:
    return _BESIDE.search(key[:200]) is not None


def _holds_arrays(weights: Mapping[str, Any]) -> bool:
    """Whether there are tensors, not settings or single numbers by the names of weights."""
    return any(len(getattr(value, "shape", ())) > 0 for value in weights.values())


def _is_whole(weights: Mapping[str, Any]) -> bool:
    """Whether a configuration can be detected, from tensors alone."""
    if not all(hasattr(value, "shape") for value in weights.values()):
        return False
    shapes = {key: value.shape for key, value in weights.items()}
    try:
        infer_irn_config(shapes) if is_irn(shapes) else infer_config(shapes)
    except CheckpointError:
        return False
    return True


def _parts(key: str) -> list[str]:
    """The parts of a name without those that wrappers put in."""
    return [part for part in key.split(".") if part not in _INSIDE]


def _split(key: str) -> tuple[str, str, str] | None:
    """What precedes an official name in a key, the same without wrappers, and the name."""
    raw = key.split(".")
    kept = [index for index, part in enumerate(raw) if part not in _INSIDE]
    for at, index in enumerate(kept):
        following = [raw[i] for i in kept[at + 1 : at + 3]]
        if _begins(raw[index], following):
            before = "".join(f"{part}." for part in raw[:index])
            return before, ".".join(raw[i] for i in kept[:at]), ".".join(raw[i] for i in kept[at:])
    return None


def _begins(part: str, following: list[str]) -> bool:
    """Whether a name of HCFlow's or IRN's weights begins with these parts."""
    if part == "operations":
        return len(following) > 0 and following[0].isdecimal()
    if part != "flow" or not following:
        return False
    if following[0] == "layers":
        return len(following) > 1 and following[1].isdecimal()
    return re.fullmatch(r"level\d+_condFlow", following[0]) is not None
