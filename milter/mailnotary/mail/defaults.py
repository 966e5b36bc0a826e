"""The header fields that a signature covers where nothing else is said. They stand here, so that the settings can be
read without the engines."""

DEFAULT_HEADERS = (
    "From",
    "Sender",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "To",
    "Cc",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
    "Content-ID",
    "Content-Description",
    "Resent-Date",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Message-ID",
    "In-Reply-To",
    "References",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
)
"""Signed where present, every field of the name. RFC 6376 5.4.1's list, the MIME fields (5.4: "highly advised"), what
RFC 8058 section 4 demands for one-click unsubscription, Sender and Message-ID; as OpenDKIM and rspamd sign. No
trace fields, no Comments and Keywords (5.4.1), nothing that is added or changed on the way."""

DEFAULT_OVERSIGN = (
    "From",
    "Reply-To",
    "Subject",
    "Date",
    "To",
    "Cc",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
)
