"""A tiny distillation that a launcher starts on the CPUs: BACKBONE OUTPUT. Trains, evaluates, encodes, saves."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor

from modeling_optical import OpticalForDistillation, OpticalModel
from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher

PAIRS = [{"source": source, "target": source[::-1]} for source in ("cat mat", "dog", "search works", "good teacher") * 2]


def shard_on_cpus() -> None:
    """accelerate shards on GPUs only. Here it takes CPUs for them: the code that shards is the same."""
    begin, collect = AcceleratorState.__init__, Accelerator.get_state_dict

    def begin_sharded(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin

    def collect_whole(self: Any, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        # On GPUs these are whole tensors already.
        values = collect(self, *args, **kwargs)
        return {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in values.items()}

    AcceleratorState.__init__, Accelerator.get_state_dict = begin_sharded, collect_whole


def main(backbone: str, output: str) -> None:
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        shard_on_cpus()
    args = OpticalTrainingArguments(
        output, use_cpu=True, max_steps=2, warmup_steps=0, learning_rate=0.01, per_device_train_batch_size=2,
        report_to="none", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    torch.manual_seed(1)
    teacher = Teacher(OpticalModel.from_backbone(backbone, embedding_dim=8), 24)
    torch.manual_seed(2)
    student = OpticalForDistillation.from_backbone(backbone, embedding_dim=8, document_length=24)
    trainer = OpticalTrainer(student, args, teacher=teacher, train_dataset=PAIRS, eval_dataset=PAIRS)
    trainer.train()
    metrics = trainer.evaluate()
    vectors = trainer.trained.encode_query("tac tam")
    trainer.save_model(f"{output}/saved")
    if args.process_index == 0:
        found = {"vectors": vectors.tolist(), "metrics": metrics, "class": type(trainer.model).__name__}
        Path(output, "found.json").write_text(json.dumps(found))
    trainer.end()


if __name__ == "__main__":
    main(*sys.argv[1:])
