//! What the store's addresses do.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;
use serde::Deserialize;

use crate::browser_session::Sessions;
use crate::page::{Brand, Page, see_other};

use super::connection::{Error, Pending, StepOnApi, Tokens};
use super::flow::{self, Flow};
use super::pages::{connect_link, denied, failure, offer, trouble, welcome};

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
                (offer(&counts, &session.form_token))
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
