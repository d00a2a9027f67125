//! `req`, `res` and their headers.

use super::*;

#[test]
fn headers_are_read_set_added_and_removed_in_any_case() {
    let mut fixture = Fixture::of(
        r#"fn on_request(req) {
            let h = req.headers;
            req.ctx.got = [h["X-TAG"], h["none"], h.all("x-tag"), "x-tag" in h, "no" in h, h.names()];
            h["x-tag"] = "c";
            h.add("X-New", 7);
            req.headers["x-other"] = true;
            h.remove("host-hint");
        }"#,
    );
    fixture.run();
    assert_eq!(fixture.got(), r#"["a",null,["a","b"],true,false,["host","x-tag"]]"#);
    assert_eq!(fixture.request_head(), "Host: shop.example\r\nX-Tag: c\r\nX-New: 7\r\nx-other: true\r\n");
}
