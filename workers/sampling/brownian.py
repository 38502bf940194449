"""The noise of DPM++ SDE: drawn on the CPU, on whatever device the pipeline is."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.schedulers.scheduling_dpmsolver_sde import BrownianTreeNoiseSampler


@dataclass(frozen=True)
class BrownianNoise:
    """Stands in for the noise sampler that `DPMSolverSDEScheduler` would make at its first step.

    That one draws where the latents are: on a GPU from the GPU's own generator, so that a seed would mean one
    picture there and another on the CPU, as with no other sampler.
    """

    tree: Any
    like: torch.Tensor

    @classmethod
    def of(cls, scheduler: Any, latents: torch.Tensor) -> "BrownianNoise":
        """The noise of one pass over latents (images, 4, height, width), by the scheduler's seed for each image."""
        sigmas = scheduler.sigmas[scheduler.sigmas > 0]
        on_cpu = torch.zeros(latents.shape, dtype=torch.float32)
        tree = BrownianTreeNoiseSampler(
            on_cpu, sigmas.min().item(), sigmas.max().item(), scheduler.noise_sampler_seed
        )
        return cls(tree, latents[:0])

    def __call__(self, sigma: torch.Tensor, sigma_next: torch.Tensor) -> torch.Tensor:
        noise: torch.Tensor = self.tree(sigma, sigma_next)
        return noise.to(self.like)
