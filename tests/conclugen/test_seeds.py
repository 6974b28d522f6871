import hashlib
import os
import subprocess
import sys
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from conclugen.seeds import derive_seed

_identities = st.lists(st.text(max_size=8) | st.integers(), max_size=4)


@settings(deadline=None)
@given(_identities)
def test_a_seed_has_31_bits(identity: list[str | int]) -> None:
    assert 0 <= derive_seed(*identity) < 2**31


def test_all_31_bits_are_used() -> None:
    seeds = [derive_seed("bits", number) for number in range(200)]
    assert max(seeds) >= 2**30
    assert {bit for seed in seeds for bit in range(31) if seed >> bit & 1} == set(range(31))


@settings(deadline=None)
@given(_identities)
def test_the_formula_never_changes(identity: list[str | int]) -> None:
    """A resumed sweep has to draw the same numbers again.

    The seed is the upper 31 of the first 32 bits of the SHA-256 of the parts, joined by the unit separator.
    """
    digest = hashlib.sha256(chr(31).join(str(part) for part in identity).encode()).hexdigest()
    assert derive_seed(*identity) == int(digest[:8], 16) // 2


def test_seeds_are_the_same_in_every_process() -> None:
    """Python salts ``hash`` differently in each process; seeds do not depend on it."""
    program = "from conclugen.seeds import derive_seed; print(derive_seed('sweep', 'ConClu', 3))"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
        for salt in ("1", "2")
    }
    assert outputs == {f"{derive_seed('sweep', 'ConClu', 3)}\n"}


def test_distinct_identities_have_distinct_seeds() -> None:
    identities = list(product(("epoch", "step", "probe"), range(20), range(30)))
    assert len({derive_seed(*identity) for identity in identities}) == len(identities)


def test_the_division_and_order_of_the_parts_count() -> None:
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert derive_seed(1, 2) != derive_seed(2, 1)
    assert derive_seed(12) != derive_seed(1, 2)
