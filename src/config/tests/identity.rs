//! The store, secrets, consumers and tokens: what they mean, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::*;
use crate::auth::parse::api_key;

/// A plan of these lines, with a route that keeps it from being empty.
fn plan_of(lines: &str) -> Plan {
    plan(&format!("{lines}\n[[route]]\npath = \"/\"\nrespond = {{}}\n"))
}

fn key(text: &str) -> ApiKeyHash {
    api_key(text).unwrap()
}

fn strings(list: &[Arc<str>]) -> Vec<&str> {
    list.iter().map(|text| &**text).collect()
}

#[test]
fn a_store_has_the_defaults_of_the_contract_and_keeps_what_is_written() {
    let store = plan_of("[store]\nurl = \"redis://h\"").store.unwrap();
    assert_eq!((store.url.text(), store.timeout), (Some("redis://h"), Duration::from_millis(100)));
    assert_eq!(&*store.key_prefix, "ringway");
    let lines = "[store]\nurl = \"redis-cluster://a:1,b:2\"\ntimeout = \"2s\"\nkey_prefix = \"edge:\"";
    let store = plan_of(lines).store.unwrap();
    assert_eq!((store.timeout, &*store.key_prefix), (Duration::from_secs(2), "edge:"));
}

#[test]
fn stores_that_cannot_be_are_refused() {
    each_has_one_problem(
        FILE,
        &[
            ("[store]", "1:1", "a store without `url`"),
            ("[store]\nurll = \"redis://h\"", "2:1", "did you mean `url`?"),
            (
                "[store]\nurl = \"http://h\"",
                "2:7",
                "a store is redis://, rediss://, redis+unix:// or redis-cluster:// (write",
            ),
            ("[store]\nurl = \"env:HUSH\"", "2:7", "a store's URL begins with a scheme"),
            ("[store]\nurl = \"redis://h\"\ntimeout = \"0s\"", "3:11", "no time at all"),
            ("[store]\nurl = \"redis://h\"\nkey_prefix = \"\"", "3:14", "cannot be"),
            ("[store]\nurl = \"redis://h\"\nkey_prefix = \"a{b}\"", "3:14", "without braces"),
        ],
    );
}

#[test]
fn a_secret_is_taken_from_the_file_the_environment_or_a_file_of_its_own() {
    let lines = |key: &str| format!("[[consumer]]\nname = \"a\"\napi_keys = [\"{key}\"]");
    for (written, meant) in [
        ("plain", "plain"),
        ("env:HUSH", HUSH),
        ("file:key.txt", "file-key"),
        ("file:dos.txt", "file-key"),
        ("file:hush.txt", HUSH),
    ] {
        assert_eq!(plan_of(&lines(written)).consumers[0].api_keys, [key(meant)], "{written}");
    }
    for (written, words) in [
        ("", "an empty secret (write \"env:NAME\""),
        ("env:NONE", "there is no environment variable `NONE` (set NONE before"),
        ("env:EMPTY", "the environment variable `EMPTY` is empty"),
        ("env:BINARY", "not UTF-8 text"),
        ("file:none.txt", "cannot read the file `none.txt`: entity not found (paths are relative"),
        ("file:blank.txt", "the file `blank.txt` is empty"),
        ("file:lines.txt", "visible ASCII"),
    ] {
        each_has_one_problem(FILE, &[(&lines(written), "3:13", words)]);
    }
}

#[test]
fn a_binary_secret_signs_tokens_as_it_is() {
    let found = plan_of("[jwt.a]\nalgorithms = [\"HS256\"]\nsecret = \"env:BINARY\"");
    assert_eq!(found.jwts[0].key, JwtKey::Secret(Secret([0xff; 32].into())));
}

#[test]
fn a_consumer_is_known_by_its_keys_and_has_groups_and_permissions() {
    let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let text = format!(
        "[[consumer]]\nname = \"alice@example.com\"\ngroups = [\"gold\", \"eu\"]\npermissions = [\"users:read\"]\n\
         api_keys = [\"sha256:{hex}\", \"other\"]\n[[consumer]]\nname = \"bob\""
    );
    let found = plan_of(&text).consumers;
    let [alice, bob] = &found[..] else { panic!("two consumers") };
    assert_eq!(&*alice.name, "alice@example.com");
    assert_eq!(strings(&alice.groups), ["gold", "eu"]);
    assert_eq!(strings(&alice.permissions), ["users:read"]);
    assert_eq!(alice.api_keys, [key("test"), key("other")]);
    let nothing = Consumer {
        name: "bob".into(),
        groups: vec![],
        permissions: vec![],
        api_keys: vec![],
        limits: vec![],
    };
    assert_eq!(**bob, nothing);
}

