//! The stops of the demo's tour: a command for each feature, and what to look for in its response.

/// One command to try.
pub struct TourStop {
    /// The route of the demo's configuration that it shows, if it is about one.
    pub route: Option<&'static str>,
    /// What to look for in the response.
    pub look_for: &'static str,
    /// `GATEWAY` and `ADMIN` stand for the two addresses, `TOKEN` for a token.
    pub command: &'static str,
}

const fn stop(route: Option<&'static str>, look_for: &'static str, command: &'static str) -> TourStop {
    TourStop { route, look_for, command }
}

/// All of them, by chapter.
pub const STOPS: &[(&str, &[TourStop])] = &[
    (
        "Routing and balancing",
        &[
            stop(
                Some("balanced"),
                "ten requests on one connection: five meet origin a, three b, two c, evenly mixed",
                "curl -s 'GATEWAY/echo/[1-10]' | grep -o '\"origin\":\"[abc]\"'",
            ),
            stop(
                Some("sticky"),
                "the same cookie always meets the same origin",
                "for i in 1 2 3; do curl -s --cookie user=alice GATEWAY/sticky/echo | grep -o '\"origin\":\"[abc]\"'; done",
            ),
            stop(
                Some("stripped"),
                "the origin sees /echo, and x-forwarded-prefix: /api",
                "curl -s GATEWAY/api/echo",
            ),
            stop(
                Some("rewritten"),
                "the origin sees /echo/orders/7/of/42: captures, put together anew",
                "curl -s GATEWAY/users/42/orders/7",
            ),
            stop(
                Some("tenants"),
                "a wildcard host, *.tenant.test, has routes of its own",
                "curl -s -H 'Host: shop.tenant.test' GATEWAY/orders",
            ),
            stop(
                Some("read-only"),
                "405, and Allow names the methods that fit",
                "curl -s -i -X DELETE GATEWAY/read-only",
            ),
            stop(
                None,
                "404 as application/problem+json, with the request's id",
                "curl -s -i GATEWAY/nowhere",
            ),
            stop(
                Some("maintenance"),
                "priority: one header, and a 503 stands before every route",
                "curl -s -i -H 'X-Maintenance: 1' GATEWAY/echo",
            ),
        ],
    ),
    (
        "Versions of an API",
        &[
            stop(
                Some("v1"),
                "by path; the old one answers with Deprecation, Sunset and Link",
                "curl -s -i GATEWAY/v1/echo",
            ),
            stop(Some("v2"), "by path; origin b", "curl -s GATEWAY/v2/echo"),
            stop(
                Some("version-by-header"),
                "by header; origin b",
                "curl -s -H 'X-Api-Version: 2' GATEWAY/version",
            ),
            stop(Some("version-by-query"), "by query; origin c", "curl -s 'GATEWAY/version?beta=1'"),
            stop(Some("version"), "asked for none; origin a", "curl -s GATEWAY/version"),
        ],
    ),
    (
        "Headers",
        &[
            stop(
                Some("edited"),
                "host is users.internal, x-from is set, the cookie is gone; the response has no Server",
                "curl -s -i --cookie secret=1 GATEWAY/edited",
            ),
            stop(
                Some("client-host"),
                "the client's own Host reaches the origin",
                "curl -s -H 'Host: www.example.com' GATEWAY/client-host",
            ),
            stop(
                Some("balanced"),
                "x-forwarded-for is appended to, because this client is a trusted proxy",
                "curl -s -H 'X-Forwarded-For: 203.0.113.7' GATEWAY/echo",
            ),
        ],
    ),
    (
        "Bodies, timeouts, upgrades",
        &[
            stop(
                Some("stream"),
                "five chunks, one every 200 ms as the origin sends them, and a trailer at the end",
                "curl -s -N --raw GATEWAY/stream",
            ),
            stop(
                Some("balanced"),
                "body_bytes is 33554432: 32 MiB streamed through, none of it held",
                "head -c 32M /dev/zero | curl -s -T - GATEWAY/echo",
            ),
            stop(
                Some("slow"),
                "504 after 500 ms, though the origin would take 3 seconds",
                "curl -s -i 'GATEWAY/slow?ms=3000'",
            ),
            stop(
                Some("websocket"),
                "101 and the origin's Sec-WebSocket-Accept; then the connection is a tunnel",
                "curl -s -i -N --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' GATEWAY/ws",
            ),
            stop(
                None,
                "400: two ways to say how long a body is are refused, never guessed at",
                "curl -s -i -H 'Transfer-Encoding: chunked' -H 'Content-Length: 5' -d hello GATEWAY/echo",
            ),
        ],
    ),
    (
        "Answers of the gateway's own",
        &[
            stop(Some("hello"), "a text, without any origin", "curl -s -i GATEWAY/hello"),
            stop(
                Some("teapot"),
                "any status and type; the default header x-served-by is off",
                "curl -s -i GATEWAY/teapot",
            ),
            stop(Some("moved"), "308 to /api/echo, which is then followed", "curl -s -i -L GATEWAY/old/echo"),
        ],
    ),
    (
        "Who is calling",
        &[
            stop(Some("keyed"), "401 no_credentials, with WWW-Authenticate", "curl -s -i GATEWAY/keyed/echo"),
            stop(
                Some("keyed"),
                "the origin sees x-consumer-name: bob, and the key",
                "curl -s -H 'X-API-Key: demo-key-of-bob' GATEWAY/keyed/echo",
            ),
            stop(
                Some("tokened"),
                "the origin sees x-user-id: alice and x-consumer-groups: gold; the token is valid for a day",
                "curl -s -H 'Authorization: Bearer TOKEN' GATEWAY/tokened/echo",
            ),
            stop(
                Some("tokened"),
                "401 invalid_token: the last letters of the signature are others",
                "curl -s -i -H 'Authorization: Bearer TOKENaaaa' GATEWAY/tokened/echo",
            ),
            stop(
                Some("gold"),
                "403: bob is not in the group gold; alice is, with her key or the token",
                "curl -s -i -H 'X-API-Key: demo-key-of-bob' GATEWAY/gold/echo",
            ),
            stop(
                Some("inside"),
                "403 ip_denied; open with -H 'X-Forwarded-For: 10.1.2.3'",
                "curl -s -i GATEWAY/inside/echo",
            ),
            stop(
                Some("pages"),
                "204 to the preflight, by the gateway: pages of that origin may send PUT",
                "curl -s -i -X OPTIONS -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: PUT' GATEWAY/pages/echo",
            ),
        ],
    ),
    (
        "Rate limits",
        &[
            stop(
                Some("limited"),
                "five times 200, then 429; with -i X-RateLimit-Remaining counts down, and Retry-After says when",
                "for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{http_code}\\n' GATEWAY/limited/echo; done",
            ),
            stop(
                Some("limited-by-consumer"),
                "429 after five of bob's requests in a minute; alice has 20, since the group gold has",
                "for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{http_code}\\n' -H 'X-API-Key: demo-key-of-bob' GATEWAY/limited-by-consumer/echo; done",
            ),
        ],
    ),
    (
        "Scripts",
        &[
            stop(
                Some("enveloped"),
                "the origin's JSON is in data, beside requestId and timestamp",
                "curl -s GATEWAY/enveloped/echo",
            ),
            stop(
                Some("versioned"),
                "X-Api-Version in the answer; the origin sees /v3/echo",
                "curl -s -i -H 'Accept: application/vnd.acme.v3+json' GATEWAY/versioned/echo",
            ),
            stop(
                Some("versioned-strictly"),
                "400 with the versions there are; a route with other vars",
                "curl -s -i -H 'X-Shop-Version: 9' GATEWAY/versioned-strictly/echo",
            ),
            stop(
                Some("split"),
                "four of these six clients leave origin a, and each stays where its cookie puts it",
                "for user in 1 2 3 4 5 6 1 2 3 4 5 6; do curl -s --cookie ab=$user GATEWAY/split/echo | grep -o '\"origin\":\"[abc]\"'; done",
            ),
            stop(
                Some("split-by-ip"),
                "all addresses meet origin b; X-Pool says so",
                "curl -s -i GATEWAY/split-by-ip/echo",
            ),
            stop(
                Some("signed"),
                "signed with openssl: passes; change a letter of the path: 401",
                "time=$(date +%s); body=$(printf '' | openssl dgst -sha256 -r | cut -d' ' -f1); sig=$(printf 'GET\n/signed/echo\n\n%s\n%s' $time $body | openssl dgst -sha256 -hmac not-a-secret -r | cut -d' ' -f1); curl -s -i -H 'X-Key-Id: demo' -H \"X-Timestamp: $time\" -H \"X-Signature: $sig\" GATEWAY/signed/echo",
            ),
            stop(
                Some("redacted"),
                "body_bytes and two of the headers are missing in what the origin says",
                "curl -s -H 'X-API-Key: demo-key-of-bob' GATEWAY/redacted/echo",
            ),
            stop(
                Some("redacted"),
                "everything is there: alice has the permission pii.read",
                "curl -s -H 'X-API-Key: demo-key-of-alice' GATEWAY/redacted/echo",
            ),
            stop(
                Some("closed"),
                "503 with Retry-After; with -H 'Accept: text/html' a page, with -H 'X-Forwarded-For: 10.1.2.3' open",
                "curl -s -i GATEWAY/closed/echo",
            ),
            stop(
                Some("validated"),
                "400 and everything that is wrong with the body at once",
                "curl -s -i -H 'Content-Type: application/json' -d '{\"currency\":\"GBP\",\"items\":[{\"sku\":\"abc\"}]}' GATEWAY/validated",
            ),
            stop(
                Some("legacy"),
                "body_bytes is bodyBytes, and the old wrapper is around it",
                "curl -s GATEWAY/legacy/echo",
            ),
            stop(
                Some("legacy-snake"),
                "the other way round: snake_case, in which the origin's names are already",
                "curl -s GATEWAY/legacy-snake/echo",
            ),
            stop(
                Some("audited"),
                "a line in the log of the gateway, and ringway_script_counter{name=\"demo_2xx\"} on /metrics",
                "curl -s -X DELETE GATEWAY/audited/echo; sleep 1; curl -s ADMIN/metrics | grep ringway_script_counter",
            ),
            stop(
                Some("tenant"),
                "origin b, x-tenant: globex; any other host is 403 script_denied",
                "curl -s -H 'Host: globex.example.com' GATEWAY/tenant/echo",
            ),
            stop(
                Some("tenant-by-claim"),
                "origin b: the token's claim tenant is globex",
                "curl -s -H 'Authorization: Bearer TOKEN' GATEWAY/tenant-by-claim/echo",
            ),
            stop(
                Some("stacked"),
                "three scripts: the envelope is around what has been redacted",
                "curl -s GATEWAY/stacked/echo",
            ),
        ],
    ),
    (
        "Operating it",
        &[
            stop(None, "200 while all shards serve", "curl -s -i ADMIN/readyz"),
            stop(None, "version, shards, routes and upstreams with their numbers", "curl -s ADMIN/status"),
            stop(None, "the same for Prometheus", "curl -s ADMIN/metrics | grep ringway_requests_total"),
            stop(None, "the next generation; no connection is closed for it", "curl -s -X POST ADMIN/reload"),
        ],
    ),
];
