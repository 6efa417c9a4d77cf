"""P x K batches: what each batch holds, who has a turn when, and what follows from seed and epoch."""

from collections import Counter

import numpy as np
import pytest

from keras_osnet.data.sampling import identity_batches, short_identities

# Seven identities of 2 to 9 images, mixed; labels need not be 0 .. 6.
COUNTS = {3: 2, 10: 9, 11: 4, 20: 5, 21: 6, 40: 4, 55: 7}
LABELS = np.random.default_rng(0).permutation(np.repeat(list(COUNTS), list(COUNTS.values())))


def batches(steps=12, images=4, batch_size=12, seed=1, epoch=0):
    order = identity_batches(
        LABELS, batch_size=batch_size, images_per_identity=images, steps=steps, seed=seed, epoch=epoch
    )
    assert (order.shape, order.dtype) == ((steps * batch_size,), np.int32)
    return order.reshape(steps, batch_size)


@pytest.mark.parametrize(("images", "batch_size"), [(4, 12), (2, 14), (3, 6), (5, 10)])
def test_each_batch_holds_p_identities_with_k_images_each(images, batch_size):
    for batch in batches(images=images, batch_size=batch_size):
        assert Counter(Counter(LABELS[batch]).values()) == {images: batch_size // images}


def test_an_image_stands_once_in_a_batch_unless_its_identity_has_too_few():
    for batch in batches(steps=40):
        repeated = {LABELS[sample] for sample, times in Counter(batch).items() if times > 1}
        assert repeated <= {3}


def test_an_identity_with_too_few_images_shows_all_it_has():
    groups = [batch[LABELS[batch] == 3] for batch in batches(steps=20)]
    groups = [Counter(group.tolist()) for group in groups if len(group)]
    assert len(groups) > 5
    assert all(sorted(group.values()) == [2, 2] for group in groups)


def test_all_identities_have_a_turn_before_one_has_two_more():
    for epoch in range(5):
        rounds = batches(steps=6, epoch=epoch).reshape(3, 24)  # 6 of the 7 identities in a round of 2 batches
        for group in rounds:
            assert len(set(LABELS[group])) == 6


def test_an_identity_goes_through_all_its_images_before_it_repeats_one():
    shown = np.concatenate([batch[LABELS[batch] == 40] for batch in batches(steps=40)])
    for turn in shown.reshape(-1, 4):
        assert len(set(turn)) == 4
    long = np.concatenate([batch[LABELS[batch] == 10] for batch in batches(steps=40)])
    for first, second in zip(long.reshape(-1, 4)[::2], long.reshape(-1, 4)[1::2], strict=False):
        assert not set(first) & set(second)


def test_the_order_follows_from_seed_and_epoch_alone():
    assert (batches() == batches()).all()
    assert (batches() != batches(epoch=1)).any()
    assert (batches() != batches(seed=2)).any()


def test_identities_with_too_few_images_are_counted():
    assert [short_identities(LABELS, images) for images in (2, 3, 5, 10)] == [0, 1, 3, 7]


@pytest.mark.parametrize(
    ("images", "batch_size", "message"),
    [
        (1, 12, "`images_per_identity` must be at least 2"),
        (5, 12, "divide the batch size 12"),
        (4, 32, "`batch_size` must hold 2 to 7 identities .* which holds 8"),
        (4, 4, "which holds 1"),
    ],
)
def test_a_batch_that_cannot_be_filled_is_refused(images, batch_size, message):
    with pytest.raises(ValueError, match=message):
        batches(images=images, batch_size=batch_size)


def test_a_seed_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"`seed` must be a whole number of at least 0\. Received: seed=-1"):
        identity_batches(np.repeat(range(10), 4), batch_size=8, images_per_identity=4, steps=1, seed=-1, epoch=0)


def test_fewer_images_than_a_batch_are_refused_in_words():
    with pytest.raises(ValueError, match="`batch_size` must not exceed the number of training images"):
        identity_batches(np.repeat(range(10), 2), batch_size=32, images_per_identity=4, steps=0, seed=0, epoch=0)
