"""The JSON Web Token (RFC 7519) that clients send where a row asks for one, and the key that signs it: HS256."""

import base64
import hashlib
import hmac
import json

KEY = "3c5e0b7a94d1f82660aeb17c2d9f4e83"
ISSUER = "https://id.example"
AUDIENCE = "api"
FAR_AWAY_S = 4102444800  # the year 2100


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header, claims):
    text = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    return text + "." + base64url(hmac.digest(KEY.encode(), text.encode(), hashlib.sha256))


TOKEN = signed({"alg": "HS256", "typ": "JWT"}, {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": FAR_AWAY_S})
# What the configuration templates name.
VALUES = {"KEY": KEY, "KEY_BASE64": base64url(KEY.encode()), "ISSUER": ISSUER, "AUDIENCE": AUDIENCE}
