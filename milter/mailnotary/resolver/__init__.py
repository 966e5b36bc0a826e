"""DNS as the engines see it: the `Resolver` protocol, its answers, and the resolvers there are."""

from mailnotary.resolver.budget import MessageResolver, Share
from mailnotary.resolver.dns import DnsResolver
from mailnotary.resolver.memo import Memo, NotingResolver
from mailnotary.resolver.types import (
    Answer,
    DnsTempError,
    MxRecord,
    RecordKind,
    Resolver,
    TimedResolver,
    prefetch,
    timed,
)
from mailnotary.resolver.zone import ZoneResolver

__all__ = [
    "Answer",
    "DnsResolver",
    "DnsTempError",
    "Memo",
    "MessageResolver",
    "MxRecord",
    "NotingResolver",
    "RecordKind",
    "Resolver",
    "Share",
    "TimedResolver",
    "ZoneResolver",
    "prefetch",
    "timed",
]
