"""The load generator's pool: event s holds the images (s * batch_size + i) % pool, whichever segment it is in."""

import numpy as np
import pytest
from generated_events import header_of
from hypothesis import given
from hypothesis import strategies as st

from crayfish.harness.producer import event_bodies
from crayfish.spec.events import Binary


@given(pool_size=st.integers(1, 40), batch_size=st.integers(1, 100), sequence=st.integers(0, 10_000))
def test_bodies_cycle_with_the_sequence(pool_size, batch_size, sequence):
    codec = Binary((2,), 3)
    pool = np.arange(2 * pool_size, dtype=np.float32).reshape(pool_size, 2)
    bodies = event_bodies(codec, pool, batch_size)
    event = codec.stamp(bodies[sequence % len(bodies)], batch_size, sequence, due_ns=0)
    expected = pool[(sequence * batch_size + np.arange(batch_size)) % pool_size]
    assert np.array_equal(codec.decode(event), expected)
    assert header_of(codec, event).sequence == sequence


def test_a_pool_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="shape"):
        event_bodies(Binary((3,), 1), np.zeros((4, 2), np.float32), 1)
