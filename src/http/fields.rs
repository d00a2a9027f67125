//! A head's fields: a flat list in the order and spelling received, over one arena of bytes.

pub use super::name::FieldName;

/// A run of bytes in a head's arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ByteSpan {
    pub start: u32,
    pub len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Field {
    id: FieldName,
    name: ByteSpan,
    value: ByteSpan,
}

/// One field of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldRef<'a> {
    pub id: FieldName,
    /// As spelled by its sender.
    pub name: &'a [u8],
    /// Without the whitespace around it.
    pub value: &'a [u8],
}

impl FieldRef<'_> {
    fn is(&self, id: FieldName, name: &[u8]) -> bool {
        self.id == id && (id != FieldName::Other || self.name.eq_ignore_ascii_case(name))
    }
}

/// The fields of one head. Case and order are kept; a name may occur more than once.
///
/// A name that is added must be a token and its value a field value ([`super::hygiene`]); parsed heads hold nothing else.
/// Replaced bytes stay in the arena until `clear`, which keeps the allocation for the next head.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    arena: Vec<u8>,
    list: Vec<Field>,
    /// The known names that may be in the list, as a set of bits: a look-up of any other ends here.
    seen: u64,
}

impl Fields {
    /// The number of fields.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of the arena, those of replaced and removed fields included.
    pub fn stored_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Removes all fields and keeps the allocation.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.list.clear();
        self.seen = 0;
    }

    /// Becomes a copy of `other`, in the room that is there.
    pub fn copy_from(&mut self, other: &Fields) {
        self.arena.clone_from(&other.arena);
        self.list.clone_from(&other.list);
        self.seen = other.seen;
    }

    pub fn iter(&self) -> impl Iterator<Item = FieldRef<'_>> {
        self.list.iter().map(|field| self.field(field))
    }

    /// The first value of a known name. `FieldName::Other` has none: see [`Fields::find`].
    pub fn get(&self, id: FieldName) -> Option<&[u8]> {
        self.all(id).next()
    }

    /// Every value of a known name, in order.
    pub fn all(&self, id: FieldName) -> impl Iterator<Item = &[u8]> {
        let list = if self.may_have(id) { self.list.as_slice() } else { &[] };
        list.iter().filter(move |field| field.id == id).map(|field| self.bytes(field.value))
    }

    /// The first value of any name.
    pub fn find(&self, name: &[u8]) -> Option<&[u8]> {
        self.find_all(name).next()
    }

    /// Every value of any name, in order.
    pub fn find_all(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        let id = FieldName::of(name);
        let list = if id == FieldName::Other || self.may_have(id) { self.list.as_slice() } else { &[] };
        list.iter()
            .map(|field| self.field(field))
            .filter(move |field| field.is(id, name))
            .map(|field| field.value)
    }

    /// The value of a cookie (RFC 6265, 4.2), over all `Cookie` lines.
    pub fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let pairs = self.all(FieldName::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
        pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(name)?.strip_prefix(b"=")).next()
    }

    /// Makes `value` the only value of `name`, in the place and spelling of its first field, or at the end.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(super::hygiene::is_field_value(value), "not a field value");
        if !self.replace(FieldName::of(name), name, value) {
            self.add(name, value);
        }
    }

    /// Like [`set`](Self::set) for a known name, in its usual spelling where there is none yet.
    pub fn put(&mut self, id: FieldName, value: &[u8]) {
        debug_assert!(super::hygiene::is_field_value(value), "not a field value");
        if self.may_have(id) && self.replace(id, b"", value) {
            return;
        }
        let name = self.store(id.as_str().as_bytes());
        self.title_case(name);
        let value = self.store(value);
        self.seen |= id.bit();
        self.list.push(Field { id, name, value });
    }

    /// Gives the first field of that name the value and removes the others; false where there is none.
    fn replace(&mut self, id: FieldName, name: &[u8], value: &[u8]) -> bool {
        let Some(first) = self.list.iter().position(|field| self.field(field).is(id, name)) else {
            return false;
        };
        let value = self.store(value);
        self.list[first].value = value;
        self.retain_from(first + 1, |field| !field.is(id, name));
        true
    }

    /// Appends a field, also beside others of its name.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        debug_assert!(super::hygiene::is_token(name), "not a field name");
        debug_assert!(super::hygiene::is_field_value(value), "not a field value");
        let name = self.store(name);
        let value = self.store(value);
        self.push(name, value);
    }

    /// Removes every field of that name.
    pub fn remove(&mut self, name: &[u8]) {
        let id = FieldName::of(name);
        if id != FieldName::Other {
            return self.remove_id(id);
        }
        self.retain(|field| !field.is(id, name));
    }

    /// Removes every field of a known name; nothing for `FieldName::Other`.
    pub fn remove_id(&mut self, id: FieldName) {
        if self.may_have(id) {
            self.list.retain(|field| field.id != id);
            self.seen &= !id.bit();
        }
    }

    /// Keeps the fields for which `keep` is true, in their order.
    pub fn retain(&mut self, keep: impl FnMut(FieldRef<'_>) -> bool) {
        self.retain_from(0, keep);
    }

    /// Appends every field as a line of a head, `name: value` and CRLF.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for field in self.iter() {
            out.extend_from_slice(field.name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(field.value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Starts over with `head` as the arena; `count` fields whose spans lie in it are then pushed.
    pub(super) fn begin(&mut self, head: &[u8], count: usize) {
        self.clear();
        self.arena.extend_from_slice(head);
        self.list.reserve(count);
    }

    /// Appends a field whose bytes lie in the arena already.
    pub(super) fn push(&mut self, name: ByteSpan, value: ByteSpan) {
        let id = FieldName::of(self.bytes(name));
        self.seen |= id.bit();
        self.list.push(Field { id, name, value });
    }

    /// The bytes of a span; none if the arena was cleared meanwhile.
    pub(super) fn bytes(&self, span: ByteSpan) -> &[u8] {
        let start = span.start as usize;
        self.arena.get(start..start + span.len as usize).unwrap_or_default()
    }

    /// `x-request-id` becomes `X-Request-Id`.
    fn title_case(&mut self, span: ByteSpan) {
        let start = span.start as usize;
        let name = self.arena.get_mut(start..start + span.len as usize).unwrap_or_default();
        let mut begins = true;
        for byte in name {
            if begins {
                byte.make_ascii_uppercase();
            }
            begins = *byte == b'-';
        }
    }

    fn field(&self, field: &Field) -> FieldRef<'_> {
        FieldRef { id: field.id, name: self.bytes(field.name), value: self.bytes(field.value) }
    }

    fn may_have(&self, id: FieldName) -> bool {
        self.seen & id.bit() != 0
    }

    fn retain_from(&mut self, first: usize, mut keep: impl FnMut(FieldRef<'_>) -> bool) {
        let mut list = std::mem::take(&mut self.list);
        let mut at = 0;
        list.retain(|field| {
            at += 1;
            at <= first || keep(self.field(field))
        });
        self.list = list;
    }

    fn store(&mut self, bytes: &[u8]) -> ByteSpan {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        let fits = "heads and the edits on them are bounded far below 4 GiB";
        ByteSpan { start: u32::try_from(start).expect(fits), len: u32::try_from(bytes.len()).expect(fits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_put_once_in_its_usual_spelling() {
        let mut fields = Fields::default();
        fields.put(FieldName::XRequestId, b"1");
        fields.add(b"via", b"a");
        fields.put(FieldName::Via, b"b");
        let mut out = Vec::new();
        fields.write_to(&mut out);
        assert_eq!(out, b"X-Request-Id: 1\r\nvia: b\r\n");
        assert_eq!(fields.get(FieldName::XRequestId), Some(&b"1"[..]));
    }

    fn fields(list: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        list.iter().for_each(|(name, value)| fields.add(name.as_bytes(), value.as_bytes()));
        fields
    }

    fn text(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn order_spelling_and_repetition_are_kept() {
        let list = fields(&[("hOsT", "a"), ("X-B", "1"), ("Cookie", "c"), ("x-b", "2")]);
        assert_eq!(list.len(), 4);
        assert_eq!(text(&list), "hOsT: a\r\nX-B: 1\r\nCookie: c\r\nx-b: 2\r\n");
        assert_eq!(list.get(FieldName::Host), Some(&b"a"[..]));
        assert_eq!(list.find(b"HOST"), Some(&b"a"[..]));
        assert_eq!(list.find_all(b"X-b").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(list.get(FieldName::Via), None);
        assert_eq!(list.find(b"x-c"), None);
    }

    #[test]
    fn set_replaces_the_first_in_its_place_and_drops_the_others() {
        let mut list = fields(&[("A", "1"), ("Via", "x"), ("b", "2"), ("via", "y"), ("a", "3")]);
        list.set(b"via", b"longer than before");
        list.set(b"a", b"");
        list.set(b"c", b"new");
        assert_eq!(text(&list), "A: \r\nVia: longer than before\r\nb: 2\r\nc: new\r\n");
    }

    #[test]
    fn a_removed_known_name_can_be_added_again() {
        let mut list = fields(&[("Te", "trailers"), ("x", "1"), ("TE", "gzip"), ("X", "2")]);
        list.remove(b"tE");
        assert_eq!(list.get(FieldName::Te), None);
        list.remove(b"x");
        assert!(list.is_empty());
        list.add(b"te", b"again");
        assert_eq!(list.get(FieldName::Te), Some(&b"again"[..]));
    }

    #[test]
    fn the_unknown_name_selects_no_field() {
        let mut list = fields(&[("x-a", "1"), ("x-b", "2")]);
        assert_eq!(list.get(FieldName::Other), None);
        list.remove_id(FieldName::Other);
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn retain_keeps_the_selected_fields_in_order() {
        let mut list = fields(&[("a", "1"), ("via", "2"), ("b", "3")]);
        list.retain(|field| field.id != FieldName::Via && field.value != b"3");
        assert_eq!(text(&list), "a: 1\r\n");
    }

    #[test]
    fn clear_removes_the_fields_and_keeps_the_capacity() {
        let mut list = fields(&[("host", "a"), ("x", "y")]);
        let capacity = (list.arena.capacity(), list.list.capacity());
        list.clear();
        assert_eq!((list.len(), list.get(FieldName::Host), list.find(b"x")), (0, None, None));
        assert_eq!((list.arena.capacity(), list.list.capacity()), capacity);
    }
}
