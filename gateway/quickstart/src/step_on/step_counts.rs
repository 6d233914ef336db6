//! `GET /stepcounts`: the steps of a user.
//!
//! Through the gateway, an identity header names the user: the gateway removes such headers from client
//! requests. In direct calls, `mock-logged-in-as` stands in for a login; it is ignored in requests from
//! the gateway (which carry a consumer or a credential).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::request_log::RequestLog;

/// State of the endpoint.
#[derive(Clone)]
pub(super) struct Api {
    /// Where requests are recorded.
    pub(super) request_log: Arc<RequestLog>,
    /// The header in which the gateway names the user.
    pub(super) user_header: &'static str,
}

/// The steps of one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Day {
    /// The day's name.
    pub(crate) day: String,
    /// Steps on that day.
    pub(crate) steps: u32,
}

/// The API's response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StepCounts {
    /// Whose steps.
    pub(crate) user: String,
    /// The last week.
    pub(crate) days: Vec<Day>,
    /// Their sum.
    pub(crate) total: u32,
}

/// The users, with their names and last week's steps.
pub(super) const USERS: [(&str, [u32; 7]); 3] = [
    ("clark", [12_400, 9_870, 15_020, 11_300, 8_460, 21_750, 17_200]),
    ("annie", [6_200, 7_150, 5_890, 8_020, 6_640, 9_900, 4_200]),
    ("bob", [1_980, 2_310, 1_540, 2_760, 3_020, 890, 1_500]),
];

const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The endpoint.
pub(super) async fn show(State(api): State<Api>, headers: HeaderMap) -> Response {
    api.request_log.record("GET /stepcounts", &headers);
    match user(&headers, api.user_header).and_then(of) {
        Some(counts) => Json(counts).into_response(),
        None => (StatusCode::UNAUTHORIZED, Json(json!({"message": "Who are you?"}))).into_response(),
    }
}

fn user<'h>(headers: &'h HeaderMap, user_header: &str) -> Option<&'h str> {
    let of_gateway = |name: &str| name.starts_with("x-consumer-") || name.starts_with("x-credential-");
    let through_gateway = headers.keys().any(|name| of_gateway(name.as_str()));
    let direct = if through_gateway { None } else { headers.get("mock-logged-in-as") };
    headers.get(user_header).or(direct)?.to_str().ok()
}

fn of(user: &str) -> Option<StepCounts> {
    let (name, week) = USERS.iter().find(|(name, _)| *name == user)?;
    let days = DAYS.iter().zip(week).map(|(day, &steps)| Day { day: (*day).to_owned(), steps }).collect();
    Some(StepCounts { user: (*name).to_owned(), days, total: week.iter().sum() })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_user_comes_from_the_gateway_or_the_mock_header() {
        type Headers = &'static [(&'static str, &'static str)];
        const GATEWAY: (&str, &str) = ("x-consumer-id", "1");
        let cases: [(Headers, Option<&str>); 7] = [
            (&[], None),
            (&[("mock-logged-in-as", "bob")], Some("bob")),
            (&[GATEWAY, ("x-authenticated-userid", "annie")], Some("annie")),
            (&[GATEWAY, ("x-authenticated-userid", "annie"), ("mock-logged-in-as", "bob")], Some("annie")),
            (&[GATEWAY, ("mock-logged-in-as", "bob")], None),
            (&[("x-credential-client-id", "1"), ("mock-logged-in-as", "bob")], None),
            (&[GATEWAY], None),
        ];
        for (headers, expected) in cases {
            let headers: HeaderMap = headers
                .iter()
                .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(user(&headers, "x-authenticated-userid"), expected, "{headers:?}");
        }
    }

    #[test]
    fn unknown_users_have_no_steps() {
        assert_eq!(of("mallory"), None);
        assert_eq!(of("bob").unwrap().total, 14_000);
    }
}
