"""The networks of the family: OSNet, its two descendants with instance norm, the paper's Table 5 and footnote 2."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """What sets one network apart. Blocks are counted from 0 within their stage (2 = conv2, 3 = conv3, 4 = conv4)."""

    title: str
    exponents: tuple[int, ...] = (1, 2, 3, 4)
    convolution: str = "lite"
    fusion: str = "unified_gate"
    stem_norm: str = "batch"
    instance_norm: str | None = None
    instance_norm_blocks: tuple[tuple[int, int], ...] = ()
    table5_model: int | None = None


VARIANTS = {
    "osnet": Variant("T = 4 + unified AG (primary model)", table5_model=1),
    "osnet_ibn": Variant(
        "instance norm in the stem and after the additions of conv2",
        stem_norm="instance",
        instance_norm="output",
        instance_norm_blocks=((2, 0), (2, 1)),
    ),
    "osnet_ain": Variant(
        "instance norm in the stem and in the residuals that a search chose",
        stem_norm="instance",
        instance_norm="residual",
        instance_norm_blocks=((2, 0), (2, 1), (3, 1), (4, 0)),
    ),
    "osnet_full_conv": Variant("T = 4 w/ full conv + unified AG", convolution="full", table5_model=2),
    "osnet_same_depth": Variant("T = 4 (same depth) + unified AG", exponents=(4, 4, 4, 4), table5_model=3),
    "osnet_concat": Variant("T = 4 + concatenation", fusion="concatenation", table5_model=4),
    "osnet_add": Variant("T = 4 + addition", fusion="addition", table5_model=5),
    "osnet_separate_gates": Variant("T = 4 + separate AGs", fusion="separate_gates", table5_model=6),
    "osnet_streamwise_gate": Variant("T = 4 + unified AG (stream-wise)", fusion="streamwise_gate", table5_model=7),
    "osnet_fixed_gate": Variant("T = 4 + learned-and-fixed gates", fusion="fixed_gate", table5_model=8),
    "osnet_t1": Variant("T = 1", exponents=(1,), fusion="none", table5_model=9),
    "osnet_t2": Variant("T = 2 + unified AG", exponents=(1, 2), table5_model=10),
    "osnet_t3": Variant("T = 3 + unified AG", exponents=(1, 2, 3), table5_model=11),
    "osnet_depthwise_first": Variant("T = 4 + unified AG, depthwise before pointwise", convolution="depthwise_first"),
}
