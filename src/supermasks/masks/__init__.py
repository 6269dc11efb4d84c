"""Binary masks: made from scores, within a budget; stored, compared and combined."""

from supermasks.masks.annealed import Annealed
from supermasks.masks.bit_index import BitIndex
from supermasks.masks.budgets import ER, ERK, Budget, Uniform
from supermasks.masks.coding import decode_mask, encode_mask, is_relative
from supermasks.masks.drop import Drop
from supermasks.masks.groups import Blocks, Groups, Inputs, Neurons
from supermasks.masks.mask import Mask
from supermasks.masks.overlap import sparse_overlap, total_overlap
from supermasks.masks.packing import count_bits, pack_bits, unpack_bits
from supermasks.masks.products import listed_products, mask_products
from supermasks.masks.rules import MaskRule, Threshold, TopK

__all__ = [
    "ER",
    "ERK",
    "Annealed",
    "BitIndex",
    "Blocks",
    "Budget",
    "Drop",
    "Groups",
    "Inputs",
    "Mask",
    "MaskRule",
    "Neurons",
    "Threshold",
    "TopK",
    "Uniform",
    "count_bits",
    "decode_mask",
    "encode_mask",
    "is_relative",
    "listed_products",
    "mask_products",
    "pack_bits",
    "sparse_overlap",
    "total_overlap",
    "unpack_bits",
]
