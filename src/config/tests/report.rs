//! All of a file's problems together, and how they are shown.

use std::time::Instant;

use super::*;
use crate::config::{load, schema, summary};

#[test]
fn all_problems_of_a_file_are_reported_in_its_order() {
    let text = r#"
[server]
listen = 80
shards = 0
[serve]
[upstream.up]
targets = ["http://a/x", "ftp://b"]
[store]
url = "memcached://127.0.0.1"
[[route]]
path = ["x", "/y z"]
methods = ["GET"]
upstream = "down"
timeout = 5
"#;
    let found = problems(text);
    let places: Vec<_> =
        found.iter().map(|line| line.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(
        places,
        ["3:10", "4:10", "5:2", "6:11", "7:12", "7:26", "9:7", "11:9", "11:14", "12:1", "13:12", "14:11"],
        "{found:#?}"
    );
}

#[test]
fn a_problem_is_shown_with_its_line_a_caret_and_a_hint() {
    let found = read("[[route]]\npath = \"/x\"\nupstrem = \"users\"\n").unwrap_err();
    let want = "\
error: unknown key `upstrem`
 --> f.toml:3:1
  |
3 | upstrem = \"users\"
  | ^^^^^^^
  |
  = help: did you mean `upstream`?

";
    assert_eq!(found.render(false), want);
    assert!(found.render(true).contains("\u{1b}["), "coloured for a terminal");
}

#[test]
fn secrets_are_never_shown() {
    for text in [
        format!("jwt.main.secret = \"{HUSH}\""),
        format!("jwt = {{ main = {{ secret = \"{HUSH}\" }} }}"),
        format!("[jwt.main]\nsecret = \"{HUSH}"),
        format!("[jwt.main]\nalgorithms = [\"RS256\"]\npublic_key = \"PRIVATE {HUSH}\""),
        format!(
            "[jwt.main]\nalgorithms = [\"HS256\"]\njwks = '{{\"k\":\"{HUSH}\"}}'\nsecret = \"file:hush.txt\""
        ),
        "[jwt.main]\nalgorithms = [\"RS256\"]\nsecret = \"env:HUSH\"".to_owned(),
        "[jwt.main]\nalgorithms = [\"RS256\"]\npublic_key = \"env:HUSH\"".to_owned(),
        format!("consumer = [{{ api_keys = [\"{HUSH}\"] }}]"),
        format!("consumer = [{{ name = \"a\", basic = [\"me:{HUSH}\"] }}]"),
        format!("consumer = [{{ name = \"a\", aws_keys = [{{ id = \"a\", secret = \"{HUSH}\" }}] }}]"),
        format!("[admin]\ntoken = \"{HUSH} with a blank\""),
        format!("consumer = [{{ name = \"a\", api_keys = [\"{HUSH} with a blank\"] }}]"),
        format!("consumer = [{{ name = \"a\", api_keys = [\n\"{HUSH}\",\n\"{HUSH}\" ] }}]"),
        "consumer = [{ name = \"a\", api_keys = [\"env:HUSH\", \"file:hush.txt\"] }]".to_owned(),
        format!("store = {{ url = \"memcached://me:{HUSH}@127.0.0.1\" }}"),
        format!("store = {{ url = \"redis-cluster://me:a,{HUSH}@a,b\", timeout = 1 }}"),
        format!("store = {{ url = \"redis+unix:///s?pass={HUSH}\", timeout = 1 }}"),
        "store = { url = \"env:HUSH\" }".to_owned(),
        format!("[upstream.a]\ntargets = [\"http://me:{HUSH}@a\"]"),
        format!("[upstream.a]\ntargets = [\"redis://me:{HUSH}@a\"]"),
    ] {
        let found = read(&text).unwrap_err();
        let shown = found.render(false) + &*found.lines().collect::<String>() + &*format!("{found:?}");
        assert!(!shown.contains(HUSH), "{shown}");
    }
}

#[test]
fn secrets_are_neither_in_a_plans_debug_text_nor_in_its_summary() {
    let text = r#"
        store.url = "env:REDIS_URL"
        jwt.main = { algorithms = ["HS256"], secret = "file:hush.txt" }
        consumer = [{ name = "alice", api_keys = ["env:HUSH"] }]
        [[route]]
        path = "/"
        respond = {}
        auth = ["jwt:main", "key"]
    "#;
    let loaded = read(text).unwrap();
    let hash = loaded.plan.consumers[0].api_keys[0].to_hex();
    assert_eq!(loaded.plan.store.as_ref().unwrap().url.text(), Some(&*format!("rediss://me:{HUSH}@h")));
    for shown in [summary(&loaded.plan), format!("{loaded:?}"), loaded.warnings.render(false)] {
        assert!(!shown.contains(HUSH) && !shown.contains(&hash), "{shown}");
    }
}

#[test]
fn the_summary_tells_of_the_store_of_clients_and_of_limits() {
    let text = r#"
        store.url = "env:REDIS_URL"
        jwt.main = { algorithms = ["HS256", "HS512"], secret = "env:SECRET" }
        consumer = [{ name = "alice", api_keys = ["a", "b"] }, { name = "bob" }]
        [[route]]
        name = "users"
        path = "/u"
        respond = {}
        ip = { deny = ["10.0.0.0/8"] }
        cors = { origins = ["*"] }
        auth = ["jwt:main", "key"]
        require = { groups = ["gold"] }
        rate_limit = [
            { name = "api", rate = "100/min" },
            { rate = "5/s", by = "jwt:tenant", mode = "strict", dry_run = true },
        ]
    "#;
    let shown = summary(&plan(text));
    for part in [
        "store      Redis over TLS, timeout 100ms, keys under ringway\n",
        "jwt        main (HS256 HS512 by a secret)\n",
        "consumers  2, with 2 API keys\n",
        "/u -> respond 200; ip rules; cors; auth jwt:main or key; requirements; limit api 100/min by consumer; \
         limit users-2 5/s by jwt:tenant, strict, dry run\n",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    assert!(summary(&plan("")).contains("store      embedded"));
}

#[test]
fn an_unreadable_file_and_one_that_is_not_utf_8_are_problems() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.toml");
    let found = load(&path, &TestOutside).unwrap_err();
    assert!(found.render(false).contains("cannot read the configuration: No such file"), "{found:?}");
    assert!(found.render(false).contains("--config FILE"));
    std::fs::write(&path, b"[server]\nlisten = \"\xff\"\n").unwrap();
    let found = load(&path, &TestOutside).unwrap_err();
    assert!(found.lines().next().unwrap().contains("none.toml:2:11: this is not UTF-8"), "{found:?}");
}

#[test]
fn the_schema_and_the_documentation_name_the_same_keys() {
    let doc = include_str!("../../../docs/configuration.md");
    let mut documented: Vec<&str> = doc
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`'))
        .map(|(key, _)| key)
        .collect();
    let mut known = schema::paths();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);
}

#[test]
fn the_summary_fits_a_screen_however_much_there_is() {
    let route = |n: usize| format!("[[route]]\nname = \"r{n}\"\npath = \"/{n}/*\"\nupstream = \"u{n}\"\n");
    let upstream = |n: usize| format!("[upstream.u{n}]\ntargets = [\"http://a\", \"http://b\"]\n");
    let text: String = (0..100).map(|n| route(n) + &*upstream(n)).collect();
    let shown = summary(&plan(&text));
    assert!(shown.lines().count() <= 40, "{shown}");
    assert!(shown.contains("0.0.0.0:8080") && shown.contains("http://a, http://b"), "{shown}");
    assert!(shown.contains("/0/* -> u0") && shown.contains("… and 84 more"), "{shown}");
}

#[test]
fn many_routes_load_in_a_time_that_grows_with_their_number_alone() {
    let text = |routes: usize, wrong: bool| {
        let upstream = if wrong { "none" } else { "up" };
        let head = "upstream.up.targets = \"http://a\"\n".to_string();
        let route = |n| {
            format!("[[route]]\nname = \"r{n}\"\npath = \"/api/{n}/{{id}}\"\nupstream = \"{upstream}\"\n")
        };
        head + &*(0..routes).map(route).collect::<String>()
    };
    let took = |text: &str| {
        let start = Instant::now();
        let lines = read(text)
            .map_or_else(|problems| problems.render(false).len(), |loaded| loaded.plan.routes.len());
        assert!(lines > 0);
        start.elapsed()
    };
    for wrong in [false, true] {
        let (few, many) = (took(&text(500, wrong)), took(&text(8_000, wrong)));
        assert!(many < few * 100, "16 times the routes: {few:?}, then {many:?}");
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_every_problem_has_a_place_in_it(text in "[a-z=\\[\\]{}\"'.\n é0-9,#/*]{0,200}") {
            if let Err(found) = read(&text) {
                prop_assert!(found.has_errors());
                let lines = text.lines().count().max(1) + 1;
                for problem in found.iter() {
                    let (line, _) = problem.position().expect("a place");
                    prop_assert!(line <= lines);
                }
                found.render(true);
            }
        }

        #[test]
        fn no_value_of_a_route_makes_it_panic(path in ".{0,40}", rewrite in ".{0,40}", host in ".{0,20}") {
            let quote = |text: &str| toml::Value::from(text).to_string();
            let text = format!(
                "[[route]]\npath = {}\nhost = {}\nrewrite = {}\nredirect = {{ to = {} }}",
                quote(&path), quote(&host), quote(&rewrite), quote(&rewrite)
            );
            if let Err(found) = read(&text) {
                found.render(true);
            }
        }

        #[test]
        fn no_value_about_clients_makes_it_panic(text in ".{0,40}", url in "https?://[a-z0-9:@/*.?#é\\[\\]]{0,20}") {
            for text in [text, url] {
                let text = toml::Value::from(text);
                let text = format!(
                    "store.url = {text}\njwt.a = {{ algorithms = [\"RS256\"], jwks = {text}, from = [{text}] }}\n\
                     consumer = [{{ name = {text}, api_keys = [{text}] }}]\n[[route]]\npath = \"/\"\nrespond = {{}}\n\
                     cors = {{ origins = [{text}], methods = [{text}] }}\nauth = [{text}]\n\
                     rate_limit = [{{ rate = {text}, by = {text} }}]"
                );
                if let Err(found) = read(&text) {
                    found.render(true);
                }
            }
        }
    }
}
