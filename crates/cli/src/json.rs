//! JSON, written by hand: enough for the reports of this program.

use std::fmt;

/// A JSON value, as far as a report needs them. `Display` writes it indented.
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(&'static str, Json)>),
}

/// A text.
pub(crate) fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

/// A text, or null.
pub(crate) fn optional(value: Option<&str>) -> Json {
    value.map_or(Json::Null, text)
}

/// A number, or null.
pub(crate) fn number(value: Option<u64>) -> Json {
    value.map_or(Json::Null, Json::Number)
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

impl Json {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let end = |f: &mut fmt::Formatter<'_>, close| write!(f, "\n{:1$}{close}", "", 2 * depth);
        let start = |f: &mut fmt::Formatter<'_>, index| {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}\n{:1$}", "", 2 * depth + 2)
        };
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(value) => write!(f, "{value}"),
            Json::Text(text) => quote(f, text),
            Json::List(items) if items.is_empty() => f.write_str("[]"),
            Json::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    start(f, index)?;
                    item.write(f, depth + 1)?;
                }
                end(f, ']')
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (index, (key, value)) in members.iter().enumerate() {
                    start(f, index)?;
                    quote(f, key)?;
                    f.write_str(": ")?;
                    value.write(f, depth + 1)?;
                }
                end(f, '}')
            }
        }
    }
}

/// RFC 8259: quotes, backslashes and control characters are escaped, everything else stands for itself.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_survives() {
        let all: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}한글😀".chars()).collect();
        let read: String = serde_json::from_str(&text(&all).to_string()).expect("JSON");
        assert_eq!(read, all);
    }

    #[test]
    fn every_kind_of_value_reads_back() {
        let nested = Json::List(vec![Json::Null, Json::Bool(false), Json::List(vec![]), text("")]);
        let written = Json::Object(vec![("a", Json::Number(u64::MAX)), ("b", nested)]).to_string();
        let read: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(read, serde_json::json!({ "a": u64::MAX, "b": [null, false, [], ""] }));
    }
}
