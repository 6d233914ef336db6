//! Every setting with its value, as `tollgate settings` shows them.

use super::{Layers, SETTINGS, Source};

/// The settings in the order of the shipped file.
pub fn of(layers: &Layers) -> String {
    let rows = SETTINGS.iter().map(|setting| {
        let (value, source) = layers.given(setting.path).unwrap_or((setting.default, &Source::Default));
        format!(
            "{} = {}  ({source})\n  {}\n  default {}, environment {}",
            setting.path,
            shown(&without_passwords(value)),
            setting.about,
            shown(setting.default),
            setting.environment_name()
        )
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "(not set)" } else { value }
}

/// A value whose URLs have no passwords. What is between `://` and the last `@` before the path is one: a password that
/// is not percent-encoded may itself have an `@`.
fn without_passwords(value: &str) -> String {
    let mut rest = value;
    let mut shown = String::with_capacity(value.len());
    while let Some((scheme, after)) = rest.split_once("://") {
        let end = after.find([' ', '\n']).unwrap_or(after.len());
        let next = after.find(",postgres").unwrap_or(end).min(end);
        let (url, others) = after.split_at(next);
        shown.push_str(scheme);
        shown.push_str("://");
        match url.rsplit_once('@') {
            Some((user, host)) => {
                let name = user.split_once(':').map(|(name, _)| name);
                shown.push_str(name.unwrap_or(user));
                if name.is_some() {
                    shown.push_str(":***");
                }
                shown.push('@');
                shown.push_str(&without_parameter(host));
            }
            None => shown.push_str(&without_parameter(url)),
        }
        rest = others;
    }
    shown.push_str(rest);
    shown
}

/// A URL whose query has no password.
fn without_parameter(url: &str) -> String {
    let Some((before, query)) = url.split_once('?') else { return url.to_owned() };
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if name.contains("password") => format!("{name}=***"),
        _ => pair.to_owned(),
    };
    format!("{before}?{}", query.split('&').map(hidden).collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_shown_with_its_value_and_source_and_without_secrets() {
        let mut layers = Layers::defaults();
        layers.file("t.yaml", "database:\n  url: postgres://u:hunter2@h/d\nproxy:\n  threads: 3\n");
        layers.environment([("TOLLGATE_LOG_LEVEL".to_owned(), "warn".to_owned())].into_iter());
        let text = of(&layers);
        for row in [
            "database.url = postgres://u:***@h/d  (t.yaml:2:3)\n",
            "proxy.threads = 3  (t.yaml:4:3)\n",
            "log.level = warn  (environment TOLLGATE_LOG_LEVEL)\n",
            "access_log = -  (default)\n",
            "tls.key = (not set)  (default)\n",
        ] {
            assert!(text.contains(row), "{row} is not in {text}");
        }
    }

    #[test]
    fn no_password_of_a_url_is_shown() {
        let rows = [
            ("sqlite:/a/b", "sqlite:/a/b"),
            ("postgres://h/d", "postgres://h/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://u:p@ss:w@rd@h1,h2/d?password=x&a=b", "postgres://u:***@h1,h2/d?password=***&a=b"),
            ("postgres://u:a@h,postgres://v:b@i", "postgres://u:***@h,postgres://v:***@i"),
            ("postgres://h/d?sslpassword=x", "postgres://h/d?sslpassword=***"),
        ];
        for (value, expected) in rows {
            assert_eq!(without_passwords(value), expected);
        }
    }
}
