//! The store's pages.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::browser_session::{Session, Sessions};
use crate::page::{Brand, Page, see_other};
use crate::step_on::StepCounts;

use super::connection::{Error, Pending, StepOnApi, Tokens};

/// Steps for one per cent, and the most that is given.
const STEPS_PER_PER_CENT: u32 = 5_000;
const MOST_PER_CENT: u32 = 20;

/// What the pages work with.
pub(super) struct Store {
    pub(super) api: StepOnApi,
    pub(super) sessions: Sessions<Visit>,
}

/// What the store remembers of a browser.
#[derive(Clone, Default)]
pub(super) struct Visit {
    pending: Option<Pending>,
    tokens: Option<Tokens>,
}

/// What came back from Step On (RFC 6749 §4.1.2).
#[derive(Deserialize)]
pub(super) struct Returned {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// What the home page may be told.
#[derive(Debug, Deserialize)]
pub(super) struct Notice {
    refreshed: Option<String>,
}

/// The refresh button's form.
#[derive(Deserialize)]
pub(super) struct Refresh {
    form_token: String,
}

/// `GET /`.
pub(super) async fn show(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    Query(notice): Query<Notice>,
) -> Response {
    let Some(session) = store.sessions.find(&headers) else { return welcome() };
    let Some(tokens) = &session.value.tokens else { return welcome() };
    match store.api.step_counts(tokens).await {
        Ok(counts) => {
            let content = html! {
                @if notice.refreshed.is_some() { p.notice role="status" { "Your step counts are fresh." } }
                (offer(&counts, &session))
            };
            Page::new(Brand::ShoeFlyShoe, "Your steps, your discount", content).into_response()
        }
        Err(error) => trouble(&error),
    }
}

/// `GET /connect`: off to Step On.
pub(super) async fn connect(State(store): State<Arc<Store>>, headers: HeaderMap) -> Response {
    let pending = Pending::new();
    let authorization = see_other(store.api.authorization_url(&pending).as_str());
    let session = store.sessions.find(&headers).unwrap_or_else(|| store.sessions.start(None, Visit::default()));
    store.sessions.change(&session, |visit| visit.pending = Some(pending));
    ([(header::SET_COOKIE, store.sessions.set_cookie(&session))], authorization).into_response()
}

/// `GET /callback`: back from Step On.
pub(super) async fn callback(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    Query(returned): Query<Returned>,
) -> Response {
    let session = store.sessions.find(&headers);
    // Taken whatever comes of it: an answer is good once.
    let pending =
        session.as_ref().and_then(|session| store.sessions.change(session, |visit| visit.pending.take())).flatten();
    let (Some(session), Some(pending)) = (session, pending.filter(|pending| pending.asked(&returned.state))) else {
        return failure(StatusCode::BAD_REQUEST, "This answer belongs to no question that this browser asked.");
    };
    match (returned.code, returned.error.as_deref()) {
        (Some(code), None) => match store.api.redeem(&pending, &code).await {
            Ok(tokens) => {
                let session = store.sessions.start(Some(&session), Visit { pending: None, tokens: Some(tokens) });
                ([(header::SET_COOKIE, store.sessions.set_cookie(&session))], see_other("/")).into_response()
            }
            Err(error) => trouble(&error),
        },
        (_, Some("access_denied")) => denied(),
        (_, Some(error)) => trouble(&Error::Refused(error.to_owned())),
        (None, None) => failure(StatusCode::BAD_REQUEST, "Step On sent neither a code nor an error."),
    }
}

/// `POST /refresh`: new tokens, then the counts anew.
pub(super) async fn refresh(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    Form(form): Form<Refresh>,
) -> Response {
    let session = store.sessions.find(&headers).filter(|session| session.accepts(&form.form_token));
    let Some(session) = session else {
        return failure(StatusCode::BAD_REQUEST, "This form is no longer good. Start again.");
    };
    let Some(tokens) = &session.value.tokens else { return see_other("/") };
    match store.api.refresh(tokens).await {
        Ok(fresh) => {
            store.sessions.change(&session, |visit| visit.tokens = Some(fresh));
            see_other("/?refreshed=yes")
        }
        Err(error) => trouble(&error),
    }
}

fn welcome() -> Response {
    let content = html! {
        p { "We give a discount for every step you take. Connect your Step On account, and see how much." }
        (connect_link("Connect Step On"))
    };
    Page::new(Brand::ShoeFlyShoe, "Walk more, pay less", content).into_response()
}

fn denied() -> Response {
    let content = html! {
        p role="status" { "You did not let us see your steps, so there is no discount yet." }
        (connect_link("Connect Step On"))
    };
    Page::new(Brand::ShoeFlyShoe, "No steps shared", content).into_response()
}

fn offer(counts: &StepCounts, session: &Session<Visit>) -> Markup {
    html! {
        p { "Hello " strong #user { (counts.user) } ", here is your week." }
        table {
            caption { "Your steps" }
            thead { tr { th scope="col" { "Day" } th scope="col" { "Steps" } } }
            tbody { @for day in &counts.days { tr { th scope="row" { (day.day) } td { (day.steps) } } } }
            tfoot { tr { th scope="row" { "Total" } td #total { (counts.total) } } }
        }
        p.offer { "Your discount on any pair: " strong #discount { (discount(counts.total)) " %" } }
        form method="post" action="/refresh" {
            input type="hidden" name="form_token" value=(session.form_token);
            button type="submit" #refresh { "Refresh" }
        }
    }
}

fn discount(steps: u32) -> u32 {
    (steps / STEPS_PER_PER_CENT).min(MOST_PER_CENT)
}

fn connect_link(text: &str) -> Markup {
    html! { div class="actions" { a #connect .button href="/connect" { (text) } } }
}

fn trouble(error: &Error) -> Response {
    match error {
        Error::Ended => failure(StatusCode::OK, "Your connection with Step On has ended."),
        Error::Refused(_) => failure(StatusCode::BAD_GATEWAY, "Step On refused to share your steps with us."),
        Error::Unavailable => failure(StatusCode::BAD_GATEWAY, "Step On does not answer at the moment."),
    }
}

fn failure(status: StatusCode, what: &str) -> Response {
    let content = html! { p role="alert" { (what) } (connect_link("Connect Step On again")) };
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
