//! Values as Lua table text, for error messages (gateway.md §4).
//!
//! A null in a JSON list is a hole in a Lua table, so an element after a hole is written with its index. Keys
//! are sorted; those of a list start at 1.

use serde_json::Value;

const KEYWORDS: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local", "nil", "not", "or",
    "repeat", "return", "then", "true", "until", "while",
];

/// On one line without spaces: `{consumer=null,name="oauth2"}`.
pub fn compact(value: &Value) -> String {
    let mut text = String::new();
    write(value, None, &mut text);
    text
}

/// On several lines, indented by two spaces per level.
pub fn indented(value: &Value) -> String {
    let mut text = String::new();
    write(value, Some(0), &mut text);
    text
}

fn write(value: &Value, level: Option<usize>, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::String(string) => write_string(string, text),
        Value::Array(elements) => write_table(list_entries(elements, level), level, text),
        Value::Object(entries) => {
            let mut entries: Vec<(&String, &Value)> = entries.iter().collect();
            entries.sort_unstable_by_key(|(name, _)| *name);
            let entries = entries.into_iter().map(|(name, value)| (format!("{}{}", key(name), equals(level)), value));
            write_table(entries.collect(), level, text);
        }
        Value::Bool(_) | Value::Number(_) => text.push_str(&value.to_string()),
    }
}

fn list_entries(elements: &[Value], level: Option<usize>) -> Vec<(String, &Value)> {
    let dense = elements.iter().take_while(|element| !element.is_null()).count();
    let lead = |position: usize| {
        if position < dense { String::new() } else { format!("[{}]{}", position + 1, equals(level)) }
    };
    let present = elements.iter().enumerate().filter(|(_, element)| !element.is_null());
    present.map(|(position, element)| (lead(position), element)).collect()
}

fn write_table(entries: Vec<(String, &Value)>, level: Option<usize>, text: &mut String) {
    text.push('{');
    let last = entries.len();
    for (position, (lead, value)) in entries.into_iter().enumerate() {
        break_line(level.map(|level| level + 1), text);
        text.push_str(&lead);
        write(value, level.map(|level| level + 1), text);
        if position + 1 < last {
            text.push(',');
        }
    }
    break_line(level, text);
    text.push('}');
}

fn break_line(level: Option<usize>, text: &mut String) {
    if let Some(level) = level {
        text.push('\n');
        text.push_str(&"  ".repeat(level));
    }
}

fn equals(level: Option<usize>) -> &'static str {
    if level.is_some() { " = " } else { "=" }
}

fn key(name: &str) -> String {
    let mut bytes = name.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts_well && goes_on_well && !KEYWORDS.contains(&name) {
        return name.to_owned();
    }
    let mut text = String::from("[");
    write_string(name, &mut text);
    text.push(']');
    text
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            _ => text.push(character),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn compact_text_sorts_keys_and_shows_null() {
        let table = [
            (json!({"username": "bob"}), r#"{username="bob"}"#),
            (
                json!({"name": "oauth2", "route": {"id": "1"}, "consumer": null, "service": null}),
                r#"{consumer=null,name="oauth2",route={id="1"},service=null}"#,
            ),
            (json!({"@entity": ["a", "b"], "end": 1}), r#"{["@entity"]={"a","b"},["end"]=1}"#),
            (json!([null, "x"]), r#"{[2]="x"}"#),
            (json!({"a": "say \"hi\"\n"}), r#"{a="say \"hi\"\n"}"#),
            (json!({}), "{}"),
        ];
        for (value, text) in table {
            assert_eq!(compact(&value), text);
        }
    }

    #[test]
    fn indented_text_has_two_spaces_a_level() {
        assert_eq!(indented(&json!(["one"])), "{\n  \"one\"\n}");
        assert_eq!(indented(&json!({"a": {"b": "c"}, "d": 1})), "{\n  a = {\n    b = \"c\"\n  },\n  d = 1\n}");
    }
}
