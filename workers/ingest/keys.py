"""Which keys of a config are known. What is not would be written on, and one day mean something to some library."""

import inspect
from collections.abc import Sequence

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig

from farm.weights.files.configbounds import TITLES
from workers.ingest.configs import Config

_CLASSES = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
# What transformers writes into every config, and what says nothing of the weights.
_GENERAL = frozenset(
    [
        "architectures",
        "chunk_size_feed_forward",
        "dropout",
        "dtype",
        "gradient_checkpointing",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "use_return_dict",
    ]
)
# Those of all schedulers that the samplers are: one is made with the config of another.
_OF_SCHEDULERS = frozenset(
    [
        "algorithm_type",
        "beta_end",
        "beta_schedule",
        "beta_start",
        "clip_sample",
        "clip_sample_range",
        "corrector_order",
        "disable_corrector",
        "dynamic_thresholding_ratio",
        "euler_at_final",
        "final_sigmas_type",
        "flow_shift",
        "interpolation_type",
        "lambda_min_clipped",
        "lower_order_final",
        "noise_sampler_seed",
        "num_train_timesteps",
        "original_inference_steps",
        "predict_x0",
        "prediction_type",
        "predictor_order",
        "rescale_betas_zero_snr",
        "rho",
        "sample_max_value",
        "set_alpha_to_one",
        "shift_terminal",
        "sigma_data",
        "sigma_max",
        "sigma_min",
        "sigma_schedule",
        "skip_prk_steps",
        "solver_order",
        "solver_p",
        "solver_type",
        "steps_offset",
        "tau_func",
        "thresholding",
        "time_shift_type",
        "timestep_scaling",
        "timestep_spacing",
        "timestep_type",
        "trained_betas",
        "use_beta_sigmas",
        "use_dynamic_shifting",
        "use_exponential_sigmas",
        "use_flow_sigmas",
        "use_karras_sigmas",
        "use_lu_lambdas",
        "variance_type",
    ]
)
_MOST_NAMED = 8


def sift(part: str, config: Config) -> tuple[Config, Sequence[str]]:
    """What is known of a part's config, and the keys that are not. Those that say nothing are in neither.

    Underscores mark what diffusers noted about the file, such as a path on the machine that wrote it.
    """
    known = _known(part)
    kept = {key: value for key, value in config.items() if key in known}
    unknown = [key for key in config if key not in known | _GENERAL and not key.startswith("_")]
    return kept, unknown


def _known(part: str) -> frozenset[str]:
    if part == "scheduler":
        return _OF_SCHEDULERS
    parameters = inspect.signature(_CLASSES.get(part, CLIPTextConfig).__init__).parameters.values()
    # Of a text encoder's config these are what is its own, and the others what every model of transformers has.
    kinds = {inspect.Parameter.KEYWORD_ONLY} if part not in _CLASSES else {inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return frozenset(parameter.name for parameter in parameters if parameter.kind in kinds) - {"self"}


def left_out(part: str, unknown: Sequence[str]) -> tuple[str, ...]:
    """A sentence about what was left out of a part's config, if anything was."""
    if not unknown:
        return ()
    named = ", ".join(key[:60] for key in unknown[:_MOST_NAMED])
    more = f" and {len(unknown) - _MOST_NAMED} more" if len(unknown) > _MOST_NAMED else ""
    return (f"The {TITLES[part]}'s config has keys that are not known here, and were left out: {named}{more}.",)
