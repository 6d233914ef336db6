//! Bodies that are a JSON object: reading their members, duplicates included, and removing some of them.
//!
//! Of two members with the same name, maps keep one, and which one depends on the parser. Where a
//! member decides on access, the gateway and the upstream must not read different ones.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A member of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Member<'b> {
    /// Its name, unescaped.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// Name and value as sent.
    text: &'b [u8],
}

/// The members in order; `None` when the body is not a JSON object.
pub fn members(body: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut rest = Rest { body, at: 0 };
    let mut members = Vec::new();
    if !rest.take(b'{') {
        return None;
    }
    if rest.take(b'}') {
        return rest.is_empty().then_some(members);
    }
    loop {
        rest.skip_white_space();
        let start = rest.at;
        let name = rest.value()?;
        if !rest.take(b':') {
            return None;
        }
        let value = rest.value()?;
        members.push(Member { name, value, text: body.get(start..rest.at)? });
        if rest.take(b'}') {
            return rest.is_empty().then_some(members);
        }
        if !rest.take(b',') {
            return None;
        }
    }
}

/// An object with these members, each as sent.
pub fn write<'m>(members: impl Iterator<Item = &'m Member<'m>>) -> Vec<u8> {
    let texts: Vec<&[u8]> = members.map(|member| member.text).collect();
    [b"{", texts.join(&b',').as_slice(), b"}"].concat()
}

/// The rest of the body, not read yet.
struct Rest<'b> {
    body: &'b [u8],
    at: usize,
}

impl Rest<'_> {
    fn skip_white_space(&mut self) {
        while matches!(self.body.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads the next character if it is `wanted`; returns whether it was.
    fn take(&mut self, wanted: u8) -> bool {
        self.skip_white_space();
        let found = self.body.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    fn value<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut values = serde_json::Deserializer::from_slice(self.body.get(self.at..)?).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    fn is_empty(&mut self) -> bool {
        self.skip_white_space();
        self.at == self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    #[test]
    fn members_come_in_order_with_duplicates() {
        let body = br#" {"a" : 1.50, "b":{"c":[]} ,"\u0061":"x"} "#;
        let members = members(body).unwrap();
        let seen: Vec<(&str, &Value)> = members.iter().map(|member| (member.name.as_str(), &member.value)).collect();
        assert_eq!(seen, [("a", &json!(1.5)), ("b", &json!({"c": []})), ("a", &json!("x"))]);
        let left = write(members.iter().filter(|member| member.name == "a"));
        assert_eq!(left, br#"{"a" : 1.50,"\u0061":"x"}"#);
        assert_eq!(write(members.iter().filter(|_| false)), b"{}");
    }

    #[test]
    fn a_body_that_is_not_an_object_has_no_members() {
        for body in [
            "",
            "[]",
            "1",
            "{",
            "{]",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":1}x"#,
            "{a:1}",
            r#"{"a":1}{"a":2}"#,
            r#"{"a":"\ud800"}"#,
        ] {
            assert_eq!(members(body.as_bytes()), None, "{body}");
        }
        assert_eq!(members(b"{ }"), Some(Vec::new()));
        assert_eq!(members(b"{\"a\":\"\xff\"}"), None);
    }

    proptest! {
        #[test]
        fn an_object_is_read_as_the_parser_reads_it(text in "[ {}\\[\\]\":,a1.e\\\\nul-]{0,24}", inner in "[a1\":,{}]{0,12}") {
            for body in [text.clone(), format!("{{{inner}}}")] {
                let whole: Option<Map<String, Value>> = serde_json::from_str(&body).ok();
                let read = members(body.as_bytes());
                prop_assert_eq!(whole.is_some(), read.is_some(), "{}", body);
                let read: Map<String, Value> =
                    read.into_iter().flatten().map(|member| (member.name, member.value)).collect();
                prop_assert_eq!(whole.unwrap_or_default(), read);
            }
        }
    }
}
