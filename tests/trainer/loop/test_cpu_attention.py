"""The attention of a training on a CPU."""

import pytest

from trainer import OpticalTrainer, OpticalTrainingArguments


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
