//! What is refused, by kind of problem: text, place, and words of the message or the hint.

use super::*;
use crate::config::schema;

#[test]
fn syntax_errors_are_shown_where_the_parser_found_them() {
    let found = problems("[server]\nlisten = \"127.0.0.1:80\nshards = 1\n");
    assert!(found[0].starts_with("2:"), "{found:?}");
    let found = problems("a = 1\na = 2\n");
    assert!(found[0].starts_with("2:1: duplicate key"), "{found:?}");
}

#[test]
fn unknown_keys_are_errors_that_name_the_nearest_one() {
    each_has_one_problem(
        FILE,
        &[
            ("[server]\nlimit = {}", "2:1", "did you mean `limits`?"),
            ("[server.limits]\nmax_connection = 1", "2:1", "did you mean `max_connections`?"),
            ("[admin]\nlisten_on = \"\"", "2:1", "did you mean `listen`?"),
            ("[log]\nacess = \"json\"", "2:1", "did you mean `access`?"),
            ("[defaults]\npath = \"/\"", "2:1", "`path` is a key of `[[route]]`"),
            ("[admin]\nshards = 1", "2:1", "`shards` is a key of `[server]`"),
        ],
    );
    each_has_one_problem(
        "@",
        &[("sever = {}\nroute = []", "1:1", "unknown key `sever` (did you mean `server`?)")],
    );
    each_has_one_problem(
        ROUTE,
        &[
            ("path = \"/x\"\nupstrem = \"up\"", "2:1", "did you mean `upstream`?"),
            ("pth = \"/x\"\nupstream = \"up\"", "1:1", "did you mean `path`?"),
            ("path = \"/x\"\nrespond = { code = 200 }", "2:13", "known here: status, body, content_type"),
            ("path = \"/x\"\nredirect = { too = \"/y\" }", "2:14", "did you mean `to`?"),
            ("path = \"/x\"\nrespond = {}\nresponse_headers = { sett = {} }", "3:22", "did you mean `set`?"),
        ],
    );
}

#[test]
fn every_key_that_is_not_built_yet_is_refused_as_such() {
    let later = schema::paths_of_later_keys();
    for path in &later {
        let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
        let head = match section {
            "" => "route = []".to_owned(),
            "consumer" => "route = []\n[[consumer]]\nname = \"a\"".to_owned(),
            "jwt.NAME" => "route = []\n[jwt.a]\nalgorithms = [\"HS256\"]\nsecret = \"env:SECRET\"".to_owned(),
            "upstream.NAME" => {
                "route = [{ path = \"/x\", upstream = \"up\" }]\n[upstream.up]\ntargets = \"http://a\""
                    .to_owned()
            }
            "upstream.NAME.health" => {
                let upstream = "[upstream.up]\ntargets = \"http://a\"\n[upstream.up.health]\npath = \"/\"";
                format!("route = [{{ path = \"/x\", upstream = \"up\" }}]\n{upstream}")
            }
            "route" if matches!(name, "split" | "lambda") => "[[route]]\npath = \"/x\"".to_owned(),
            "route" => "[[route]]\npath = \"/x\"\nrespond = {}".to_owned(),
            _ => format!("route = []\n[{section}]"),
        };
        for value in ["1", "{}", "[{}]"] {
            let text = format!("{head}\n{name} = {value}");
            let place = format!("{}:1", text.lines().count());
            each_has_one_problem("@", &[(&text, &place, &format!("`{name}` is not supported yet"))]);
        }
    }
    // Those of routes that are policies are refused in `[defaults]` too.
    assert!(later.iter().any(|path| path == "defaults.mirror"), "{later:?}");
}

