# SPDX-License-Identifier: Apache-2.0
"""What counts as known: classes, out-of-distribution prompts and the dictionary for names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from vl_anomaly_ros.errors import VocabularyError
from vl_anomaly_ros.untrusted import MAX_YAML_BYTES, parse_yaml, read_file

MAX_KNOWN = 256
MAX_SYNONYMS = 16
MAX_OOD_PROMPTS = 256
MAX_CANDIDATES = 4096
MAX_WORD_CHARACTERS = 64


@dataclass(frozen=True)
class KnownClass:
    """A class that is not an anomaly.

    Attributes:
        name: unique in the vocabulary, upper and lower case alike.
        group: merge group; classes of one group share their probability. Empty: the name.
        synonyms: further words for the same class; each gets its own prompts.
    """

    name: str
    group: str = ""
    synonyms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_word("known class", self.name)
        if not self.group:
            object.__setattr__(self, "group", self.name)
        _check_word(f"group of known class {self.name!r}", self.group)
        _check_tuple(f"synonyms of known class {self.name!r}", self.synonyms, MAX_SYNONYMS)
        for synonym in self.synonyms:
            _check_word(f"synonym of known class {self.name!r}", synonym)

    @property
    def words(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


@dataclass(frozen=True)
class Vocabulary:
    """Everything that language says to the network; changeable at run time.

    Attributes:
        known: the known classes; the order is the class index.
        ood_prompts: words for what is not known, as extra classes: they take probability from the wrong known class.
        candidates: dictionary of names for anomalies. May repeat words of the vocabulary: such a name is approved.
        name: of the vocabulary, for people.

    Raises:
        VocabularyError: no known class, a word twice, a word that is empty, too long or not plain text, or too many.

    >>> Vocabulary((KnownClass("road"), KnownClass("sky")), ood_prompts=("animal",)).class_names
    ('road', 'sky', 'animal')
    """

    known: tuple[KnownClass, ...]
    ood_prompts: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    name: str = "unnamed"

    def __post_init__(self) -> None:
        if not self.known:
            raise VocabularyError(
                "known classes: expected at least one, got none; everything would be an anomaly, name what is normal"
            )
        _check_tuple("known classes", self.known, MAX_KNOWN)
        _check_tuple("OOD prompts", self.ood_prompts, MAX_OOD_PROMPTS)
        check_words("candidate", self.candidates, MAX_CANDIDATES)
        _check_word("name of the vocabulary", self.name)
        for word in self.ood_prompts:
            _check_word("OOD prompt", word)
        known_words = [word for item in self.known for word in item.words]
        _check_unique("known classes, synonyms and OOD prompts", [*known_words, *self.ood_prompts])

    @property
    def known_names(self) -> tuple[str, ...]:
        """Names of the known classes, in the order of their index."""
        return tuple(item.name for item in self.known)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Known classes, then OOD prompts: the classes of the text bank."""
        return (*self.known_names, *self.ood_prompts)

    @property
    def groups(self) -> tuple[str, ...]:
        """Merge groups in the order of their first class."""
        return tuple(dict.fromkeys(item.group for item in self.known))

    def approves(self, word: str) -> bool:
        """Whether a person has put this word into the vocabulary, as a known class, synonym or OOD prompt."""
        return word.casefold() in self._approved_words

    @cached_property
    def _approved_words(self) -> frozenset[str]:
        words = [word for item in self.known for word in item.words]
        return frozenset(word.casefold() for word in (*words, *self.ood_prompts))

    def to_mapping(self) -> dict[str, Any]:
        """As plain values, ready for YAML; `from_mapping` reads them back."""
        return {
            "name": self.name,
            "known": [{"name": k.name, "group": k.group, "synonyms": list(k.synonyms)} for k in self.known],
            "ood_prompts": list(self.ood_prompts),
            "candidates": list(self.candidates),
        }

    @classmethod
    def from_mapping(cls, values: Any) -> Vocabulary:
        """A vocabulary from the plain values of a YAML file.

        Raises:
            VocabularyError: also for an unknown key or a value of the wrong type.
        """
        _check_mapping("vocabulary", values, required=("known",), optional=("name", "ood_prompts", "candidates"))
        items = _as_list("known", values["known"])
        check_count("known classes", items, MAX_KNOWN)
        known = []
        for item in items:
            if isinstance(item, str):
                known.append(KnownClass(item))
                continue
            _check_mapping("known class", item, required=("name",), optional=("group", "synonyms"))
            synonyms = _as_list(f"synonyms of known class {brief(item['name'])}", item.get("synonyms"))
            known.append(KnownClass(item["name"], item.get("group") or "", synonyms))
        return cls(
            known=tuple(known),
            ood_prompts=_as_list("ood_prompts", values.get("ood_prompts")),
            candidates=_as_list("candidates", values.get("candidates")),
            name=values.get("name", "unnamed"),
        )

    @classmethod
    def from_yaml(cls, text: str | bytes) -> Vocabulary:
        """A vocabulary from YAML text of at most `MAX_YAML_BYTES`.

        Raises:
            VocabularyError: the text is too long, not YAML, or not a vocabulary.
        """
        return cls.from_mapping(parse_yaml(text, "vocabulary", VocabularyError))

    @classmethod
    def from_file(cls, path: str | Path) -> Vocabulary:
        """A vocabulary from a YAML file.

        Raises:
            VocabularyError: the file cannot be read, or as `from_yaml`.
        """
        return cls.from_yaml(read_file(Path(path), MAX_YAML_BYTES, VocabularyError))