#[test]
fn a_consumers_own_rate_goes_before_those_of_its_groups_in_their_order() {
    let text = r#"
        [group.gold]
        limits = { api = "1000/min", files = "10/s" }
        [group.eu]
        limits = { api = "1/s", files = "20/s", mail = "5/day" }
        [[consumer]]
        name = "alice"
        groups = ["gold", "eu", "none"]
        limits = { api = "10000/min" }
        [[route]]
        path = "/"
        respond = {}
        rate_limit = [{ name = "api", rate = "1/s" }, { name = "files", rate = "1/s" }, { name = "mail", rate = "1/s" }]
    "#;
    let loaded = read(text).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let alice = &loaded.plan.consumers[0];
    let rate = |tokens, period| Some(Rate { tokens, period });
    assert_eq!(alice.rate_of("api"), rate(10_000, Period::Minute));
    assert_eq!(alice.rate_of("files"), rate(10, Period::Second));
    assert_eq!(alice.rate_of("mail"), rate(5, Period::Day));
    assert_eq!(alice.rate_of("other"), None);
    assert_eq!(alice.limits.len(), 3, "each once");
}

#[test]
fn consumers_that_could_not_be_told_apart_or_sent_in_a_header_are_refused() {
    let alice = "[[consumer]]\nname = \"alice\"\n";
    let rows = [
        ("[[consumer]]\ngroups = []".to_owned(), "2:1", "a consumer without `name`"),
        ("[[consumer]]\nnam = \"a\"".to_owned(), "3:1", "did you mean `name`?"),
        ("[consumer]\nname = \"a\"".to_owned(), "2:1", "write `[[consumer]]`"),
        ("[[consumer]]\nname = \"a b\"".to_owned(), "3:8", "is not a name that can be sent in a header"),
        ("[[consumer]]\nname = \"\"".to_owned(), "3:8", "1 to 128"),
        (format!("{alice}{alice}"), "5:8", "consumer `alice` is given twice"),
        (format!("{alice}groups = [\"a,b\"]"), "4:11", "without blanks and commas"),
        (format!("{alice}permissions = [\"é\"]"), "4:16", "is not a name that can be sent in a header"),
        (format!("{alice}api_keys = [\"sha256:9f\"]"), "4:13", "64 hex digits"),
        (format!("{alice}api_keys = [\"a\", \"env:HUSH\", \"file:hush.txt\"]"), "4:30", "given twice"),
        (
            format!("{alice}api_keys = [\"x\"]\n[[consumer]]\nname=\"b\"\napi_keys=[\"x\"]"),
            "7:11",
            "given twice",
        ),
        (format!("{alice}limits = {{ api = \"fast\" }}"), "4:18", "is not a rate"),
        (
            format!("{alice}groups = [\"gold\"]\n[group.golf]"),
            "5:8",
            "no consumer is in group `golf` (did you mean `gold`?)",
        ),
    ];
    for (lines, place, words) in &rows {
        // A rate whose limit no route has is reported as well, as a warning.
        let found = problems(&format!("route=[]\n{lines}"));
        let found: Vec<_> = found.iter().filter(|line| !line.contains("no route has")).collect();
        assert_eq!(found.len(), 1, "{lines}\n{found:?}");
        assert!(
            found[0].starts_with(&format!("{place}: ")) && found[0].contains(words),
            "{lines}\n{found:?}"
        );
    }
}

#[test]
fn a_rate_that_replaces_that_of_no_limit_is_warned_of() {
    let route = "[[route]]\npath=\"/\"\nrespond={}\nrate_limit=[{ name=\"api\", rate=\"1/s\" }]\n";
    let rows = [
        (
            "[[consumer]]\nname = \"a\"\nlimits = { apis = \"1/s\" }",
            "7:12",
            "limit `apis` (did you mean `api`?)",
        ),
        (
            "[[consumer]]\nname = \"a\"\ngroups = [\"g\"]\n[group.g]\nlimits = { files = \"1/s\" }",
            "9:12",
            "`files` (a limit goes by",
        ),
    ];
    for (lines, place, words) in rows {
        let text = format!("{route}{lines}");
        each_has_one_problem("@", &[(&text, place, words)]);
        assert!(read(&text).is_ok(), "only a warning");
    }
}

#[test]
fn api_keys_stand_in_a_header_and_in_a_query_parameter_if_one_is_named() {
    let found = plan_of("[api_keys]\nheader = \"X-Token\"\nquery = \"apiKey\"").api_keys;
    assert_eq!(
        found.from,
        [CredentialPlace::Header("x-token".into()), CredentialPlace::Query("apiKey".into())]
    );
    each_has_one_problem(
        FILE,
        &[
            ("[api_keys]\nheader = \"a b\"", "2:10", "is not a field name"),
            ("[api_keys]\nheader = \"Content-Length\"", "2:10", "cannot be edited"),
            ("[api_keys]\nheader = \"X-Real-IP\"", "2:10", "removes or writes this header"),
            ("[api_keys]\nheader = \"x-forwarded-key\"", "2:10", "removes or writes this header"),
            ("[api_keys]\nheader = \"x_consumer_name\"", "2:10", "removes or writes this header"),
            ("[api_keys]\nquery = \"\"", "2:9", "without a name"),
        ],
    );
}