#[test]
fn values_that_are_not_built_yet_are_refused_as_such() {
    let words = "not supported yet";
    each_has_one_problem(
        FILE,
        &[
            ("server.listen = { address = \":80\", tls = \"a\" }", "1:17", words),
            ("server.listen = [\":80\", { address = \":81\", h2c = true }]", "1:25", words),
            ("[[server.listen]]\naddress = \":80\"", "1:1", words),
        ],
    );
    each_has_one_problem(
        ROUTE,
        &[
            (
                "path = \"~^/v(?<n>[0-9]+)/\"\nupstream = \"up\"",
                "1:8",
                "a regular expression as a path is not",
            ),
            (
                "path = \"/x\"\nupstream = \"up\"\nheaders = { a = \"abc*\" }",
                "3:17",
                "a prefix as a condition is not",
            ),
            (
                "path = \"/x\"\nupstream = \"up\"\nheaders = { a = \"~^a\" }",
                "3:17",
                "a regular expression as a condition",
            ),
            ("path = \"/x\"\nupstream = \"up\"\nquery = { a = \"abc*\" }", "3:15", words),
            (
                "path = \"/x\"\nupstream = \"up\"\nauth = [\"basic\"]",
                "3:9",
                "`basic` in `auth` is not supported yet",
            ),
            ("path = \"/x\"\nupstream = \"up\"\nauth = [\"mtls\"]", "3:9", words),
            ("path = \"/x\"\nupstream = \"up\"\nauth = [\"sigv4\"]", "3:9", words),
            ("path = \"/x\"\nupstream = \"up\"\nauth = [\"ext:authz\"]", "3:9", words),
            ("path = \"/x\"\nupstream = \"up\"\nauth = [\"key\", \"anonymous\"]", "3:16", words),
        ],
    );
}

#[test]
fn values_of_the_wrong_kind_are_told_what_to_write() {
    each_has_one_problem(
        FILE,
        &[
            ("server = 1", "1:10", "`server` must be a table, not an integer"),
            ("[server]\nlisten = 8080", "2:10", "must be a string or a list of strings, not an integer"),
            ("[server]\nlisten = [80]", "2:11", "`listen` must be a string, not an integer"),
            ("[server]\nlisten = []", "2:10", "empty list"),
            ("[server]\nshards = true", "2:10", "write shards = 2 or shards = \"auto\""),
            ("[server]\nshards = 1.5", "2:10", "not a float"),
            ("[server]\npin_cores = \"yes\"", "2:13", "must be true or false, not a string"),
            ("[server]\ndrain_timeout = 10", "2:17", "must be a duration, not an integer (write \"10s\")"),
            ("[server]\ntrusted_proxies = \"10.0.0.0/8\"", "2:19", "must be a list of strings"),
            (
                "[server.limits]\nheader_bytes = 16384",
                "2:16",
                "must be a size, not an integer (write \"16384B\")",
            ),
            ("[server.limits]\nheader_count = \"96\"", "2:16", "must be a whole number, not a string"),
            ("[[upstream]]\nname = \"x\"", "1:1", "write `[upstream.NAME]`"),
            ("[upstream]\ntargets = [\"http://a\"]", "2:11", "write `[upstream.NAME]`"),
        ],
    );
    each_has_one_problem("@", &[("[route]\npath = \"/x\"", "1:1", "write `[[route]]`")]);
    each_has_one_problem(
        ROUTE,
        &[
            ("path = 1\nupstream = \"up\"", "1:8", "must be a string or a list"),
            ("path = \"/x\"\nupstream = [\"up\"]", "2:12", "must be a string, not an array"),
            ("path = \"/x\"\nrespond = \"hello\"", "2:11", "must be a table, not a string"),
            ("path = \"/x\"\nrespond = {}\ntimeout = true", "3:11", "must be a duration"),
            ("path = \"/x\"\nrespond = {}\nmax_inflight = true", "3:16", "a whole number or false"),
            ("path = \"/x\"\nrespond = {}\nheaders = { x = 1 }", "3:17", "`x` must be a string"),
            ("path = \"/x\"\nrespond = {}\nresponse_headers = true", "3:20", "to switch it off"),
            ("path = \"/x\"\nrespond = {}\ndeprecated = \"yes\"", "3:14", "a table, true or false"),
        ],
    );
}

