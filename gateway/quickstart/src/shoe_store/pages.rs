//! The store's pages, as markup.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use crate::page::{Brand, Page};
use crate::step_on::StepCounts;

use super::AuthorizationServer;
use super::connection::{Error, Tokens};

/// Steps per percent of discount, and the maximum discount.
const STEPS_PER_PER_CENT: u32 = 5_000;
const MOST_PER_CENT: u32 = 20;

pub(super) fn welcome() -> Response {
    let content = html! {
        p { "We give a discount for every step you take. Connect your Step On account, and see how much." }
        (connect_link("Connect Step On"))
    };
    Page::new(Brand::ShoeFlyShoe, "Walk more, pay less", content).into_response()
}

pub(super) fn denied() -> Response {
    let content = html! {
        p role="status" { "You did not let us see your steps, so there is no discount yet." }
        (connect_link("Connect Step On"))
        (flow_link())
    };
    Page::new(Brand::ShoeFlyShoe, "No steps shared", content).into_response()
}

pub(super) fn offer(counts: &StepCounts) -> Markup {
    html! {
        p { "Hello " strong #user { (counts.user) } ", here is your week." }
        table {
            caption { "Your steps" }
            thead { tr { th scope="col" { "Day" } th scope="col" { "Steps" } } }
            tbody { @for day in &counts.days { tr { th scope="row" { (day.day) } td { (day.steps) } } } }
            tfoot { tr { th scope="row" { "Total" } td #total { (counts.total) } } }
        }
        p.offer { "Your discount on any pair: " strong #discount { (discount(counts.total)) " %" } }
    }
}

/// What the store can do with its tokens.
pub(super) fn buttons(tokens: &Tokens, server: &AuthorizationServer, form_token: &str) -> Markup {
    let button = |name: &str, text: &str| {
        html! {
            form method="post" action={ "/" (name) } {
                input type="hidden" name="form_token" value=(form_token);
                button type="submit" id=(name) { (text) }
            }
        }
    };
    html! {
        div class="actions" {
            @if tokens.can_be_refreshed() { (button("refresh", "Refresh")) }
            @if server.revocation.is_some() { (button("revoke", "Revoke the access token")) }
        }
    }
}

/// After a revocation: when it will be in force.
pub(super) fn revoked(server: &AuthorizationServer) -> Markup {
    let seconds = server.revocation.as_ref().map_or(0, |revocation| revocation.in_force_within.as_secs());
    html! {
        p.notice role="status" {
            (server.name) " has revoked the access token. The gateway still accepts it until it asks again, for "
            (seconds) " seconds at most. " a #again href="/" { "Look again" }
        }
    }
}

fn discount(steps: u32) -> u32 {
    (steps / STEPS_PER_PER_CENT).min(MOST_PER_CENT)
}

pub(super) fn connect_link(text: &str) -> Markup {
    html! { div class="actions" { a #connect .button href="/connect" { (text) } } }
}

pub(super) fn flow_link() -> Markup {
    html! { p { a #what-happened href="/flow" { "What just happened" } } }
}

pub(super) fn expired() -> Response {
    failure(StatusCode::BAD_REQUEST, "This form has expired. Please start again.")
}

pub(super) fn trouble(error: &Error) -> Response {
    match error {
        Error::Ended => failure(StatusCode::OK, "Your connection with Step On has ended."),
        Error::Refused(_) => failure(StatusCode::BAD_GATEWAY, "Step On refused to share your steps with us."),
        Error::Unavailable => failure(StatusCode::BAD_GATEWAY, "Step On is not responding at the moment."),
    }
}

pub(super) fn failure(status: StatusCode, what: &str) -> Response {
    let content = html! { p role="alert" { (what) } (connect_link("Connect Step On again")) (flow_link()) };
    Page::new(Brand::ShoeFlyShoe, "That did not work", content).status(status).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_discount_grows_with_the_steps_up_to_its_limit() {
        for (steps, per_cent) in [(0, 0), (4_999, 0), (14_000, 2), (48_000, 9), (96_000, 19), (1_000_000, 20)] {
            assert_eq!(discount(steps), per_cent, "{steps} steps");
        }
    }
}