#[test]
fn a_token_has_the_defaults_of_the_contract() {
    let found = plan_of("[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"env:SECRET\"").jwts;
    let want = Jwt {
        name: "main".into(),
        algorithms: vec![Algorithm::HS256],
        key: JwtKey::Secret(Secret((*b"0123456789abcdef0123456789abcdef").into())),
        issuer: None,
        audience: vec![],
        leeway: Duration::from_secs(60),
        from: vec![CredentialPlace::Header("authorization".into())],
        consumer_claim: "sub".into(),
        forward: true,
        headers: vec![],
    };
    assert_eq!(found, [Arc::new(want)]);
}

#[test]
fn every_key_of_a_token_is_taken() {
    let text = r#"
        [jwt.b]
        algorithms = ["ES256"]
        public_key = "file:key.pem"
        issuer = "https://id.example.com"
        audience = ["api", "web"]
        leeway = "0s"
        from = ["header:X-Token", "cookie:Sid", "query:access_token"]
        consumer_claim = "client_id"
        forward = false
        headers = { sub = "X-User-Id", "https://example.com/tenant" = "x-tenant" }
        [jwt.a]
        algorithms = ["PS512", "ES384", "EdDSA"]
        jwks = "https://id.example.com:8443/jwks.json?v=1"
        audience = "api"
        [jwt.c]
        algorithms = ["HS256"]
        jwks = '{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI"}]}'
        [jwt.d]
        algorithms = ["RS256"]
        jwks = "http://127.0.0.1:9000/jwks"
    "#;
    let found = plan_of(text).jwts;
    let names: Vec<_> = found.iter().map(|jwt| &*jwt.name).collect();
    assert_eq!(names, ["b", "a", "c", "d"], "in the file's order");
    let want = Jwt {
        name: "b".into(),
        algorithms: vec![Algorithm::ES256],
        key: JwtKey::PublicKey(PEM.trim_end().into()),
        issuer: Some("https://id.example.com".into()),
        audience: vec!["api".into(), "web".into()],
        leeway: Duration::ZERO,
        from: vec![
            CredentialPlace::Header("x-token".into()),
            CredentialPlace::Cookie("Sid".into()),
            CredentialPlace::Query("access_token".into()),
        ],
        consumer_claim: "client_id".into(),
        forward: false,
        headers: vec![
            ("sub".into(), "x-user-id".into()),
            ("https://example.com/tenant".into(), "x-tenant".into()),
        ],
    };
    assert_eq!(*found[0], want);
    assert_eq!(found[1].key, JwtKey::JwksUrl("https://id.example.com:8443/jwks.json?v=1".into()));
    assert_eq!(found[1].algorithms, [Algorithm::PS512, Algorithm::ES384, Algorithm::EdDSA]);
    assert_eq!(found[1].audience, ["api"].map(Arc::<str>::from));
    let jwks = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI"}]}"#;
    assert_eq!(found[2].key, JwtKey::Jwks(jwks.into()));
    assert_eq!(found[3].key, JwtKey::JwksUrl("http://127.0.0.1:9000/jwks".into()));
}