#[test]
fn server_values_out_of_range_are_refused() {
    each_has_one_problem(
        FILE,
        &[
            ("server.listen = \"here\"", "1:17", "add a port"),
            ("server.shards = 0", "1:17", "from 1 to 1024"),
            ("server.shards = \"many\"", "1:17", "one of \"auto\""),
            ("server.driver = \"iouring\"", "1:17", "did you mean \"io_uring\"?"),
            ("server.drain_timeout = \"0s\"", "1:24", "no time at all"),
            ("server.trusted_proxies = [\"10/8\"]", "1:27", "neither a network nor"),
            ("server.trusted_proxies = [\"10.1.2.3/8\"]", "1:27", "write \"10.0.0.0/8\""),
            ("server.limits.header_bytes = \"1023B\"", "1:30", "from \"1KiB\" to \"1MiB\""),
            ("server.limits.header_bytes = \"2MiB\"", "1:30", "out of range"),
            ("server.limits.header_count = 1001", "1:30", "from 1 to 1000"),
            ("server.limits.max_connections = 0", "1:33", "from 1 to"),
            ("server.limits.max_connections = 99999999999999999999", "1:33", "out of range"),
            ("server.limits.body_bytes = \"1TB\"", "1:28", "not a size"),
            ("admin.listen = \"9901\"", "1:16", "write \"0.0.0.0:9901\""),
            ("admin.hosts = [\"gateway:9901\"]", "1:16", "without a port"),
            ("admin.token = \"env:NONE\"", "1:15", "no environment variable"),
            ("admin.token = \"env:BINARY\"", "1:15", "visible ASCII"),
            ("admin.listen = \"0.0.0.0:1\"", "1:16", "anyone who reaches 0.0.0.0:1 may read and reload"),
            ("admin.listen = \"[::]:1\"", "1:16", "set `token`"),
            ("admin.listen = \"10.0.0.1:1\"", "1:16", "set `token`"),
            ("log.access = \"text\"", "1:14", "\"json\", \"common\", \"off\""),
            ("log.level = \"warning\"", "1:13", "did you mean \"warn\"?"),
            ("log.target = \"\"", "1:14", "not a file"),
            ("log.target = \"/var/log\"", "1:14", "not a file"),
            ("log.target = \"stderr\"", "1:14", "/dev/stderr"),
            ("log.target = \"/nowhere/access.log\"", "1:14", "there is no directory `/nowhere`"),
        ],
    );
}

#[test]
fn a_port_given_twice_is_an_error_and_port_0_never_is() {
    each_has_one_problem(
        FILE,
        &[
            ("server.listen = [\":80\", \"127.0.0.1:80\"]", "1:25", "port 80 is given twice"),
            ("server.listen = \":80\"\nadmin.listen = \"127.0.0.1:80\"", "2:16", "port 80 is given twice"),
            ("[admin]\nlisten = \"127.0.0.1:8080\"", "2:10", "port 8080 is given twice"),
        ],
    );
    assert_eq!(
        problems("route=[]\nserver.listen = [\":0\", \":0\"]\nadmin = { listen = \":0\", token = \"t\" }"),
        Vec::<String>::new()
    );
    assert_eq!(problems("route=[]\nserver.listen = [\"0.0.0.0:80\", \"[::]:80\"]"), Vec::<String>::new());
}

