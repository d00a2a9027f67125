"""Whether a proxy does what its row says: policies that do not act, or act where they should not, are cheap."""

import http.client

import jwt
import programs

SESSION = "session=5f1c8a62e0b94d7c"
# What the clients of the header policy send, so that it has something to do, and what those of all policies send.
SCRIPT_HEADERS = ("X-Api-Version: 2", f"Cookie: {SESSION}")
POLICY_HEADERS = (*SCRIPT_HEADERS, f"Authorization: Bearer {jwt.TOKEN}")
# The first segment of a row's path: the policies that act there.
POLICIES = {
    "plain": (),
    "jwt": ("jwt",),
    "limit": ("limit",),
    "script": ("script",),
    "all": ("jwt", "limit", "script"),
}


def check(proxy, path, headers):
    """Asks on a row's path, `echo` in place of its end; a Failure if an answer is not what it should be."""
    part = path.split("/")[1]
    if part not in POLICIES:
        return
    path = f"/{part}/echo"
    status, fields, body = ask(proxy, path, headers)
    expect(proxy, path, "status", status, 200)
    expect_edits(proxy, path, fields, body, "script" in POLICIES[part])
    expect(proxy, path, "X-RateLimit-Limit is there", "x-ratelimit-limit" in fields, "limit" in POLICIES[part])
    refused = 401 if "jwt" in POLICIES[part] else 200
    expect(proxy, path, "status without a token", ask(proxy, path, SCRIPT_HEADERS)[0], refused)
    forged = (*SCRIPT_HEADERS, f"Authorization: Bearer {jwt.TOKEN[:-8]}AAAAAAAA")
    expect(proxy, path, "status with a forged token", ask(proxy, path, forged)[0], refused)


def expect_edits(proxy, path, fields, body, script):
    """The header edits, all of them or none: what the origin received is in the body, the rest in the head."""
    received = "x-tenant=acme x-edge=2 cookie=" if script else f"x-tenant= x-edge= cookie={SESSION}"
    expect(proxy, path, "what the origin received", body, received)
    expect(proxy, path, "X-Served-By", fields["x-served-by"], "edge" if script else None)
    expect(proxy, path, "Server is there", "server" in fields, not script)


def expect(proxy, path, what, got, wanted):
    if got != wanted:
        raise programs.Failure(f"{proxy.name} does not do on {path} what its row says\n"
                               f"{what}: {got!r}, where {wanted!r} is right")


def ask(proxy, path, headers):
    """Status, fields and body of the answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)
    try:
        connection.request("GET", path, headers=dict(header.split(": ", 1) for header in headers))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        raise programs.Failure(f"{proxy.name} does not answer on {path}: {error}")
    finally:
        connection.close()