#[test]
fn keys_and_algorithms_that_do_not_go_together_are_refused() {
    each_has_one_problem(
        &FILE.replace('@', "[jwt.main]\n@"),
        &[
            ("secret = \"env:SECRET\"", "0:1", "jwt `main` without `algorithms`"),
            ("algorithm = [\"HS256\"]\nsecret = \"env:SECRET\"", "1:1", "did you mean `algorithms`?"),
            ("algorithms = [\"HS256\"]", "0:1", "jwt `main` without a key"),
            ("algorithms = [\"HS256\"]\nsecrt = \"x\"", "2:1", "did you mean `secret`?"),
            ("algorithms = []\nsecret = \"env:SECRET\"", "1:14", "at least one"),
            ("algorithms = [\"none\"]\nsecret = \"env:SECRET\"", "1:15", "never accepted"),
            ("algorithms = [\"hs256\"]\nsecret = \"env:SECRET\"", "1:15", "not a known algorithm"),
            ("algorithms = [\"HS256\", \"RS256\"]\nsecret = \"env:SECRET\"", "1:14", "mixes"),
            ("algorithms = [\"RS256\"]\nsecret = \"env:SECRET\"", "2:10", "write `public_key` or `jwks`"),
            ("algorithms = [\"HS256\"]\npublic_key = \"file:key.pem\"", "2:14", "write `secret`"),
            (
                "algorithms = [\"RS256\"]\npublic_key = \"file:key.txt\"",
                "2:14",
                "`public_key`: this is no PEM file",
            ),
            ("algorithms = [\"RS256\"]\npublic_key = \"file:none.pem\"", "2:14", "cannot read"),
            (
                "algorithms = [\"HS256\"]\nsecret = \"env:SECRET\"\njwks = \"https://h/\"",
                "3:8",
                "both `secret` and `jwks`",
            ),
            ("algorithms = [\"RS256\"]\njwks = \"https://me:x@h/\"", "2:8", "without user name"),
            ("algorithms = [\"RS256\"]\njwks = \"https://h/#a\"", "2:8", "`jwks` cannot be"),
            ("algorithms = [\"RS256\"]\njwks = \"http://h/jwks\"", "2:8", "put keys of their own in"),
            ("algorithms = [\"HS512\"]\nsecret = \"env:SECRET\"", "2:10", "has 32 bytes"),
            (
                "algorithms = [\"HS256\"]\njwks = '{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}'",
                "2:8",
                "no usable key (key 1: the secret has 6 bytes; HS256 needs at least 32)",
            ),
            (
                "algorithms = [\"HS256\"]\njwks = '{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"c2VjcmV0\"},\
                 {\"kty\":\"oct\",\"k\":\"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI\"}]}'",
                "2:8",
                "key 1 (\"a\"): the secret has 6 bytes; HS256 needs at least 32; it is not used (replace",
            ),
        ],
    );
}

#[test]
fn places_and_headers_of_tokens_are_checked() {
    let provider = "[jwt.main]\nalgorithms = [\"HS256\"]\nsecret = \"env:SECRET\"\n@";
    each_has_one_problem(
        &FILE.replace('@', provider),
        &[
            ("leeway = \"1500ms\"", "1:10", "whole seconds"),
            ("from = []", "1:8", "empty list"),
            ("from = [\"body:x\"]", "1:9", "is no place of a token"),
            ("from = [\"header:a b\"]", "1:9", "that none can have"),
            ("from = [\"header:connection\"]", "1:9", "removes or writes this header"),
            ("from = [\"header:X-Consumer-Name\"]", "1:9", "removes or writes this header"),
            ("from = [\"header:x-forwarded-user\"]", "1:9", "removes or writes this header"),
            ("from = [\"header:x_forwarded_user\"]", "1:9", "removes or writes this header"),
            ("from = [\"cookie:\"]", "1:9", "is no place"),
            ("headers = { sub = \"a b\" }", "1:19", "is not a field name"),
            ("headers = { sub = \"Transfer-Encoding\" }", "1:19", "cannot be edited"),
            ("headers = { sub = \"host\" }", "1:19", "cannot be edited here"),
            ("headers = { sub = \"X-Forwarded-For\" }", "1:19", "has another meaning"),
            ("headers = { sub = \"x-consumer-name\" }", "1:19", "has another meaning"),
            ("headers = { sub = \"Authorization\" }", "1:19", "has another meaning"),
            (
                "from = [\"header:x-t\"]\nheaders = { sub = \"X-T\" }",
                "1:9",
                "a claim of jwt `main` becomes it",
            ),
            ("headers = { sub = \"x-u\", uid = \"X-U\" }", "1:32", "two claims for the header"),
        ],
    );
}

#[test]
fn no_credential_stands_where_a_claim_of_any_provider_is_told() {
    let provider = |name: &str, keys: &str| {
        format!("[jwt.{name}]\nalgorithms = [\"HS256\"]\nsecret = \"env:SECRET\"\n{keys}\n")
    };
    let teller = provider("a", "headers = { sub = \"X-User\" }");
    let claim = "a claim of jwt `a` becomes it";
    for (keys, place) in [
        (provider("b", "from = [\"cookie:c\", \"header:x-user\"]"), "8:21"),
        (provider("b", "from = [\"header:x_user\"]"), "8:9"),
        ("[api_keys]\nheader = \"x-USER\"".to_owned(), "6:10"),
    ] {
        each_has_one_problem(FILE, &[(&format!("{teller}{keys}"), place, claim)]);
    }
    let default = provider("a", "headers = { sub = \"X-Api-Key\" }");
    let keyed = "[[route]]\npath = \"/\"\nrespond = {}\nauth = [\"key\"]";
    each_has_one_problem("@", &[(&format!("{default}{keyed}"), "4:19", "an API key cannot stand in")]);
    let others = provider("b", "from = [\"cookie:x-user\", \"query:x-user\", \"header:x-users\"]");
    assert!(problems(&format!("route = []\n{teller}{others}")).is_empty());
    assert!(problems(&format!("route = []\n{default}")).is_empty(), "no route takes keys");
}