#[test]
fn upstream_values_out_of_range_are_refused() {
    let frame = "[upstream.up]\n@\n[[route]]\npath = \"/x\"\nupstream = \"up\"";
    each_has_one_problem(
        frame,
        &[
            ("", "0:1", "has no `targets`"),
            ("targets = []", "1:11", "at least one"),
            ("targets = [\"https://a\"]", "1:12", "`https://` is not supported yet"),
            ("targets = [\"http://a/x\"]", "1:12", "`rewrite` changes the path"),
            ("targets = [\"http://a:0\"]", "1:12", "from 1 to 65535"),
            ("targets = [\"a:80\"]", "1:12", "is not a target"),
            ("targets = [{ weight = 2 }]", "1:12", "a target without `url`"),
            ("targets = [{ uri = \"http://a\" }]", "1:14", "did you mean `url`?"),
            ("targets = [{ url = \"http://a\", weight = 0 }]", "1:11", "all have weight 0"),
            ("targets = [{ url = \"http://a\", weight = 65536 }]", "1:41", "from 0 to 65535"),
            ("targets = \"http://a\"\nbreaker = true", "2:11", "a table or false"),
            ("targets = \"http://a\"\nbreaker.failures = 0", "2:20", "from 1 to 1000000"),
            ("targets = \"http://a\"\nbreaker.failure_status = 503", "2:26", "a list of whole numbers"),
            ("targets = \"http://a\"\nbreaker.failure_status = [500, 600]", "2:32", "from 100 to 599"),
            ("targets = \"http://a\"\nretry = false", "2:9", "a table"),
            ("targets = \"http://a\"\nretry.attempts = 11", "2:18", "from 0 to 10"),
            ("targets = \"http://a\"\nretry.on = \"connect\"", "2:12", "a list"),
            ("targets = \"http://a\"\nretry.on = [\"connect\", \"200\"]", "2:24", "from \"400\" to \"599\""),
            ("targets = \"http://a\"\nretry.on = [503]", "2:13", "\"…\""),
            ("targets = \"http://a\"\nretry.budget = 2", "2:16", "from 0 to 1"),
            ("targets = \"http://a\"\nhealth = {}", "2:10", "`health` without `path`"),
            ("targets = \"http://a\"\nhealth.path = \"healthz\"", "2:15", "write \"/healthz\""),
            (
                "targets = \"http://a\"\nhealth = { path = \"/\", interval = \"1ms\" }",
                "2:35",
                "at least \"100ms\"",
            ),
            (
                "targets = \"http://a\"\nhealth = { path = \"/\", status = \"2xx\" }",
                "2:33",
                "write \"200-399\"",
            ),
            ("targets = \"http://a\"\nhealth = { path = \"/\", panic = \"all\" }", "2:32", "\"any\""),
            ("targets = \"http://a\"\nbreaker.max_ejected = 1.5", "2:23", "from 0 to 1"),
            ("targets = \"http://a\"\nbalance = \"round-robin\"", "2:11", "did you mean \"round_robin\"?"),
            ("targets = \"http://a\"\nhash_on = \"ip\"", "2:11", "does nothing without"),
            ("targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"body\"", "3:11", "is not known"),
            ("targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"header:\"", "3:11", "has no name"),
            (
                "targets = \"http://a\"\nbalance = \"hash\"\nhash_on = \"cookie:a b\"",
                "3:11",
                "that none can have",
            ),
            ("targets = \"http://a\"\nconnect_timeout = \"0ms\"", "2:19", "no time at all"),
            ("targets = \"http://a\"\nkeepalive = -1", "2:13", "from 0 to 65535"),
            ("targets = \"http://a\"\nmax_inflight = 0", "2:16", "from 1 to 1000000"),
        ],
    );
}

#[test]
fn what_a_route_matches_is_checked() {
    each_has_one_problem(
        &ROUTE.replace('@', "@\nupstream = \"up\""),
        &[
            ("", "0:1", "a route without `path`"),
            ("path = []", "1:8", "empty list"),
            ("path = \"x\"", "1:8", "write \"/x\""),
            ("path = [\"/x\", \"/a b\"]", "1:15", "write \"a%20b\""),
            ("path = [\"/x/{a}\", \"/x/{a}\"]", "1:8", "says the same twice"),
            ("path = \"/x\"\nhost = \"a.com:80\"", "2:8", "without a port"),
            ("path = \"/x\"\nhost = [\"*\", \"a.com\"]", "2:9", "any host"),
            ("path = \"/x\"\nhost = [\"a.com\", \"A.com\"]", "2:8", "says the same twice"),
            ("path = \"/x\"\nmethod = \"get\"", "2:10", "write \"GET\""),
            ("path = \"/x\"\nmethod = \"CONNECT\"", "2:10", "refuses CONNECT"),
            ("path = \"/x\"\nmethod = \"GET POST\"", "2:10", "is not a method"),
            ("path = \"/x\"\nheaders = { \"a b\" = \"1\" }", "2:13", "is not a field name"),
            ("path = \"/x\"\nheaders = { Host = \"1\" }", "2:13", "use the route's `host`"),
            ("path = \"/x\"\nheaders = { a = \"1\", A = \"1\" }", "2:22", "field names have no case"),
            ("path = \"/x\"\nheaders = { a = \" 1\" }", "2:17", "ends with a blank"),
            ("path = \"/x\"\nquery = { \"\" = \"1\" }", "2:11", "without a name"),
            ("path = \"/x\"\npriority = 99999999999999999999", "2:12", "out of range"),
            ("path = \"/x\"\nname = \"\"", "2:8", "is not a name"),
        ],
    );
}

