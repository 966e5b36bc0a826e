"""DNS as the engines see it: the `Resolver` protocol, its answers, and what stands between an engine and a resolver.
`resolver.dns`, which asks name servers, is imported by itself: who reads a zone file does not wait for dnspython."""

from mailnotary.resolver.budget import MessageResolver, Share
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
