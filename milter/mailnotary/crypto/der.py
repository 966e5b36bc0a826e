"""DER (X.690), as much of it as keys need. One small reader, so that both backends take and refuse the same keys."""

from mailnotary.crypto.keys import KeyLoadError

RSA_OID = bytes.fromhex("2a864886f70d010101")  # rsaEncryption (RFC 8017 appendix A.1)
ED25519_OID = bytes.fromhex("2b6570")  # id-Ed25519 (RFC 8410 section 3)
RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")  # AlgorithmIdentifier {rsaEncryption, NULL}
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # the prefix of a SHA-256 hash (RFC 8017 9.2)
INTEGER, BIT_STRING, OCTET_STRING, OID, SEQUENCE = 0x02, 0x03, 0x04, 0x06, 0x30


class DerError(KeyLoadError):
    """The octets are not the DER that was expected."""

    def __init__(self) -> None:
        super().__init__("key is not valid DER")


class DerReader:
    """Reads values one after the other; raises DerError."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def next_is(self, tag: int) -> bool:
        """Whether the next value has this tag."""
        return self._position < len(self._data) and self._data[self._position] == tag

    def read_octets(self, tag: int) -> bytes:
        """The contents of the next value, which must have this tag."""
        data, start = self._data, self._position + 2
        if start > len(data) or data[start - 2] != tag:
            raise DerError
        length = data[start - 1]
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[start : start + size], "big")
            # The long form is for lengths that need it, in as few octets as hold them (X.690 10.1).
            if not 1 <= size <= 4 or length < 0x80 or length.bit_length() <= 8 * (size - 1):
                raise DerError
            start += size
        self._position = start + length
        if self._position > len(data):
            raise DerError
        return data[start : self._position]

    def read(self, tag: int) -> "DerReader":
        """A reader of the contents of the next value, which must have this tag."""
        return DerReader(self.read_octets(tag))

    def only(self, tag: int) -> "DerReader":
        """The contents of the one value that the data is."""
        inner = self.read(tag)
        self.end()
        return inner

    def read_integer(self) -> int:
        """A number that is not negative."""
        octets = self.read_octets(INTEGER)
        if not octets or octets[0] & 0x80:
            raise DerError
        return int.from_bytes(octets, "big")

    def end(self) -> None:
        """Raises DerError where anything is left."""
        if self._position != len(self._data):
            raise DerError


def kind(der: bytes) -> str:
    """What some octets are by their structure: "pkcs1", "pkcs8", "pkcs12", "ec", "encrypted", "public", "certificate",
    or "" if they are none of these or not complete."""
    try:
        body = DerReader(der).only(SEQUENCE)
        if body.next_is(INTEGER):
            version = body.read_integer()
            if body.next_is(INTEGER):
                return "pkcs1"  # RFC 8017 appendix A.1.2
            if body.next_is(OCTET_STRING):
                return "ec"  # RFC 5915 section 3
            inner = body.read(SEQUENCE)
            if version == 3:  # RFC 7292 section 4
                return "pkcs12"
            inner.read_octets(OID)
            return "pkcs8"  # RFC 5958 section 2
        inner = body.read(SEQUENCE)
        if not inner.next_is(OID):
            return "certificate"  # RFC 5280 section 4.1
        if body.next_is(OCTET_STRING):
            return "encrypted"  # RFC 5958 section 3
        return "public" if body.next_is(BIT_STRING) else ""  # RFC 5280 section 4.1
    except DerError:
        return ""


def missing_octets(der: bytes) -> int:
    """How many octets a DER value has fewer than its length says."""
    if len(der) < 2 or der[0] != SEQUENCE:
        return 0
    size = der[1] & 0x7F if der[1] & 0x80 else 0
    length = int.from_bytes(der[2 : 2 + size], "big") if size else der[1]
    return max(2 + size + length - len(der), 0) if size <= 4 else 0


def encode(tag: int, contents: bytes) -> bytes:
    """One value."""
    length = len(contents)
    if length < 0x80:
        return bytes([tag, length]) + contents
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + contents


def encode_integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_public_info(modulus: int, exponent: int) -> bytes:
    """SubjectPublicKeyInfo of an RSA key."""
    key = encode(SEQUENCE, encode_integer(modulus) + encode_integer(exponent))
    return encode(SEQUENCE, RSA_ALGORITHM + encode(BIT_STRING, b"\0" + key))
