//! The header criterion: the request has one of the values.

use http::HeaderMap;
use regex::bytes::{Regex, RegexBuilder};

/// A header name with values, one of which a request must have.
#[derive(Debug)]
pub(crate) struct HeaderCriterion {
    /// Lower-case, `-` for `_`.
    name: Box<str>,
    values: Box<[ValuePattern]>,
}

#[derive(Debug)]
enum ValuePattern {
    Equal(Box<str>),
    Regex(Regex),
}

impl HeaderCriterion {
    /// Reads a name and its values; a value of the form `~*re` is a regex.
    ///
    /// # Errors
    /// The value that is not a valid regex, with the reason.
    pub(crate) fn new<'v>(name: &str, values: &'v [String]) -> Result<Self, (&'v str, regex::Error)> {
        let values = values.iter().map(|value| match value.strip_prefix("~*") {
            Some(pattern) => RegexBuilder::new(pattern)
                .case_insensitive(true)
                .build()
                .map(ValuePattern::Regex)
                .map_err(|error| (pattern, error)),
            None => Ok(ValuePattern::Equal(value.as_str().into())),
        });
        let name = name.to_ascii_lowercase().replace('_', "-").into();
        Ok(Self { name, values: values.collect::<Result<_, _>>()? })
    }

    /// Whether any value of the header equals one of the criterion's, ignoring case.
    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        headers.iter().any(|(name, value)| {
            // HTTP/1 strips white space around a value, and so do HTTP/2 recipients.
            let value = || value.as_bytes().trim_ascii();
            is_same_name(name.as_str(), &self.name)
                && self.values.iter().any(|pattern| match pattern {
                    ValuePattern::Equal(expected) => value().eq_ignore_ascii_case(expected.as_bytes()),
                    ValuePattern::Regex(regex) => regex.is_match(value()),
                })
        })
    }
}

/// `sent` is already lower-case, being a `HeaderName`; `expected` has no underscores.
fn is_same_name(sent: &str, expected: &str) -> bool {
    let fold = |byte| if byte == b'_' { b'-' } else { byte };
    sent.len() == expected.len() && sent.bytes().map(fold).eq(expected.bytes())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    type Row = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)], bool);

    #[test]
    fn headers_match_by_the_table() {
        let rows: [Row; 14] = [
            ("X-Version", &["v1"], &[("x-version", "V1")], true),
            ("x-version", &["V1", "v2"], &[("x-version", "v2")], true),
            ("x-version", &["v1"], &[("x-version", "v10")], false),
            ("x-version", &["v1"], &[("x-version", "v3"), ("x-version", "v1")], true),
            ("x_version", &["v1"], &[("x-version", "v1")], true),
            ("x-version", &["v1"], &[("x_version", "v1")], true),
            ("x-version", &["~*^V[0-9]+$"], &[("x-version", "v10")], true),
            ("x-version", &["~*^v[0-9]+$"], &[("x-version", "vx")], false),
            ("x-version", &["v1"], &[], false),
            ("X_Version", &["V1"], &[("x_version", "v1")], true),
            ("x-version", &["v1"], &[("x-version", " v1\t")], true),
            ("x-version", &["~*^v1$"], &[("x-version", "V1 ")], true),
            ("x-version", &["v1"], &[("x-version", "v3"), ("x_version", "v1")], true),
            ("x-version", &["v1"], &[("x-version", "v3, v1")], false),
        ];
        for (name, values, sent, expected) in rows {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            let headers: HeaderMap = sent
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .fold(HeaderMap::new(), |mut map, (name, value)| {
                    map.append(name, value);
                    map
                });
            let criterion = HeaderCriterion::new(name, &values).unwrap();
            assert_eq!(criterion.matches(&headers), expected, "{name} {values:?} {sent:?}");
        }
    }
}
