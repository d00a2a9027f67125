//! A strict reading of one HTTP/1 message: what a test compares against.

use super::show;

/// A request or response as it stood on the wire.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Start line and fields, with the empty line.
    pub head: Vec<u8>,
    /// Without its line end.
    pub start_line: String,
    /// Name and value in their order and case; values without surrounding whitespace.
    pub fields: Vec<(String, String)>,
    /// Decoded, if it was chunked.
    pub body: Vec<u8>,
    /// The body as it stood on the wire, chunk framing included.
    pub raw_body: Vec<u8>,
    /// The trailer section's fields.
    pub trailers: Vec<(String, String)>,
}

impl Message {
    /// Reads a head that ends with an empty line. Panics on anything outside the grammar.
    pub fn from_head(head: Vec<u8>) -> Message {
        // Octets above ASCII are part of a value's grammar; one character for each, as in Latin-1.
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let body = text.strip_suffix("\r\n\r\n").unwrap_or_else(|| panic!("no end of head: {}", show(&head)));
        let mut lines = body.split("\r\n");
        let start_line = lines.next().expect("split yields at least one piece").to_string();
        assert!(is_clean(&start_line), "control byte in start line: {}", show(&head));
        let fields = lines.map(|line| field(line, &head)).collect();
        Message { start_line, fields, head, ..Message::default() }
    }

    /// A response's status code.
    pub fn status(&self) -> u16 {
        let rest = self
            .start_line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| self.start_line.strip_prefix("HTTP/1.0 "))
            .unwrap_or_else(|| panic!("no status line: {:?}", self.start_line));
        assert!(rest.len() >= 4 && rest.as_bytes()[3] == b' ', "status line: {:?}", self.start_line);
        rest[..3].parse().unwrap_or_else(|_| panic!("status line: {:?}", self.start_line))
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.start_line.split(' ').next().unwrap_or_default()
    }

    /// A request's target.
    pub fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The one value of the field, `None` if it is absent. Panics if it stands there twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands {} times in {}", all.len(), show(&self.head));
        all.first().copied()
    }

    /// Every value of the field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_else(|_| panic!("body is no text: {}", show(&self.body)))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("body is no JSON ({e}): {}", show(&self.body)))
    }

    /// The body read as a request's head: what `Origin::echo` saw.
    pub fn echoed(&self) -> Message {
        Message::from_head(self.body.clone())
    }

    /// Whether the last transfer coding is chunked.
    pub fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    }

    /// `Content-Length`, if there is one.
    pub fn content_length(&self) -> Option<usize> {
        self.field("content-length").map(|v| v.parse().unwrap_or_else(|_| panic!("Content-Length: {v:?}")))
    }

    /// Whether `Connection` lists this option.
    pub fn connection_lists(&self, option: &str) -> bool {
        self.all("connection")
            .iter()
            .flat_map(|v| v.split(','))
            .any(|o| o.trim().eq_ignore_ascii_case(option))
    }
}

/// One field line, name and value. `head` is for the failure message.
pub fn field(line: &str, head: &[u8]) -> (String, String) {
    let (name, value) =
        line.split_once(':').unwrap_or_else(|| panic!("no colon in {line:?} of {}", show(head)));
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    assert!(!name.is_empty() && name.bytes().all(token), "field name {name:?} in {}", show(head));
    assert!(is_clean(value), "control byte in {line:?} of {}", show(head));
    (name.to_string(), value.trim_matches([' ', '\t']).to_string())
}

fn is_clean(text: &str) -> bool {
    text.chars().all(|c| c == '\t' || (c >= ' ' && c != '\x7f'))
}
