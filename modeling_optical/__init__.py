"""Late-interaction retrievers and their students in other languages. Importing registers them with transformers."""

from transformers import AutoConfig, AutoModel, AutoModelForMultipleChoice, AutoProcessor

from .checkpoints import load_checkpoint
from .checkpoints.adapters import register_targets
from .configuration_optical import OpticalConfig
from .late_interaction import maxsim, maxsim_pairwise, search
from .modeling_optical import OpticalForDistillation, OpticalModel, OpticalModelOutput, OpticalPreTrainedModel
from .multiple_choice import OpticalForMultipleChoice
from .processing_optical import OpticalProcessor
from .retriever import OpticalRetriever
from .transport import TransportPlan, cosine_cost, position_cost, solve_transport, transport_cost, transport_loss
from .transport_options import TransportOptions

__version__ = "0.1.0"

AutoConfig.register("optical", OpticalConfig, exist_ok=True)
AutoModel.register(OpticalConfig, OpticalModel, exist_ok=True)
AutoModelForMultipleChoice.register(OpticalConfig, OpticalForMultipleChoice, exist_ok=True)
AutoProcessor.register(OpticalConfig, OpticalProcessor, exist_ok=True)
# So that `save_pretrained` copies the code beside the weights, for `trust_remote_code=True` without this package.
OpticalConfig.register_for_auto_class()
OpticalModel.register_for_auto_class("AutoModel")
OpticalForDistillation.register_for_auto_class("AutoModel")
OpticalForMultipleChoice.register_for_auto_class("AutoModelForMultipleChoice")
OpticalProcessor.register_for_auto_class("AutoProcessor")
register_targets(OpticalConfig.model_type)

__all__ = [
    "OpticalConfig",
    "OpticalForDistillation",
    "OpticalForMultipleChoice",
    "OpticalModel",
    "OpticalModelOutput",
    "OpticalPreTrainedModel",
    "OpticalProcessor",
    "OpticalRetriever",
    "TransportOptions",
    "TransportPlan",
    "cosine_cost",
    "load_checkpoint",
    "maxsim",
    "maxsim_pairwise",
    "position_cost",
    "search",
    "solve_transport",
    "transport_cost",
    "transport_loss",
]
