"""How long the demo checkpoint is trained, and on what."""

from dataclasses import dataclass

from workers.demo.drawing import Size


@dataclass(frozen=True)
class VaePhase:
    """So many steps with so many pieces of `side` pixels, of scenes drawn at `drawn` pixels."""

    steps: int
    images: int
    side: int
    drawn: int


@dataclass(frozen=True)
class Bucket:
    """Pictures of one size: how many a step takes, and how often such a step comes, relative to others."""

    size: Size
    images: int
    share: float = 1.0


@dataclass(frozen=True)
class DenoiserPhase:
    """So many steps. `offset` is the deviation of what is added to a whole channel's noise.

    With ordinary noise the mean of a picture shines through the deepest one, so that what a caption says of
    the background teaches little, and has no effect when a picture begins as noise without that mean
    (Guttenberg, "Diffusion with offset noise", 2023).
    """

    steps: int
    buckets: tuple[Bucket, ...]
    offset: float = 0.0


@dataclass(frozen=True)
class TrainingPlan:
    """How long to train and on what; rates are AdamW's, at their highest. `pool` is how many scenes, by size."""

    vae: tuple[VaePhase, ...]
    pool: tuple[tuple[Size, int], ...]
    phases: tuple[DenoiserPhase, ...]
    decoder: tuple[VaePhase, ...]
    vae_rate: float = 1.5e-3
    decoder_rate: float = 6e-4
    kl_weight: float = 1e-4
    rate: float = 1e-3
    average: float = 0.999
    unprompted: float = 0.1
    save_every: int = 500


_SMALL, _SQUARE, _WIDE, _TALL = (128, 128), (256, 256), (320, 192), (192, 320)


def _mixed(small: float, square: float) -> tuple[Bucket, ...]:
    """The checkpoint's own size, and larger ones, which a second pass and outpainting come to."""
    rest = (1 - small - square) / 2
    return Bucket(_SQUARE, 16, square), Bucket(_SMALL, 32, small), Bucket(_WIDE, 16, rest), Bucket(_TALL, 16, rest)


PLAN = TrainingPlan(
    vae=(VaePhase(3000, 16, 64, 128), VaePhase(1400, 8, 128, 128), VaePhase(400, 8, 128, 256)),
    pool=((_SMALL, 40_000), (_SQUARE, 14_000), (_WIDE, 2_500), (_TALL, 2_500)),
    phases=(
        DenoiserPhase(2500, (Bucket(_SMALL, 32),)),
        DenoiserPhase(2000, (Bucket(_SMALL, 32),), offset=0.1),
        DenoiserPhase(1000, _mixed(small=0.1, square=0.7), offset=0.1),
        DenoiserPhase(2800, _mixed(small=0.8, square=0.12), offset=0.1),
    ),
    decoder=(VaePhase(500, 12, 128, 128),),
)