def _check_word(what: str, word: Any) -> None:
    """Words become prompts: plain text only. Angle brackets would name special tokens, braces a slot."""
    if not isinstance(word, str):
        raise VocabularyError(
            f"{what}: expected a word, got {brief(word)}; put quotes around words such as yes, no or 12"
        )
    if not word or word != word.strip():
        raise VocabularyError(f"{what}: expected a word without spaces around it, got {word!r}")
    if len(word) > MAX_WORD_CHARACTERS:
        raise VocabularyError(
            f"{what}: expected at most {MAX_WORD_CHARACTERS} characters, got {len(word)}: {word[:24]!r}..."
        )
    if not word.isprintable() or any(character in word for character in "<>{}"):
        raise VocabularyError(f"{what}: expected plain text without <, >, {{, }} or control characters, got {word!r}")


def check_words(what: str, words: tuple[Any, ...], most: int) -> None:
    """Raise `VocabularyError` unless these are at most so many words, each of them once.

    Args:
        what: one of them is, such as "candidate".
        words: from outside.
        most: allowed.
    """
    _check_tuple(f"{what}s", words, most)
    for word in words:
        _check_word(what, word)
    _check_unique(f"{what}s", words)


def check_count(what: str, words: Sequence[Any], most: int) -> None:
    """Raise `VocabularyError` where there are too many; to be asked before each of them is looked at."""
    if len(words) > most:
        raise VocabularyError(f"{what}: expected at most {most}, got {len(words)}; leave some out")


def _check_tuple(what: str, words: tuple[Any, ...], most: int) -> None:
    if not isinstance(words, tuple):
        raise VocabularyError(f"{what}: expected a tuple, got {type(words).__name__}")
    check_count(what, words, most)


def _check_unique(what: str, words: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for word in words:
        if word.casefold() in seen:
            raise VocabularyError(f"{what}: expected each word once, got {word!r} twice; leave one out")
        seen[word.casefold()] = word


def _check_mapping(what: str, values: Any, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    if not isinstance(values, Mapping):
        raise VocabularyError(f"{what}: expected keys {', '.join(required + optional)}, got {brief(values)}")
    for key in required:
        if key not in values:
            raise VocabularyError(f"{what}: expected the key {key!r}, got {brief(list(values))}")
    for key in values:
        if key not in required + optional:
            raise VocabularyError(f"{what}: unknown key {key!r}; expected {', '.join(required + optional)}")


def _as_list(what: str, values: Any) -> tuple[Any, ...]:
    if values is None:
        return ()
    if not isinstance(values, list | tuple):
        raise VocabularyError(f"{what}: expected a list, got {brief(values)}")
    return tuple(values)
