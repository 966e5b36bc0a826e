"""mailnotary: SPF, DKIM, DMARC, signing and Authentication-Results in one milter."""

__version__ = "0.1.0"
