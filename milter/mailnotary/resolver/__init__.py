"""DNS as the engines see it: the `Resolver` protocol, its answers, and the two resolvers there are."""

from mailnotary.resolver.types import Answer, DnsTempError, MxRecord, RecordKind, Resolver, prefetch
from mailnotary.resolver.zone import ZoneResolver

__all__ = ["Answer", "DnsTempError", "MxRecord", "RecordKind", "Resolver", "ZoneResolver", "prefetch"]
