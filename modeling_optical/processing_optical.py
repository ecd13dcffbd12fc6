"""Text to tensors, for queries and for documents."""

from __future__ import annotations

import json
import os
import re
import threading
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase, ProcessorMixin

from .backbones import longest_input
from .configuration_optical import KINDS, OpticalConfig
from .pretrained import check_tokenizer, hub_arguments, load_tokenizer, refuse_unknown

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_ENDLESS = 1_000_000
_FEWEST_TOKENS = 3  # as the configuration's lengths
# A fast tokenizer keeps in itself where it cuts: of two threads, one would cut the other's texts.
_tokenizing = threading.Lock()
_PUNCTUATION = ("P",)
_PUNCTUATION_AND_SYMBOLS = ("P", "S")


def _renew_lock() -> None:
    global _tokenizing
    _tokenizing = threading.Lock()


if hasattr(os, "register_at_fork"):  # a thread that held it does not live on in a forked process
    os.register_at_fork(after_in_child=_renew_lock)


class OpticalProcessor(ProcessorMixin):
    r"""
    Turns texts into what an [`OpticalModel`] takes: token ids and three masks.

    The settings (lengths, markers, expansion, skip list) live in one place, the model's configuration; the processor is a
    tokenizer that follows them. It shares the model's object, so that a setting holds from the moment that it is set.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the backbone's tokenizer.
        config ([`OpticalConfig`]): the model's configuration.

    Raises:
        ValueError: if the tokenizer cannot be the model's, a marker of the configuration is not in the vocabulary, or query
            expansion is asked for and the tokenizer has no mask token.

    Example:

    ```python
    >>> batch = processor(["habari ya asubuhi"], kind="query", return_tensors="pt")
    >>> batch["input_ids"].shape, batch["token_mask"].dtype
    ```
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, config: OpticalConfig):
        super().__init__(tokenizer)
        self.config = config
        self._skiplists: dict[str, set[int]] = {}
        self._longest_input: int | None = None
        check_tokenizer(tokenizer, getattr(config.get_text_config(), "vocab_size", None))
        for key in ("query_marker", "document_marker"):
            self._marker_id(key)
        if config.query_expansion != "none":
            self._expansion_id()

    @classmethod
    def get_attributes(cls) -> list[str]:
        return ["tokenizer"]

    def _marker_id(self, key: str) -> int | None:
        marker = getattr(self.config, key)
        if marker is None:
            return None
        identifier = self.tokenizer.convert_tokens_to_ids(marker)
        if identifier is None or (identifier == self.tokenizer.unk_token_id and marker != self.tokenizer.unk_token):
            raise ValueError(
                f"{key} {marker!r} is not in the tokenizer's vocabulary. Use a token it has, set {key} to null, or let "
                "OpticalModel.from_backbone(...) add it."
            )
        return identifier

    def _expansion_id(self) -> int:
        identifier = self._marker_id("expansion_token") if self.config.expansion_token else self.tokenizer.mask_token_id
        if identifier is None:
            raise ValueError(
                f"query_expansion={self.config.query_expansion!r} pads queries with the mask token, but this tokenizer has "
                "none. Set query_expansion='none', or expansion_token to a token of the vocabulary."
            )
        return identifier

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "token_mask", "content_mask"]

    @property
    def skiplist_token_ids(self) -> set[int]:
        """Ids of the document tokens that never score, from the configuration and the whole vocabulary."""
        if self.config.skiplist_token_ids is not None:
            return set(self.config.skiplist_token_ids)
        chosen = self.config.skiplist
        if chosen == "none":
            return set()
        if chosen not in self._skiplists:
            categories = _PUNCTUATION if chosen == "punctuation" else _PUNCTUATION_AND_SYMBOLS
            self._skiplists[chosen] = punctuation_token_ids(self.tokenizer, categories)
        return self._skiplists[chosen]

    def tokenize(
        self,
        texts: str | Iterable[str],
        kind: str = "query",
        max_length: int | None = None,
        *,
        prompt: str | None = None,
        return_offsets: bool = False,
    ) -> list[dict[str, list[Any]]]:
        """Token ids and masks of each text, unpadded.

        Args:
            texts: one text or many; half a surrogate pair counts as U+FFFD.
            kind: `"query"` or `"document"`.
            max_length: replaces the configured length.
            prompt: replaces the configured one; "" for none.
            return_offsets: also return where tokens are in the text.

        Returns:
            For each text a dict of equally long lists: `input_ids`; `attention_mask` (seen by attention); `token_mask` (takes
            part in MaxSim); `content_mask` (neither special token, marker nor expansion); if requested, `offsets`: (start, end)
            in characters of the text, None for tokens that are not content.

        Raises:
            ValueError: for an unknown kind, a setting of the configuration that is not allowed, or if a tokenizer has no
                offsets. TypeError: if an item is not a string (the message names its position).
        """
        if kind not in KINDS:
            raise ValueError(f"kind is {kind!r}; allowed: 'query', 'document'.")
        texts = [texts] if isinstance(texts, str) else list(texts)
        for position, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(f"text {position} is of type {type(text).__name__}, not str.")
        if not texts:
            return []
        self.config.check()
        length = self.longest(kind, max_length)
        marker = self._marker_id(f"{kind}_marker")
        if prompt is None:
            prompt = (self.config.query_prompt if kind == "query" else self.config.document_prompt) or ""
        if (return_offsets or prompt) and not self.tokenizer.is_fast:
            raise ValueError(
                f"{type(self.tokenizer).__name__} does not tell where its tokens stand, which "
                + ("offsets take" if return_offsets else "a prompt takes")
                + "; a fast tokenizer is needed."
            )
        texts = [replace_lone_surrogates(text) for text in texts]
        with _tokenizing:
            encoded = self.tokenizer(
                [prompt + (text.strip() if self.config.strip_text else text) for text in texts],
                truncation=True,
                max_length=length - (marker is not None),
                padding=False,
                add_special_tokens=True,
                return_special_tokens_mask=True,
                return_offsets_mapping=bool(prompt) or return_offsets,
                return_attention_mask=False,
                return_token_type_ids=False,
                verbose=False,
            )
        content = [[not special for special in specials] for specials in encoded["special_tokens_mask"]]
        if prompt:
            content = [
                [counts and end > len(prompt) for counts, (_, end) in zip(row, offsets, strict=True)]
                for row, offsets in zip(content, encoded["offset_mapping"], strict=True)
            ]
        skipped = self.skiplist_token_ids if kind in self.config.skiplist_kinds else ()
        features = [
            self._finish(list(ids), list(row), specials, kind, marker, length, skipped)
            for ids, row, specials in zip(encoded["input_ids"], content, encoded["special_tokens_mask"], strict=True)
        ]
        if return_offsets:
            for text, feature, row, places in zip(texts, features, content, encoded["offset_mapping"], strict=True):
                stripped = len(text) - len(text.lstrip()) if self.config.strip_text else 0
                shift = stripped - len(prompt)
                own = iter(
                    (max(start + shift, 0), end + shift) for counts, (start, end) in zip(row, places, strict=True) if counts
                )
                # The content tokens stay in their order: markers and expansion stand between and after them.
                feature["offsets"] = [next(own) if counts else None for counts in feature["content_mask"]]
        return features

    def longest(self, kind: str, max_length: int | None = None) -> int:
        """Tokens of the longest text of a kind, `max_length` instead of the configured length; the backbone's limit holds."""
        if max_length is not None and max_length < _FEWEST_TOKENS:
            raise ValueError(f"max_length is {max_length}; it must be at least {_FEWEST_TOKENS}, as special tokens count.")
        if max_length is None:
            max_length = self.config.query_length if kind == "query" else self.config.document_length
            if kind == "query" and self.config.query_expansion == "min" and self.config.expansion_length is None:
                max_length = None
        return self._cap() if max_length is None else min(max_length, self._cap())

    def _cap(self) -> int:
        """The longest input that backbone and tokenizer take."""
        if self._longest_input is None:
            self._longest_input = longest_input(self.config.backbone_config) or _ENDLESS
        return min(self._longest_input, self.tokenizer.model_max_length)

    def _finish(
        self,
        ids: list[int],
        content: list[bool],
        specials: list[int],
        kind: str,
        marker: int | None,
        length: int,
        skipped: Collection[int],
    ) -> dict[str, list[Any]]:
        if marker is not None:
            place = 1 if specials and specials[0] else 0
            ids.insert(place, marker)
            content.insert(place, False)
        attention = [True] * len(ids)
        token = [True] * len(ids)
        if kind == "query":
            target = {"none": 0, "fixed": length, "min": self.config.expansion_length or self.config.query_length}
            missing = (target[self.config.query_expansion] or 0) - len(ids)
            if missing > 0:
                ids += [self._expansion_id()] * missing
                attention += [self.config.attend_to_expansion_tokens] * missing
                token += [True] * missing
                content += [False] * missing
            if self.config.scored_query_tokens == "content":
                token = list(content)
        if skipped:
            token = [counts and identifier not in skipped for counts, identifier in zip(token, ids, strict=True)]
        return {"input_ids": ids, "attention_mask": attention, "token_mask": token, "content_mask": content}

    def expand(self, feature: dict[str, list[Any]], length: int) -> dict[str, list[Any]]:
        """A tokenized text padded with mask tokens that score, up to `length`; a longer one as it is.

        Raises:
            ValueError: if the tokenizer has no mask token.
        """
        missing = max(length - len(feature["input_ids"]), 0)
        if self.tokenizer.mask_token_id is None:
            raise ValueError("this tokenizer has no mask token, with which a text could be expanded.")
        return {
            "input_ids": feature["input_ids"] + [self.tokenizer.mask_token_id] * missing,
            "attention_mask": feature["attention_mask"] + [self.config.attend_to_expansion_tokens] * missing,
            "token_mask": feature["token_mask"] + [True] * missing,
            "content_mask": feature["content_mask"] + [False] * missing,
        }

    def pad(self, features: Sequence[dict[str, list[Any]]]) -> BatchEncoding:
        """Pads on the right to the longest text of the batch; `input_ids` and `attention_mask` int64, the other masks bool."""
        longest = max(1, *(len(feature["input_ids"]) for feature in features))  # of texts without a token, one that nobody sees
        fill = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else 0

        def column(name: str, value: int | bool, dtype: torch.dtype) -> torch.Tensor:
            rows = [feature[name] + [value] * (longest - len(feature[name])) for feature in features]
            return torch.tensor(rows, dtype=dtype)

        return BatchEncoding(
            {
                "input_ids": column("input_ids", fill, torch.long),
                "attention_mask": column("attention_mask", False, torch.long),
                "token_mask": column("token_mask", False, torch.bool),
                "content_mask": column("content_mask", False, torch.bool),
            }
        )

    def __call__(
        self,
        text: str | Iterable[str],
        kind: str = "query",
        max_length: int | None = None,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchEncoding:
        """Tokenizes and pads. Shapes (batch, tokens); see `tokenize` for the meaning of the masks.

        Raises:
            ValueError: for an empty batch, an unknown `kind`, or `return_tensors` other than `"pt"`.
        """
        refuse_unknown("the processor", kwargs, ("kind", "max_length", "return_tensors"))
        if return_tensors != "pt":
            raise ValueError("OpticalProcessor returns PyTorch tensors: return_tensors='pt'.")
        features = self.tokenize(text, kind, max_length)
        if not features:
            raise ValueError("there is no text to process.")
        return self.pad(features)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Saves tokenizer and `processor_config.json`; the settings go to `config.json` if no model or adapter is there.

        An adapter's folder has no `config.json`: with one, transformers takes it for a whole model.
        """
        os.makedirs(save_directory, exist_ok=True)
        if not any(os.path.exists(os.path.join(save_directory, name)) for name in ("config.json", "adapter_config.json")):
            self.config.save_pretrained(save_directory)
        return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The content of `processor_config.json`: class and code, no settings."""
        values = {"processor_class": type(self).__name__}
        auto_map = getattr(self, "auto_map", None)
        return values | ({"auto_map": auto_map} if auto_map else {})

    def to_json_string(self, *args: Any, **kwargs: Any) -> str:
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def __repr__(self) -> str:
        return f"OpticalProcessor(tokenizer={type(self.tokenizer).__name__}, vocabulary={len(self.tokenizer)})"

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> OpticalProcessor:
        """Loads tokenizer and settings from a folder or Hub id; takes the arguments of `AutoTokenizer.from_pretrained` and any
        setting of [`OpticalConfig`], which replaces the checkpoint's.

        Code of the tokenizer's own runs with `trust_remote_code=True` only.
        """
        kwargs.pop("_from_auto", None)
        config = kwargs.pop("config", None)
        if not isinstance(config, OpticalConfig):
            config, unused = OpticalConfig.from_pretrained(pretrained_model_name_or_path, return_unused_kwargs=True, **kwargs)
            kwargs = unused | hub_arguments(kwargs)
        # The tokenizer's files name its class: with our config it would be looked up by model type.
        return cls(load_tokenizer(os.fspath(pretrained_model_name_or_path), config=config.get_text_config(), **kwargs), config)


def replace_lone_surrogates(text: str) -> str:
    """The text with every half of a surrogate pair as U+FFFD, as decoders read broken text.

    JSON may hold such halves (`"\\ud83d"`), which no tokenizer takes and no file in UTF-8 can hold.
    """
    return _LONE_SURROGATES.sub("\ufffd", text)


def punctuation_token_ids(tokenizer: PreTrainedTokenizerBase, categories: Sequence[str] = _PUNCTUATION) -> set[int]:
    """Ids of all vocabulary pieces made of characters of these Unicode categories alone (first letter: P, S …).

    Pieces are read as the text that they stand for, so "▁," of SentencePiece, "Ġ," of byte-level BPE and "。" are found,
    and the bare "▁" is not.
    """
    special = set(tokenizer.all_special_ids)
    found = set()
    for piece, identifier in tokenizer.get_vocab().items():
        if identifier in special or any(character.isascii() and character.isalnum() for character in piece):
            continue
        text = tokenizer.convert_tokens_to_string([piece]).strip().strip("▁")
        # A part of a character in byte-level BPE decodes to the replacement character, which is not a symbol of the text.
        if text and "\ufffd" not in text and all(unicodedata.category(c)[0] in categories for c in text):
            found.add(identifier)
    return found


__all__ = ["OpticalProcessor", "punctuation_token_ids", "replace_lone_surrogates"]
