//! Random sequences of pipelined requests through every hook: each answer belongs to its request, whatever the one
//! before it was.

use super::{route_to, with_script};
use crate::support::{Client, DRIVERS, Message, Origin, Peer, Random};

const HOOKS: [&str; 4] = ["on_request", "on_request_body", "on_response", "on_response_body"];
const ACTIONS: [&str; 9] = ["pass", "text", "none", "unchanged", "deny", "throw", "body", "to204", "to200"];
const FRAMES: [&str; 5] = ["length", "chunked", "close", "204", "304"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "HEAD"];

/// Does what the client's `x-do` says, in the hook that its `x-hook` names.
fn script() -> String {
    let actions = r#"
        let h = req.headers;
        switch h["x-do"] {
            "text" => return respond(200, `text ${h["x-n"]}`, #{ "x-n": h["x-n"] }),
            "none" => return respond(204, (), #{ "x-n": h["x-n"] }),
            "unchanged" => return respond(304, (), #{ "x-n": h["x-n"] }),
            "deny" => return deny(h["x-n"]),
            "throw" => throw "as told",
    "#;
    let requests = r#" "body" => { req.body = `new ${h["x-n"]}`; } } "#;
    let responses = r#"
            "body" => { res.body = `new ${h["x-n"]}`; }
            "to204" => { res.status = 204; }
            "to200" => { res.status = 200; }
        }
    "#;
    let hook = |name: &str| {
        let (arguments, rest) =
            if name.starts_with("on_request") { ("req", requests) } else { ("req, res", responses) };
        format!(
            "fn {name}({arguments}) {{ if req.headers[\"x-hook\"] == \"{name}\" {{ {actions} {rest} }} }}\n"
        )
    };
    HOOKS.map(hook).concat()
}

/// Answers in the framing that `x-frame` asks for, with the request's body, and its number in `X-N`.
fn framed(peer: &mut Peer) {
    while let Some(request) = peer.request() {
        let n = request.field("x-n").expect("every request has a number").to_owned();
        let body = request.body.as_slice();
        let frame = request.field("x-frame").unwrap_or_default();
        let (status, framing) = match frame {
            "chunked" => (200, "Transfer-Encoding: chunked\r\n".to_owned()),
            "close" => (200, "Connection: close\r\n".to_owned()),
            "204" => (204, String::new()),
            "304" => (304, String::new()),
            _ => (200, format!("Content-Length: {}\r\n", body.len())),
        };
        let mut out = format!("HTTP/1.1 {status} X\r\nX-N: {n}\r\n{framing}\r\n").into_bytes();
        if request.method() != "HEAD" && status == 200 {
            match frame {
                "chunked" if !body.is_empty() => {
                    out.extend(format!("{:x}\r\n", body.len()).bytes());
                    out.extend_from_slice(body);
                    out.extend(b"\r\n0\r\n\r\n");
                }
                "chunked" => out.extend(b"0\r\n\r\n"),
                _ => out.extend_from_slice(body),
            }
        }
        peer.send(out);
        if frame == "close" {
            return;
        }
    }
}

#[derive(Debug)]
struct Case {
    n: usize,
    method: &'static str,
    action: &'static str,
    hook: &'static str,
    frame: &'static str,
    body: String,
    chunked: bool,
}

impl Case {
    fn roll(random: &mut Random, n: usize) -> Case {
        let method = random.pick(&METHODS);
        let body = match method {
            "POST" | "PUT" => "b".repeat([0, 3, 5000, 40_000][random.below(4)]),
            _ => String::new(),
        };
        let (action, hook, frame) = (random.pick(&ACTIONS), random.pick(&HOOKS), random.pick(&FRAMES));
        Case { n, method, action, hook, frame, chunked: !body.is_empty() && random.below(2) == 0, body }
    }

    fn bytes(&self) -> String {
        let Case { n, method, action, hook, frame, body, chunked } = self;
        let head = format!(
            "{method} /{n} HTTP/1.1\r\nHost: t\r\nX-N: {n}\r\nX-Do: {action}\r\nX-Hook: {hook}\r\nX-Frame: {frame}\r\n"
        );
        match (chunked, body.is_empty()) {
            (true, _) => {
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
            }
            (false, true) => format!("{head}\r\n"),
            (false, false) => format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()),
        }
    }

    /// The status that is due, and the body; `None`: any.
    fn due(&self) -> (u16, Option<String>) {
        let of_origin = match self.frame {
            "204" => 204,
            "304" => 304,
            _ => 200,
        };
        let new = format!("new {}", self.n);
        let is_request = self.hook.starts_with("on_request");
        let echoed = if of_origin == 200 { self.body.clone() } else { String::new() };
        // What has no whole body passes `on_response_body` by.
        let ran = self.hook != "on_response_body" || (of_origin == 200 && self.method != "HEAD");
        if !ran {
            return (of_origin, Some(String::new()));
        }
        match self.action {
            "text" => (200, Some(format!("text {}", self.n))),
            "none" => (204, Some(String::new())),
            "unchanged" => (304, Some(String::new())),
            "deny" => (403, None),
            "throw" => (500, None),
            "body" if is_request => (of_origin, Some(if of_origin == 200 { new } else { String::new() })),
            "body" if of_origin == 200 => (200, Some(new)),
            "body" => (of_origin, Some(String::new())),
            "to204" if !is_request => (204, Some(String::new())),
            "to200" if !is_request => (200, Some(echoed)),
            _ => (of_origin, Some(echoed)),
        }
    }

    /// Answered before its body may all be here, which ends the connection.
    fn may_leave_a_body(&self) -> bool {
        self.hook == "on_request" && self.body.len() > 3
    }

    fn check(&self, answer: &Message, context: &str) {
        let (status, body) = self.due();
        assert_eq!(answer.status(), status, "{context}: {self:?}");
        assert!(self.may_leave_a_body() || !answer.connection_lists("close"), "{context}: {self:?}");
        match body {
            Some(body) => {
                assert_eq!(answer.field("x-n"), Some(self.n.to_string().as_str()), "{context}: {self:?}");
                let body = if self.method == "HEAD" { "" } else { &body };
                assert!(answer.body == body.as_bytes(), "{context}: {self:?}");
            }
            None if self.method != "HEAD" && status == 403 => {
                assert_eq!(answer.json()["detail"], self.n.to_string(), "{context}: {self:?}");
            }
            None => assert_eq!(answer.field("content-type"), Some("application/problem+json"), "{context}"),
        }
    }
}

#[test]
fn each_answer_belongs_to_its_request() {
    for driver in DRIVERS {
        let origin = Origin::new(framed);
        let gateway = with_script(&script()).driver(driver).start(&route_to(&origin, ""));
        for seed in 1..40 {
            let mut random = Random(seed);
            let cases: Vec<Case> = (0..12).map(|n| Case::roll(&mut random, n)).collect();
            let bytes: String = cases.iter().map(Case::bytes).collect();
            let mut client: Client = gateway.connect();
            let cut = random.below(bytes.len());
            client.send_taken(&bytes[..cut]).send_lossy(&bytes[cut..]);
            for case in &cases {
                let answer = client.response_to(case.method);
                case.check(&answer, &format!("{driver}, seed {seed}"));
                if answer.connection_lists("close") {
                    break;
                }
            }
        }
        assert_eq!(gateway.metric("ringway_panics_total", ""), 0.0);
    }
}