#[test]
fn what_a_route_does_is_checked() {
    each_has_one_problem(
        ROUTE,
        &[
            ("path = \"/x\"", "0:1", "without `upstream`, `respond` or `redirect`"),
            ("path = \"/x\"\nupstream = \"up\"\nrespond = {}", "3:11", "both `upstream` and `respond`"),
            (
                "path = \"/x\"\nredirect = { to = \"/y\" }\nrespond = {}",
                "3:11",
                "both `redirect` and `respond`",
            ),
            ("path = \"/x\"\nupstream = \"upp\"", "2:12", "there is no upstream `upp` (did you mean `up`?)"),
            ("path = \"/x\"\nupstream = \"users\"", "2:12", "add a section `[upstream.users]`"),
            ("path = \"/x\"\nupstream = \"up\"\nstrip_prefix = true", "3:16", "finds no prefix in `/x`"),
            ("path = \"/x/*\"\nupstream = \"up\"\nstrip_prefix = true\nrewrite = \"/\"", "4:11", "together"),
            ("path = \"/x/{id}\"\nupstream = \"up\"\nrewrite = \"/{idd}\"", "3:11", "did you mean `{id}`?"),
            ("path = \"/x/*\"\nupstream = \"up\"\nrewrite = \"/{name}\"", "3:11", "it captures `{rest}`"),
            (
                "path = [\"/{a}\", \"/x\"]\nupstream = \"up\"\nrewrite = \"/{a}\"",
                "3:11",
                "which `/x` does not capture",
            ),
            ("path = \"/x\"\nupstream = \"up\"\nrewrite = \"y\"", "3:11", "write \"/y\""),
            ("path = \"/x\"\nupstream = \"up\"\nrewrite = \"/y?z\"", "3:11", "more than a path"),
            (
                "path = \"/x\"\nrespond = {}\nrewrite = \"/y\"",
                "3:11",
                "does nothing on a route without `upstream`",
            ),
            ("path = \"/x\"\nrespond = {}\nhost_header = \"client\"", "3:15", "does nothing"),
            ("path = \"/x\"\nrespond = { status = 199 }", "2:22", "from 200 to 599"),
            ("path = \"/x\"\nrespond = { status = 204, body = \"x\" }", "2:34", "has no body"),
            ("path = \"/x\"\nrespond = { content_type = \"a\\nb\" }", "2:28", "control characters"),
            ("path = \"/x\"\nredirect = { to = \"/y\", status = 200 }", "2:34", "one of 301"),
            ("path = \"/x\"\nredirect = {}", "2:12", "a redirect without `to`"),
            ("path = \"/x/*\"\nredirect = { to = \"https://{rest}/\" }", "2:19", "choose the host"),
            ("path = \"/x\"\nredirect = { to = \"/{id}\" }", "2:19", "it captures nothing"),
        ],
    );
}

