"""Checks out, renews and releases with a client that was generated from the server's OpenAPI document.

    check.py URL VERIFIER_KEY FEATURE

FEATURE has one seat. What is shown is that the generated types say what the server answered. Trust is not: a program that sells seats verifies
the server and its grants as docs/protocol.md says.
"""

import base64
import hashlib
import os
import sys

from generated import Client
from generated.api.default import checkout, release, renew, trust
from generated.models import (
    CheckoutAnswerDenied,
    CheckoutAnswerGranted,
    CheckoutRequest,
    HolderClaim,
    Item,
    Problem,
    ReleaseAnswer,
    RenewAnswerRenewed,
    RenewRequest,
    SecretRequest,
    TrustRequest,
)


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def lease_of(secret):
    return hashlib.sha256(b"triquest-lm/v1/lease-id\n" + secret).hexdigest()[:32]


def main():
    url, verifier, feature = sys.argv[1:]
    # name+id+base64(0x01 and the key); base64 has plus signs of its own.
    key = text(base64.b64decode(verifier.split("+", 2)[2])[1:])
    # The certificate is the server's own: nobody else vouches for it.
    client = Client(base_url=url, verify_ssl=False)

    refused = trust.sync(client=client, body=TrustRequest(nonce=text(os.urandom(32)), tls_spki=text(bytes(32)), vendor_keys=[key]))
    assert isinstance(refused, Problem) and refused.code == "misdirected", refused

    def ask(secret):
        return CheckoutRequest(
            secret=text(secret),
            attempt=1,
            nonce=text(os.urandom(32)),
            vendor_keys=[key],
            items=[Item(feature=feature, seats=1)],
            holder=HolderClaim(user="python", process=str(os.getpid())),
        )

    secret = os.urandom(32)
    granted = checkout.sync(client=client, body=ask(secret))
    assert isinstance(granted, CheckoutAnswerGranted), granted
    assert granted.remaining_ms > 0 and granted.position.index > 0 and granted.signature, granted

    denied = checkout.sync(client=client, body=ask(os.urandom(32)))
    assert isinstance(denied, CheckoutAnswerDenied), denied
    assert denied.denial.code == "no_seat_free" and denied.denial.pool.used == 1, denied

    renewed = renew.sync(lease_of(secret), client=client, body=RenewRequest(secret=text(secret), nonce=text(os.urandom(16)), counter=1))
    assert isinstance(renewed, RenewAnswerRenewed) and renewed.counter == 1, renewed

    released = release.sync(lease_of(secret), client=client, body=SecretRequest(secret=text(secret)))
    assert isinstance(released, ReleaseAnswer), released
    print("python: checked out, denied, renewed, released")


main()
