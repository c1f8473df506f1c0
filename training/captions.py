"""Captions of pictures: many phrasings of "this subject on that colour".

A prompt that names no colour means white. A few captions do not name the subject (made-up words, or a colour alone), so
that words that the model does not know still give a complete picture.
"""

from __future__ import annotations

import numpy as np

from data import COLOURS, Subject

KINDS = ("emoji", "picture", "drawing", "icon", "image", "painting", "photo", "sticker", "cartoon", "illustration")
FILLERS = ("cute", "little", "small", "big", "nice", "beautiful", "funny", "simple", "lovely", "colorful", "single", "tiny")
PLURALS = ("scissors", "socks", "gloves", "glasses", "eyes")

_WITH_COLOUR = (
    "{a} on a {c} background",
    "{a} on a {c} background",
    "{n}, {c} background",
    "{n}, {c} background",
    "{n} on a {c} background",
    "{n} on {c}",
    "{a} on {c}",
    "{a} in front of a {c} background",
    "{a} with a {c} background",
    "{n} with {c} background",
    "{c} background, {n}",
    "{a} on a {c} wall",
    "{n}, {c}",
    "{k} of {a} on a {c} background",
    "{k} of {a}, {c} background",
    "{n} {k0}, {c} background",
    "the {n} is on a {c} background",
)
_WITHOUT_COLOUR = ("{n}", "{n}", "{n}", "{a}", "{a}", "the {n}", "{k} of {a}", "{n} {k0}", "{n}.", "draw {a}")


def article(noun: str) -> str:
    """The noun with its indefinite article."""
    if noun.split()[-1] in PLURALS and "of" not in noun.split():
        return noun
    return ("an " if noun[0] in "aeiou" and not noun.startswith(("uni", "ufo", "ewe", "one")) else "a ") + noun


def phrase(templates: tuple[str, ...], noun: str, colour: str, rng: np.random.Generator) -> str:
    """One template, filled in."""
    kind = str(rng.choice(KINDS))
    if rng.random() < 0.12:
        noun = f"{rng.choice(FILLERS)} {noun}"
    template = templates[rng.integers(len(templates))]
    return template.format(a=article(noun), n=noun, c=colour, k=article(kind), k0=kind)


def _unknown_words(rng: np.random.Generator) -> str:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz" + "aeiou" * 3 + "0123456789"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(rng.integers(1, 5))]
    return " ".join(words)


def caption(subject: Subject, colour: int, rng: np.random.Generator) -> str:
    """A caption for a picture of `subject` on COLOURS' `colour`-th colour."""
    name = list(COLOURS)[colour]
    noun = subject.name
    if subject.aliases and rng.random() < 0.4:
        noun = str(rng.choice(subject.aliases))
    chance = rng.random()
    if chance < 0.012:
        return f"{name} background"
    if chance < 0.035:
        noun = _unknown_words(rng)
    if name == "white" and rng.random() < 0.6:
        return phrase(_WITHOUT_COLOUR, noun, name, rng)
    return phrase(_WITH_COLOUR, noun, name, rng)


def caption_words(subjects: list[Subject]) -> list[str]:
    """Every word that captions can contain, repeated by its approximate weight. The tokenizer's vocabulary is learned from it."""
    words: list[str] = []
    for subject in subjects:
        for text in (subject.name, *subject.aliases):
            words += text.split() * 4
    for template in _WITH_COLOUR + _WITHOUT_COLOUR:
        words += [w.strip(",.") for w in template.split() if "{" not in w] * 20
    words += list(KINDS + FILLERS) * 10 + list(COLOURS) * 20 + ["a", "an", "the", "of", "background"] * 100
    return words