#[test]
fn what_a_routes_policies_say_is_checked() {
    each_has_one_problem(
        &ROUTE.replace('@', "path = \"/x\"\nupstream = \"up\"\n@"),
        &[
            ("upgrade = [\"h2c\"]", "1:12", "`h2c` is never passed on"),
            ("upgrade = [\"websocket\", \"a b\"]", "1:25", "is no protocol"),
            ("host_header = \"a b\"", "1:15", "\"upstream\", \"client\""),
            ("timeout = \"0s\"", "1:11", "no time at all"),
            ("max_inflight = 0", "1:16", "from 1 to 1000000"),
            ("request_headers.set = { \"a:\" = \"1\" }", "1:25", "is not a field name"),
            ("request_headers.set = { host = \"a\" }", "1:25", "use `host_header`"),
            ("request_headers.add = { Transfer-Encoding = \"chunked\" }", "1:25", "cannot be edited"),
            ("response_headers.remove = [\"Content-Length\"]", "1:28", "cannot be edited"),
            ("response_headers.set = { a = \"x\\r\\ny: z\" }", "1:30", "control characters"),
            ("response_headers.set = { a = \"1\", A = \"2\" }", "1:35", "there twice"),
            ("deprecated = { sunset = \"2027-02-30\" }", "1:25", "a day that exists"),
            ("deprecated = { sunset = \"soon\" }", "1:25", "write \"2027-01-31\""),
            ("deprecated = { since = 2027-01-31T10:00:00Z }", "1:24", "is not a date"),
            ("deprecated = { since = \"2027-02-01\", sunset = \"2027-01-31\" }", "1:47", "before `since`"),
            ("deprecated = { link = \"a>b\" }", "1:23", "https://example.com"),
        ],
    );
}

#[test]
fn route_names_are_given_once() {
    let route = |name: &str, path: &str| format!("[[route]]\n{name}\npath = \"{path}\"\nrespond = {{}}\n");
    let text = route("name = \"a\"", "/1") + &*route("name = \"a\"", "/2");
    each_has_one_problem("@", &[(&text, "6:8", "route name `a` is given twice")]);
    assert!(read(&text).unwrap_err().render(false).contains("first here"), "it shows both places");
    let text = route("", "/1") + &*route("name = \"route-1\"", "/2");
    each_has_one_problem("@", &[(&text, "6:8", "`route-1` is given twice")]);
}

#[test]
fn unused_upstreams_and_a_file_without_routes_are_warnings_only() {
    let text = "[upstream.idle]\ntargets = \"http://a\"\n[[route]]\npath = \"/\"\nrespond = {}";
    each_has_one_problem(
        "@",
        &[(text, "1:11", "upstream `idle` is never used"), ("", "1:1", "answered with 404")],
    );
    let warnings = read(text).expect("a warning keeps nothing from running").warnings;
    assert!(!warnings.has_errors() && warnings.iter().all(|problem| problem.is_warning()));
    assert!(warnings.render(false).starts_with("warning: "));
    // Which one a misspelt key was to name is not known.
    let misspelt = text.replace("respond = {}", "upstrem = \"idle\"");
    each_has_one_problem("@", &[(&misspelt, "5:1", "did you mean `upstream`?")]);
    // A script may send requests there.
    let text = format!("{text}\nscripts = [\"tag.rhai\"]");
    assert!(read(&text).expect("good").warnings.is_empty());
}

#[test]
fn a_route_whose_matching_is_wrong_is_not_held_against_others() {
    let wrong = [
        "host = \"a:1\"",
        "hosts = \"a\"",
        "method = 1",
        "methods = \"GET\"",
        "query = 1",
        "headers = { \"a b\" = \"1\" }",
    ];
    for line in wrong {
        let text = format!(
            "[[route]]\npath = \"/*\"\nrespond = {{}}\n{line}\n[[route]]\npath = \"/*\"\nrespond = {{}}"
        );
        assert_eq!(problems(&text).len(), 1, "{line}");
    }
}

#[test]
fn routes_that_can_never_match_are_errors_that_show_both() {
    let text = "[[route]]\nname = \"a\"\npath = \"x\"\nrespond = {}\n\
                [[route]]\nname = \"b\"\npath = \"/*\"\nrespond = {}\n\
                [[route]]\nname = \"c\"\npath = \"/x\"\nupstream = \"none\"\npriority = -1\n\
                [[route]]\nname = \"d\"\npath = \"/*\"\nrespond = {}\n";
    // The first route has no path that could be compared, the third no action; the others keep their places.
    let found = parse(text, "f", &TestOutside).unwrap_err();
    let lines: Vec<_> = found.lines().collect();
    assert!(lines[1].starts_with("f:10:8: route `c` can never match: route `b` takes all"), "{lines:#?}");
    assert!(lines[3].starts_with("f:15:8: route `d` matches exactly what route `b` matches"), "{lines:#?}");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(found.render(false).contains(" 6 | name = \"b\""), "{}", found.render(false));
}
