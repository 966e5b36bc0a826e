"""Which macros depend on the sender, and domain-specs in which all others are filled in already: most records with
macros are asked about by the same clients again and again, each time for another sender."""

from mailnotary.remember import Remembered
from mailnotary.spf.client_address import ClientAddress
from mailnotary.spf.macro import MacroString, Values

# Macros whose values are the same for each sender of a domain, and from each HELO name; for "p", as long as DNS has the
# same answers.
_SHARED = frozenset("divp")
_FILLED = frozenset("div")

_filled: Remembered[tuple[MacroString, ClientAddress, str], MacroString] = Remembered(1024 * 1024)


def is_personal(spec: MacroString) -> bool:
    """Whether what a domain-spec expands to depends on the sender or the HELO name."""
    return not spec.letters <= _SHARED


def for_client(spec: MacroString, client: ClientAddress, domain: str, values: Values) -> MacroString:
    """The domain-spec of a record of this domain with what `values` gives for its macros d, i and v, which are those of
    this client and domain."""
    key = spec, client, domain
    filled = _filled.get(key)
    if filled is None:
        filled = spec.filled_in(_FILLED, values)
        _filled.keep(key, filled, 1000 + 200 * len(spec.parts) + 3 * len(spec.text))
    return filled
