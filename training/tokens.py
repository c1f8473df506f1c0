"""The tokenizer: byte-pair encoding like CLIP's (vocab.json and merges.txt), with a small vocabulary learned from the captions."""

from __future__ import annotations

import collections
import json
import re
from pathlib import Path

from transformers import CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
"""Tokens per prompt, as in every CLIP text encoder."""

# CLIP's own split, for lowercase ASCII text: contractions, letters, single digits, runs of anything else.
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order CLIP's vocabulary lists them."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]


def learn_merges(words: list[str], most: int) -> list[tuple[str, str]]:
    """Greedy byte-pair merges over words (each ended by </w>): the most common pair first, ties in alphabetical order."""
    counts = collections.Counter(piece for word in words for piece in _WORD.findall(word.lower()))
    split = {word: [*word[:-1], word[-1] + "</w>"] for word in counts}
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts in split.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = ["".join(best)]
                i += 1
    return merges


def write_tokenizer(folder: Path, merges: list[tuple[str, str]], pad: str) -> None:
    """One tokenizer folder as the published SDXL repositories have it. `pad` is the token that pads a prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    characters = _byte_characters()
    entries = [*characters, *(c + "</w>" for c in characters), *("".join(m) for m in merges), START, END]
    if len(set(entries)) != len(entries):
        raise ValueError("two vocabulary entries are the same")
    vocabulary = {entry: i for i, entry in enumerate(entries)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), "utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), "utf-8")

    def token(content: str, normalized: bool) -> dict:
        return {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}

    special = {
        "bos_token": token(START, True),
        "eos_token": token(END, False),
        "pad_token": pad if pad != END else END,
        "unk_token": token(END, False),
    }
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(vocabulary[t]): {**token(t, t == START), "special": True} for t in dict.fromkeys((pad, START, END))
        },
        "bos_token": START,
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": LENGTH,
        "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    }
    for name, content in (("special_tokens_map.json", special), ("tokenizer_config.json", config)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer as diffusers' pipelines load it."""
    return CLIPTokenizer.from_pretrained(folder)
