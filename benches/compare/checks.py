"""Whether a proxy does what its row says: policies that do not act, or act where they should not, are cheap."""

import http.client

import programs

# What the clients of the header policy send, so that it has something to do.
SCRIPT_HEADERS = ("X-Api-Version: 2", "Cookie: session=5f1c8a62e0b94d7c")
# The first segment of a row's path: the policies that act there.
POLICIES = {"plain": (), "script": ("script",)}


def check(proxy, path, headers):
    """One request on a row's path, `echo` in place of its end; a Failure if the answer is not what it should be."""
    part = path.split("/")[1]
    if part not in POLICIES:
        return
    path = f"/{part}/echo"
    expect(proxy, path, headers, "script" in POLICIES[part])


def expect(proxy, path, headers, script):
    """The header edits, all of them or none: what the origin received is in the body, the rest in the head."""
    status, fields, body = ask(proxy, path, headers)
    got = {"status": status, "origin received": body, "x-served-by": fields["x-served-by"],
           "server": fields["server"] is not None}
    wanted = {"status": 200, "origin received": received(script), "x-served-by": "edge" if script else None,
              "server": not script}
    if got != wanted:
        raise programs.Failure(f"{proxy.name} does not do on {path} what its row says\nwanted {wanted}\ngot    {got}")


def received(script):
    """What the origin's echo says with and without the header policy, for a client that sends SCRIPT_HEADERS."""
    if script:
        return "x-tenant=acme x-edge=2 cookie="
    return "x-tenant= x-edge= cookie=" + SCRIPT_HEADERS[1].removeprefix("Cookie: ")


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
