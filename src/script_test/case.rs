//! The map that a test hands to `run`: the request, who sends it, and what the upstream is to answer.

use std::net::{IpAddr, Ipv4Addr};

use rhai::{Dynamic, Map};

use crate::base::suggest::closest;
use crate::plan::Consumer;

/// A request, and the answer of the upstream that it will meet.
pub struct TestCase {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Empty: none.
    pub body: Vec<u8>,
    pub client_ip: IpAddr,
    pub consumer: Option<Consumer>,
    pub claims: Option<serde_json::Map<String, serde_json::Value>>,
    /// In place of the route's own of these names.
    pub vars: Vec<(String, String)>,
    pub upstream: UpstreamAnswer,
}

pub struct UpstreamAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What is wrong with the map, in a sentence.
type CaseResult<T> = Result<T, String>;

impl TestCase {
    pub fn of(map: &Map) -> CaseResult<TestCase> {
        let keys =
            ["method", "path", "headers", "body", "client_ip", "consumer", "claims", "vars", "upstream"];
        check_keys("", map, &keys)?;
        let (body, is_json) = body(map, "body")?;
        let mut headers = headers(map, "headers")?;
        announce_json(&mut headers, is_json);
        let nothing = Map::new();
        Ok(TestCase {
            method: text(map, "method")?.unwrap_or_else(|| "GET".to_owned()),
            target: text(map, "path")?.ok_or("`path` is missing: which path is asked for?")?,
            headers,
            body,
            client_ip: client_ip(map)?,
            consumer: member_map(map, "consumer")?.map(consumer).transpose()?,
            claims: member_map(map, "claims")?.map(claims).transpose()?,
            vars: pairs(&member_map(map, "vars")?.unwrap_or_default(), "vars")?,
            upstream: UpstreamAnswer::of(member_map(map, "upstream")?.as_ref().unwrap_or(&nothing))?,
        })
    }
}

impl UpstreamAnswer {
    fn of(map: &Map) -> CaseResult<UpstreamAnswer> {
        check_keys("upstream.", map, &["status", "headers", "body"])?;
        let (body, is_json) = body(map, "body")?;
        let mut headers = headers(map, "headers")?;
        announce_json(&mut headers, is_json);
        let status = match member(map, "status") {
            None => 200,
            Some(status) => status
                .as_int()
                .ok()
                .and_then(|status| u16::try_from(status).ok())
                .filter(|status| (200..=599).contains(status))
                .ok_or_else(|| format!("`upstream.status` is 200 to 599, not {status:?}"))?,
        };
        Ok(UpstreamAnswer { status, headers, body })
    }
}

fn client_ip(map: &Map) -> CaseResult<IpAddr> {
    match text(map, "client_ip")? {
        None => Ok(Ipv4Addr::LOCALHOST.into()),
        Some(text) => text.parse().map_err(|_| format!("`client_ip` is an address, not {text:?}")),
    }
}

fn claims(map: Map) -> CaseResult<serde_json::Map<String, serde_json::Value>> {
    match json_of(&Dynamic::from_map(map))? {
        serde_json::Value::Object(claims) => Ok(claims),
        other => Err(format!("`claims` is a map, not {other}")),
    }
}

fn consumer(map: Map) -> CaseResult<Consumer> {
    check_keys("consumer.", &map, &["name", "groups", "permissions"])?;
    Ok(Consumer {
        name: text(&map, "name")?.ok_or("`consumer.name` is missing")?.into(),
        groups: texts(&map, "groups")?.into_iter().map(Into::into).collect(),
        permissions: texts(&map, "permissions")?.into_iter().map(Into::into).collect(),
        api_keys: Vec::new(),
        limits: Vec::new(),
    })
}

/// Refuses a name that means nothing here: it is a slip.
fn check_keys(whose: &str, map: &Map, known: &[&str]) -> CaseResult<()> {
    let Some(unknown) = map.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let hint = match closest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean `{whose}{near}`?"),
        None => format!("there are {}", known.join(", ")),
    };
    Err(format!("`{whose}{unknown}` means nothing to `run`: {hint}"))
}

/// A member that is not `()`.
fn member<'m>(map: &'m Map, name: &str) -> Option<&'m Dynamic> {
    map.get(name).filter(|value| !value.is_unit())
}

fn member_map(map: &Map, name: &str) -> CaseResult<Option<Map>> {
    member(map, name)
        .map(|value| {
            let wrong = || format!("`{name}` is a map, not {}", kind(value));
            value.as_map_ref().map(|map| map.clone()).map_err(|_| wrong())
        })
        .transpose()
}

fn text(map: &Map, name: &str) -> CaseResult<Option<String>> {
    member(map, name)
        .map(|value| {
            let wrong = || format!("`{name}` is a string, not {}", kind(value));
            value.as_immutable_string_ref().map(|text| text.to_string()).map_err(|_| wrong())
        })
        .transpose()
}

fn texts(map: &Map, name: &str) -> CaseResult<Vec<String>> {
    let Some(value) = member(map, name) else { return Ok(Vec::new()) };
    let list = value.as_array_ref().map_err(|_| format!("`{name}` is an array, not {}", kind(value)))?;
    list.iter().map(|value| plain(name, value)).collect()
}

/// Names with a value each; an array stands for several of one name.
fn pairs(map: &Map, whose: &str) -> CaseResult<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for (name, value) in map.iter().filter(|(_, value)| !value.is_unit()) {
        let what = format!("{whose}[{name:?}]");
        match value.as_array_ref() {
            Ok(list) => {
                for value in list.iter() {
                    pairs.push((name.to_string(), plain(&what, value)?));
                }
            }
            Err(_) => pairs.push((name.to_string(), plain(&what, value)?)),
        }
    }
    Ok(pairs)
}

fn headers(map: &Map, name: &str) -> CaseResult<Vec<(String, String)>> {
    pairs(&member_map(map, name)?.unwrap_or_default(), name)
}

/// Numbers and booleans are written out.
fn plain(what: &str, value: &Dynamic) -> CaseResult<String> {
    if value.is_string() || value.is_int() || value.is_float() || value.is_bool() || value.is_char() {
        return Ok(value.to_string());
    }
    Err(format!("`{what}` is a string, not {}", kind(value)))
}

/// The body, and whether it was made into JSON here.
fn body(map: &Map, name: &str) -> CaseResult<(Vec<u8>, bool)> {
    let Some(value) = member(map, name) else { return Ok((Vec::new(), false)) };
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok((text.as_bytes().to_vec(), false));
    }
    if let Ok(blob) = value.as_blob_ref() {
        return Ok((blob.to_vec(), false));
    }
    if value.is_map() || value.is_array() {
        return Ok((json_of(value)?.to_string().into_bytes(), true));
    }
    Err(format!("`{name}` is a string, a blob, a map or an array, not {}", kind(value)))
}

fn announce_json(headers: &mut Vec<(String, String)>, is_json: bool) {
    let is_said = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    if is_json && !is_said {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
}

fn json_of(value: &Dynamic) -> CaseResult<serde_json::Value> {
    serde_json::to_value(value).map_err(|error| format!("this cannot be written as JSON: {error}"))
}

fn kind(value: &Dynamic) -> String {
    match value.type_name() {
        "i64" => "a number".to_owned(),
        "string" => format!("{value:?}"),
        other => other.to_owned(),
    }
}
