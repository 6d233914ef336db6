//! What the store's addresses do.

use std::sync::Arc;

use axum::Form;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::html;
use serde::Deserialize;
use url::Url;

use crate::browser_session::{Session, Sessions};
use crate::page::{Brand, Page, see_other};

use super::connection::{Error, Pending, StepOnApi, Tokens};
use super::flow::{self, Flow};
use super::pages::{buttons, connect_link, denied, expired, failure, flow_link, offer, revoked, trouble, welcome};

/// State shared by the pages.
pub(super) struct Store {
    pub(super) api: StepOnApi,
    /// Step On's page that shows the requests to its API.
    pub(super) requests: Url,
    pub(super) sessions: Sessions<Visit>,
}

/// The store's data for a browser.
#[derive(Clone, Default)]
pub(super) struct Visit {
    pending: Option<Pending>,
    tokens: Option<Tokens>,
    flow: Flow,
}

/// The authorization response (RFC 6749 §4.1.2).
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
    revoked: Option<String>,
}

/// The form of a button.
#[derive(Deserialize)]
pub(super) struct Button {
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
            let server = &store.api.authorization_server;
            let content = html! {
                @if notice.refreshed.is_some() { p.notice role="status" { "Your step counts are up to date." } }
                @if notice.revoked.is_some() { (revoked(server)) }
                (offer(&counts))
                (buttons(tokens, server, &session.form_token))
                (flow_link())
            };
            Page::new(Brand::ShoeFlyShoe, "Your steps, your discount", content).into_response()
        }
        Err(error) => trouble(&error),
    }
}

/// `GET /connect`: redirects to the authorization server.
pub(super) async fn connect(State(store): State<Arc<Store>>, headers: HeaderMap) -> Response {
    let pending = Pending::new();
    let url = store.api.authorization_url(&pending);
    let authorization = see_other(url.as_str());
    let session = store.sessions.find(&headers).unwrap_or_else(|| store.sessions.start(None, Visit::default()));
    let mut flow = Flow::default();
    let server = &store.api.authorization_server;
    let title = format!("The store sends the browser to {} (step A)", server.name);
    flow.add(title, flow::get(&url), server.consent.to_owned());
    store.sessions.change(&session, |visit| {
        visit.pending = Some(pending);
        visit.flow = flow;
    });
    ([(header::SET_COOKIE, store.sessions.set_cookie(&session))], authorization).into_response()
}

/// `GET /callback`: back from the authorization server.
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
    let title = format!("{} sends the browser back (step C)", store.api.authorization_server.name);
    flow.add(title, flow::get(&back), "303 See Other".to_owned());
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
        (None, None) => failure(StatusCode::BAD_REQUEST, "This response has neither a code nor an error."),
    }
}

/// `POST /refresh`: refreshes the tokens, then fetches the counts again.
pub(super) async fn refresh(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    Form(button): Form<Button>,
) -> Response {
    let Some(session) = store.session_of(&headers, &button) else { return expired() };
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

/// `POST /revoke`: has the access token revoked, and keeps it: how it is refused can then be seen.
pub(super) async fn revoke(
    State(store): State<Arc<Store>>,
    headers: HeaderMap,
    Form(button): Form<Button>,
) -> Response {
    let Some(session) = store.session_of(&headers, &button) else { return expired() };
    let Some(tokens) = &session.value.tokens else { return see_other("/") };
    let mut flow = session.value.flow.clone();
    let revoked = store.api.revoke(tokens, &mut flow).await;
    store.sessions.change(&session, |visit| visit.flow = flow);
    match revoked {
        Ok(()) => see_other("/?revoked=yes"),
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
        p { a #requests href=(store.requests) { "The requests that reached Step On" } }
        p { a href="/" { "Back to the store" } }
    };
    Page::new(Brand::ShoeFlyShoe, "What just happened", content).into_response()
}

impl Store {
    /// The browser's session, if the form belongs to it.
    fn session_of(&self, headers: &HeaderMap, button: &Button) -> Option<Session<Visit>> {
        self.sessions.find(headers).filter(|session| session.accepts(&button.form_token))
    }
}
