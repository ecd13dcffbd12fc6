"""The attention of a training on a CPU."""

import pytest

from modeling_optical import load_checkpoint
from trainer import LabelledDataset, OpticalTrainer, OpticalTrainingArguments, RetrievalTrainer, RetrievalTrainingArguments


@pytest.fixture
def seen(student, teacher, bitext, tmp_path):
    """Trains with a precision and tells which attention ran, and which the model has afterwards."""

    def train(max_length=24, train_dataset=bitext, **values):
        student.set_attn_implementation("sdpa")
        args = OpticalTrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, max_steps=1, report_to="none", save_strategy="no", **values
        )
        trainer = OpticalTrainer(model=student, args=args, teacher=teacher, train_dataset=train_dataset, max_length=max_length)
        found = []
        hook = student.register_forward_pre_hook(
            lambda module, _: found.append((module.config._attn_implementation, module.backbone.config._attn_implementation))
        )
        trainer.train()
        hook.remove()
        return found, student.config._attn_implementation, student.backbone.config._attn_implementation

    return train


def test_bf16_on_a_cpu_trains_with_eager_attention_and_gives_the_models_own_back(seen):
    assert seen(bf16=True) == ([("eager", "eager")], "sdpa", "sdpa")


def test_fp32_trains_with_the_models_own_attention(seen):
    assert seen() == ([("sdpa", "sdpa")], "sdpa", "sdpa")


def test_document_like_texts_count_with_their_own_length(seen, student, bitext):
    assert student.config.document_length > 128
    student.processor.tokenizer.model_max_length = student.config.backbone_config.max_position_embeddings = 1000
    queries = bitext.add_column("kind", ["query"] * len(bitext))
    assert seen(train_dataset=queries, bf16=True) == ([("eager", "eager")], "sdpa", "sdpa")
    both = bitext.add_column("kind", ["query", "document"] * (len(bitext) // 2))
    assert seen(train_dataset=both, bf16=True) == ([("sdpa", "sdpa")], "sdpa", "sdpa")


def test_long_texts_train_with_the_models_own_attention(seen, student):
    student.processor.tokenizer.model_max_length = student.config.backbone_config.max_position_embeddings = 1000
    assert seen(bf16=True, max_length=500) == ([("sdpa", "sdpa")], "sdpa", "sdpa")


@pytest.mark.parametrize(("longest", "frozen", "expected"), [(24, False, "eager"), (500, False, "sdpa"), (500, True, "eager")])
def test_a_retriever_trains_with_the_attention_for_the_longest_text_that_it_encodes(bert, tmp_path, longest, frozen, expected):
    model = load_checkpoint(bert, embedding_dim=8, query_length=16, document_length=longest, attn_implementation="sdpa")
    model.processor.tokenizer.model_max_length = model.config.backbone_config.max_position_embeddings = 1000
    model.config.max_position_embeddings = 1000
    args = RetrievalTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, max_steps=1, report_to="none", save_strategy="no", bf16=True
    )
    rows = LabelledDataset.from_list([{"query": "the cat", "passages": ["the cat sat", "a dog"]}] * 4)
    documents = load_checkpoint(bert, embedding_dim=8) if frozen else None
    trainer = RetrievalTrainer(model=model, args=args, train_dataset=rows, document_encoder=documents)
    found = []
    model.register_forward_pre_hook(lambda module, _: found.append(module.config._attn_implementation))
    trainer.train()
    assert set(found) == {expected}
    assert model.config._attn_implementation == "sdpa"
