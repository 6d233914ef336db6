//! The store's pages.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::browser_session::{Session, Sessions};
use crate::page::{Brand, Page, see_other};
use crate::step_on::StepCounts;

use super::connection::{Error, Pending, StepOnApi, Tokens};
use super::flow::{self, Flow};

/// Steps per percent of discount, and the maximum discount.
const STEPS_PER_PER_CENT: u32 = 5_000;
const MOST_PER_CENT: u32 = 20;

/// What the store can say about the steps in between.
const SHOWN_BY_STEP_ON: &str = "Step On asks the user, and the gateway for the code (steps B and C)";

/// State shared by the pages.
pub(super) struct Store {
    pub(super) api: StepOnApi,
    pub(super) sessions: Sessions<Visit>,
}

/// The store's data for a browser.
#[derive(Clone, Default)]
pub(super) struct Visit {
    pending: Option<Pending>,
    tokens: Option<Tokens>,
    flow: Flow,
}

/// The authorization response from Step On (RFC 6749 §4.1.2).
#[derive(Deserialize)]
pub(super) struct Returned {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
}

/// Query parameters of the home page.
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
    let mut flow = session.value.flow.clone();
    let counts = store.api.step_counts(tokens, &mut flow).await;
    store.sessions.change(&session, |visit| visit.flow = flow);
    match counts {
        Ok(counts) => {
            let content = html! {
                @if notice.refreshed.is_some() { p.notice role="status" { "Your step counts are up to date." } }
                (offer(&counts, &session))
            };
            Page::new(Brand::ShoeFlyShoe, "Your steps, your discount", content).into_response()
        }
        Err(error) => trouble(&error),
    }
}

/// `GET /connect`: redirects to Step On.
pub(super) async fn connect(State(store): State<Arc<Store>>, headers: HeaderMap) -> Response {
    let pending = Pending::new();
    let url = store.api.authorization_url(&pending);
    let authorization = see_other(url.as_str());
    let session = store.sessions.find(&headers).unwrap_or_else(|| store.sessions.start(None, Visit::default()));
    let mut flow = Flow::default();
    flow.add("The store sends the browser to Step On (step A)", flow::get(&url), SHOWN_BY_STEP_ON.to_owned());
    store.sessions.change(&session, |visit| {
        visit.pending = Some(pending);
        visit.flow = flow;
    });
    ([(header::SET_COOKIE, store.sessions.set_cookie(&session))], authorization).into_response()
}

/// `GET /callback`: back from Step On.
pub(super) async fn callback(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    Query(returned): Query<Returned>,
) -> Response {
    let session = store.sessions.find(&headers);
    // Taken whatever the outcome: a response is valid only once.
    let pending =
        session.as_ref().and_then(|session| store.sessions.change(session, |visit| visit.pending.take())).flatten();
    let (Some(session), Some(pending)) = (session, pending.filter(|pending| pending.asked(&returned.state))) else {
        return failure(StatusCode::BAD_REQUEST, "This response does not belong to a request from this browser.");
    };
    let mut flow = session.value.flow.clone();
    let mut back = store.api.redirect_uri.clone();
    back.set_query(query.as_deref());
    flow.add("Step On sends the browser back (step C)", flow::get(&back), "303 See Other".to_owned());
    store.sessions.change(&session, |visit| visit.flow = flow.clone());
    match (returned.code, returned.error.as_deref()) {
        (Some(code), None) => {
            let redeemed = store.api.redeem(&pending, &code, &mut flow).await;
            store.sessions.change(&session, |visit| visit.flow = flow.clone());
            match redeemed {
                Ok(tokens) => {
                    let visit = Visit { pending: None, tokens: Some(tokens), flow };
                    let session = store.sessions.start(Some(&session), visit);
                    ([(header::SET_COOKIE, store.sessions.set_cookie(&session))], see_other("/")).into_response()
                }
                Err(error) => trouble(&error),
            }
        }
        (_, Some("access_denied")) => denied(),
        (_, Some(error)) => trouble(&Error::Refused(error.to_owned())),
        (None, None) => failure(StatusCode::BAD_REQUEST, "Step On sent neither a code nor an error."),
    }
}

/// `POST /refresh`: refreshes the tokens, then fetches the counts again.
pub(super) async fn refresh(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    Form(form): Form<Refresh>,
) -> Response {
    let session = store.sessions.find(&headers).filter(|session| session.accepts(&form.form_token));
    let Some(session) = session else {
        return failure(StatusCode::BAD_REQUEST, "This form has expired. Please start again.");
    };
    let Some(tokens) = &session.value.tokens else { return see_other("/") };
    let mut flow = session.value.flow.clone();
    let refreshed = store.api.refresh(tokens, &mut flow).await;
    store.sessions.change(&session, |visit| visit.flow = flow);
    match refreshed {
        Ok(fresh) => {
            store.sessions.change(&session, |visit| visit.tokens = Some(fresh));
            see_other("/?refreshed=yes")
        }
        Err(error) => trouble(&error),
    }
}

/// `GET /flow`: each request since the browser asked to be connected, with its response.
pub(super) async fn happened(State(store): State<Arc<Store>>, headers: HeaderMap) -> Response {
    let flow = store.sessions.find(&headers).map(|session| session.value.flow).unwrap_or_default();
    let content = html! {
        @if flow.exchanges().next().is_none() { p { "Nothing yet." } (connect_link("Connect Step On")) }
        @else { p { "Secrets are shortened. The steps are those of RFC 6749 §4.1." } }
        ol #flow {
            @for exchange in flow.exchanges() {
                li { h2 { (exchange.title) } pre.request { (exchange.request) } pre.response { (exchange.response) } }
            }
        }
        p { a href="/" { "Back to the store" } }
    };
    Page::new(Brand::ShoeFlyShoe, "What just happened", content).into_response()
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
        (flow_link())
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
        (flow_link())
    }
}

fn discount(steps: u32) -> u32 {
    (steps / STEPS_PER_PER_CENT).min(MOST_PER_CENT)
}

fn connect_link(text: &str) -> Markup {
    html! { div class="actions" { a #connect .button href="/connect" { (text) } } }
}

fn flow_link() -> Markup {
    html! { p { a #what-happened href="/flow" { "What just happened" } } }
}

fn trouble(error: &Error) -> Response {
    match error {
        Error::Ended => failure(StatusCode::OK, "Your connection with Step On has ended."),
        Error::Refused(_) => failure(StatusCode::BAD_GATEWAY, "Step On refused to share your steps with us."),
        Error::Unavailable => failure(StatusCode::BAD_GATEWAY, "Step On is not responding at the moment."),
    }
}

fn failure(status: StatusCode, what: &str) -> Response {
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
