"""A new vocabulary: what it spells, where its rows come from, the translation table."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from modeling_optical import OpticalModel, load_checkpoint
from trainer.vocabulary import (
    TranslationTable,
    VocabularyOptions,
    adapt_vocabulary,
    extend_tokenizer,
    save_vocabulary_record,
    translation_table,
    unknown_share,
    vocabulary_provenance,
)

HINDI = ["खोज काम करती है", "शिक्षक अच्छा है", "खोज अच्छा काम", "शिक्षक काम करती"]
ENGLISH = ["search works", "the teacher is good", "good search works", "the teacher works"]


def test_a_language_that_the_backbone_cannot_spell_gets_pieces_and_no_unknowns(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    # The tiny vocabulary has no Devanagari conjuncts of these words, and strips vowel signs.
    assert unknown_share(model.processor.tokenizer, ["ξένος лес"]) > 0.3
    report, _ = adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=120))
    tokenizer = model.processor.tokenizer
    assert unknown_share(tokenizer, HINDI) == 0.0
    assert tokenizer.tokenize("खोज") == ["खोज"]
    assert unknown_share(tokenizer, ["Plain ASCII, 100% spellable!"]) == 0.0
    assert report.tokens_per_word_after < report.tokens_per_word_before
    assert report.size == len(tokenizer) == model.get_input_embeddings().num_embeddings


def test_rows_start_from_translations_old_rows_and_spelling_never_from_noise(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    old = model.processor.tokenizer
    old_rows = model.get_input_embeddings().weight.detach().clone()
    options = VocabularyOptions(size=150, translations_per_piece=1, keep_words_of_length=3)
    report, table = adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, options)
    new, rows = model.processor.tokenizer, model.get_input_embeddings().weight.detach()
    index = new.convert_tokens_to_ids("खोज")
    best = int(np.argmax(table.probabilities[index].toarray()))
    assert old.convert_ids_to_tokens(best) == "search"
    direction = torch.nn.functional.cosine_similarity(rows[index], old_rows[best], dim=0)
    assert float(direction) == pytest.approx(1.0, abs=1e-5)
    for token in old.all_special_tokens:
        assert torch.equal(rows[new.convert_tokens_to_ids(token)], old_rows[old.convert_tokens_to_ids(token)])
    kept = new.convert_tokens_to_ids("english")
    assert torch.equal(rows[kept], old_rows[old.convert_tokens_to_ids("english")])
    assert report.from_translation + report.from_old + report.from_spelling == report.size
    assert bool(torch.isfinite(rows).all())


@pytest.mark.parametrize("keep_pieces", [True, False])
def test_a_name_that_the_bitext_lacks_is_cut_as_before_where_all_pieces_are_kept(bert, keep_pieces):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    old, old_rows = model.processor.tokenizer, model.get_input_embeddings().weight.detach().clone()
    name = "thebes"
    pieces = old.tokenize(name)
    assert pieces[0] == "the"
    adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=120, keep_pieces=keep_pieces))
    new, rows = model.processor.tokenizer, model.get_input_embeddings().weight.detach()
    assert (new.tokenize(name) == pieces) is keep_pieces
    if keep_pieces:
        assert torch.equal(rows[new.convert_tokens_to_ids(pieces)], old_rows[old.convert_tokens_to_ids(pieces)])


@pytest.mark.parametrize("prefer", ["translation", "old"])
def test_a_false_friend_starts_from_its_translation_or_its_old_row_as_asked(bert, prefer):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    old, old_rows = model.processor.tokenizer, model.get_input_embeddings().weight.detach().clone()
    sources, targets = ["search", "teacher", "search"] * 6, ["the", "mwalimu", "the"] * 6
    options = VocabularyOptions(size=80, prefer=prefer, translations_per_piece=1)
    adapt_vocabulary(model, sources, targets, options)
    row = model.get_input_embeddings().weight[model.processor.tokenizer.convert_tokens_to_ids("the")].detach()
    wanted = old_rows[old.convert_tokens_to_ids("search" if prefer == "translation" else "the")]
    assert float(torch.nn.functional.cosine_similarity(row, wanted, dim=0)) == pytest.approx(1.0, abs=1e-5)


def test_an_adapted_student_saves_and_loads_with_its_tokenizer(backbone, tmp_path):
    model = OpticalModel.from_backbone(backbone, embedding_dim=8)
    adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=320))
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    for text in [*HINDI, "mixed text, खोज!"]:
        expected, found = model.encode_query([text])[0], loaded.encode_query([text])[0]
        np.testing.assert_array_equal(expected, found)
    config = loaded.config.get_text_config()
    assert config.vocab_size == len(loaded.processor.tokenizer)
    assert config.pad_token_id == loaded.processor.tokenizer.pad_token_id
    # RoBERTa's positions count from the padding id on.
    assert config.pad_token_id == OpticalModel.from_backbone(backbone).config.get_text_config().pad_token_id


def test_the_table_is_looked_up_by_ids_and_survives_the_disk(bert, tmp_path):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    old = model.processor.tokenizer
    _, table = adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=150))
    table.save(tmp_path / "translations.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["translations.npz"]
    loaded = TranslationTable.load(tmp_path / "translations.npz")
    targets = torch.tensor(model.processor.tokenizer("शिक्षक खोज", add_special_tokens=False)["input_ids"])
    sources = torch.tensor(old("search teacher", add_special_tokens=False)["input_ids"])
    found = loaded.lookup(targets, sources)
    assert found.shape == (len(targets), len(sources))
    dense = table.probabilities.toarray()
    np.testing.assert_allclose(found.numpy(), dense[np.ix_(targets, sources)], atol=1e-6)
    assert int(found[1].argmax()) == 0


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match=r"vocabulary\.size is 0"):
        VocabularyOptions(size=0)
    with pytest.raises(ValueError, match="allowed: 'translation', 'old'"):
        VocabularyOptions(prefer="new")
    with pytest.raises(ValueError, match="allowed: 'replace', 'add'"):
        VocabularyOptions(mode="both")


@pytest.mark.parametrize("mode", ["add", "replace"])
def test_two_adaptations_give_the_same_vocabulary_and_rows(backbone, mode):
    models = [OpticalModel.from_backbone(backbone) for _ in range(2)]
    for model in models:
        adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=320, mode=mode))
    vocabularies = [model.processor.tokenizer.get_vocab() for model in models]
    assert vocabularies[0] == vocabularies[1]
    assert torch.equal(*(model.get_input_embeddings().weight for model in models))


def test_added_pieces_leave_every_old_piece_its_id_and_its_row(backbone):
    model = OpticalModel.from_backbone(backbone, query_marker="[Q]", document_marker="[D]", embedding_dim=8)
    old, rows = model.processor.tokenizer, model.get_input_embeddings().weight.detach().clone()
    report, _ = adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=60, mode="add"))
    new, after = model.processor.tokenizer, model.get_input_embeddings().weight.detach()
    for piece, index in old.get_vocab().items():
        assert new.get_vocab()[piece] == index
    assert torch.equal(after[: len(old)], rows[: len(old)])
    assert len(new) > len(old)
    assert report.size == len(new) <= after.shape[0] == model.config.get_text_config().vocab_size
    assert report.from_old == len(old)
    assert bool((after[len(old) :].norm(dim=1) > 0).all())


def test_with_added_pieces_the_source_side_is_encoded_as_before_to_the_bit(backbone):
    model = OpticalModel.from_backbone(backbone, embedding_dim=8)
    before = model.encode_query(ENGLISH)
    _, table = adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=60, mode="add"))
    for one, other in zip(before, model.encode_query(ENGLISH), strict=True):
        np.testing.assert_array_equal(one, other)
    assert table.probabilities.nnz > 0


def test_rows_in_several_languages_and_their_tokens_per_word_are_reported(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    swahili = ["utafutaji hufanya kazi", "mwalimu ni mzuri", "utafutaji mzuri", "mwalimu hufanya kazi"]
    languages = ["hi"] * 20 + ["sw"] * 20
    report, table = adapt_vocabulary(
        model, ENGLISH * 10, HINDI * 5 + swahili * 5, VocabularyOptions(size=200), languages=languages
    )
    tokenizer = model.processor.tokenizer
    assert tokenizer.tokenize("खोज mwalimu") == ["खोज", "mwalimu"]
    assert set(report.by_language) == {"hi", "sw"}
    assert all(after <= before for before, after in report.by_language.values())
    assert "; hi " in str(report)
    teacher_piece = OpticalModel.from_backbone(bert).get_processor().tokenizer.convert_tokens_to_ids("teacher")
    for word in ("शिक्षक", "mwalimu"):
        row = table.probabilities[tokenizer.convert_tokens_to_ids(word)].toarray()[0]
        assert row[teacher_piece] == pytest.approx(row.max(), abs=0.05)


def test_a_skip_list_of_ids_names_the_same_pieces_afterwards(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    comma = model.processor.tokenizer.convert_tokens_to_ids(",")
    model.config.skiplist_token_ids = [comma]
    adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, VocabularyOptions(size=120))
    assert model.processor.tokenizer.convert_ids_to_tokens(model.config.skiplist_token_ids) == [","]


def test_the_record_beside_a_student_says_what_the_vocabulary_was_made_from(bert, tmp_path):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    old = model.processor.tokenizer
    options = VocabularyOptions(size=120)
    report, table = adapt_vocabulary(model, ENGLISH * 5, HINDI * 5, options)
    save_vocabulary_record(tmp_path, report, table, vocabulary_provenance(options, "0123456789abcdef", 20))
    record = json.loads((tmp_path / "vocabulary.json").read_text(encoding="utf-8"))
    assert record["report"]["tokens_per_word_after"] == report.tokens_per_word_after
    assert record["provenance"]["options"]["size"] == 120
    assert record["provenance"]["bitext_fingerprint"] == "0123456789abcdef"
    loaded = TranslationTable.load(tmp_path / "translations.npz")
    assert loaded.provenance == record["provenance"]
    loaded.check(model.processor.tokenizer, old)
    with pytest.raises(ValueError, match="made with another source tokenizer"):
        loaded.check(model.processor.tokenizer, model.processor.tokenizer)


def test_a_file_that_is_no_table_is_told_by_name(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"x\.npz holds no translation table"):
        TranslationTable.load(tmp_path / "x.npz")


def test_the_tables_columns_can_be_those_of_another_teacher(backbones):
    target, source = (OpticalModel.from_backbone(backbones[f]).processor.tokenizer for f in ("modernbert", "bert"))
    table = translation_table(target, source, HINDI * 5, ENGLISH * 5)
    table.check(target, source)
    assert table.probabilities.shape == (len(target), len(source))


def test_accents_of_the_language_are_kept_and_others_are_stripped_as_before(bert):
    old = OpticalModel.from_backbone(bert).processor.tokenizer
    texts = ["pöytä on täällä"] * 5
    new, _ = extend_tokenizer(old, texts, ["the cat"], 50)
    assert new.tokenize("pöytä") == ["pöytä"]
    assert new.tokenize("cát") == old.tokenize("cát") == ["cat"]
    assert new.unk_token not in new.tokenize("naïve cäfe")


FIXTURES = Path(__file__).resolve().parents[2] / "modeling_optical" / "checkpoints" / "fixtures"


@pytest.mark.parametrize("name", ["stanford", "pylate"])
def test_markers_and_skip_list_of_a_foreign_checkpoint_survive_a_new_vocabulary(name):
    model = load_checkpoint(FIXTURES / name / "checkpoint")
    tokenizer, config = model.processor.tokenizer, model.config
    skipped = set(tokenizer.convert_ids_to_tokens(config.skiplist_token_ids)) - {tokenizer.unk_token}
    adapt_vocabulary(model, ["the cat, the dog."] * 20, ["paka, mbwa."] * 20, VocabularyOptions(size=120))
    new = model.processor.tokenizer
    assert new.get_vocab() != tokenizer.get_vocab()
    kept = set(new.convert_ids_to_tokens(config.skiplist_token_ids))
    assert {".", ","} <= kept
    assert kept <= skipped | {tokenizer.unk_token}
    (row,) = model.processor.tokenize(["paka"], "query")
    assert row["input_ids"][1] == new.convert_tokens_to_ids(config.query_marker) != new.unk_token_id
