"""Removes what training programs add to the arrays of a network: dictionaries, prefixes, counters."""

import re
from collections.abc import Mapping

# Keys under which a checkpoint keeps its state dict, in the order of preference.
WRAPPERS = ("state_dict", "model_state_dict", "net_dict", "model", "ema", "weights", "module")
# torch.nn.DataParallel, torch.compile, wrappers of a backbone.
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
# Counters beside the weights: of BatchNorm and of torch.optim.swa_utils.AveragedModel.
COUNTERS = ("num_batches_tracked", "n_averaged")
NECK = "bnneck"  # the norm of this neck; torchreid has no network with it

DEEPEST = 10  # dictionaries within each other
_PREFIX = re.compile(f"(?:{'|'.join(map(re.escape, PREFIXES))})+")


def unwrap(value):
    """Returns the innermost dictionary below the keys of `WRAPPERS`.

    Returns:
        the dictionary, and the keys on the path to it, with those of other candidates: ("model", "not ema").

    Raises:
        ValueError: if the dictionaries are nested too deeply, for example in a dictionary that holds itself.
    """
    keys = []
    for _ in range(DEEPEST):
        inner = [key for key in WRAPPERS if isinstance(value, Mapping) and isinstance(value.get(key), Mapping)]
        if not inner:
            return value, tuple(keys)
        keys += [inner[0], *(f"not {key}" for key in inner[1:])]
        value = value[inner[0]]
    raise ValueError(f"its dictionaries are nested more than {DEEPEST} deep")


def strip(arrays):
    """Removes the prefixes of names, and the counters.

    Args:
        arrays: mapping from name to array.

    Returns:
        the mapping with plain names, and the removed prefixes, with "n_averaged" if this counter was removed.

    Raises:
        ValueError: if two names become equal.
    """
    plain, stripped = {}, {}
    for name, array in arrays.items():
        prefix = _PREFIX.match(name)
        bare = name[prefix.end() :] if prefix else name
        if prefix:
            stripped[prefix[0]] = None
        if bare.rpartition(".")[2] in COUNTERS:
            if not bare.endswith(COUNTERS[0]):
                stripped[bare] = None
        elif bare in plain:
            raise ValueError(f"it names the tensor {bare[:80]!r} twice, with other prefixes")
        else:
            plain[bare] = array
    return plain, tuple(stripped)
