"""What training programs put around names."""

from itertools import permutations, product

import pytest

from keras_osnet.weights.names import PREFIXES, WRAPPERS, strip, unwrap


@pytest.mark.parametrize("prefixes", [*permutations(PREFIXES, 2), *permutations(PREFIXES, 3), ("module.",) * 3])
def test_prefixes_are_taken_off_in_any_order_and_depth(prefixes):
    prefix = "".join(prefixes)
    assert strip({f"{prefix}conv1.conv.weight": 1, "classifier.bias": 2}) == (
        {"conv1.conv.weight": 1, "classifier.bias": 2},
        (prefix,),
    )


def test_counters_are_left_out():
    arrays = {"module.conv1.bn.num_batches_tracked": 1, "n_averaged": 2, "module.conv1.bn.bias": 3}
    assert strip(arrays) == ({"conv1.bn.bias": 3}, ("module.", "n_averaged"))


def test_two_names_that_become_one_are_an_error():
    with pytest.raises(ValueError, match=r"'fc\.weight' twice"):
        strip({"module.fc.weight": 1, "model.fc.weight": 2})


@pytest.mark.parametrize("keys", [*product(WRAPPERS), *permutations(WRAPPERS, 2), *permutations(WRAPPERS[:5], 3)])
def test_dictionaries_are_unwrapped_at_any_depth(keys):
    value = state = {"conv1.conv.weight": 1}
    for key in reversed(keys):
        value = {"epoch": 3, key: value, "optimizer": {"state": {}}}
    assert unwrap(value) == (state, keys)


def test_of_several_state_dicts_the_first_is_taken_and_the_others_named():
    state = {"a": 1}
    assert unwrap({"ema": {"a": 2}, "model": {"state_dict": state}}) == (state, ("model", "not ema", "state_dict"))


def test_a_dictionary_that_holds_itself_is_an_error():
    value = {}
    value["model"] = value
    with pytest.raises(ValueError, match="nested more than 10 deep"):
        unwrap(value)
